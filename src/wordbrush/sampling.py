"""Sampling: start noise from explicit seeds, the schedulers that can be used, and the one denoising loop."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from wordbrush import ancestral
from wordbrush.backbones.base import Backbone, Text
from wordbrush.backbones.control import AttentionControl
from wordbrush.errors import InvalidInput, nearest
from wordbrush.guidance import Guidance

Progress = Callable[[int, int], None]
Watch = Callable[[Tensor], None]

# Schedulers without randomness between the steps: the short name, and module and class in diffusers.schedulers.
SCHEDULERS = {
    "ddim": "scheduling_ddim.DDIMScheduler",
    "pndm": "scheduling_pndm.PNDMScheduler",
    "euler": "scheduling_euler_discrete.EulerDiscreteScheduler",
    "heun": "scheduling_heun_discrete.HeunDiscreteScheduler",
    "lms": "scheduling_lms_discrete.LMSDiscreteScheduler",
    "dpm2": "scheduling_k_dpm_2_discrete.KDPM2DiscreteScheduler",
    "dpm++": "scheduling_dpmsolver_multistep.DPMSolverMultistepScheduler",
    "dpm++singlestep": "scheduling_dpmsolver_singlestep.DPMSolverSinglestepScheduler",
    "unipc": "scheduling_unipc_multistep.UniPCMultistepScheduler",
    "deis": "scheduling_deis_multistep.DEISMultistepScheduler",
}
# What latent diffusion models were trained for, where the settings of a scheduler of another class do not say.
LATENT_DIFFUSION = {"clip_sample": False, "set_alpha_to_one": False, "skip_prk_steps": True}


def make_scheduler(choice: object, trained: Any, *, noise: Callable[[], Tensor] | None = None) -> Any:
    """Return a fresh scheduler: a name from ``SCHEDULERS``, a diffusers class name, or a copy of an instance.

    Args:
        choice: the name or instance asked for.
        trained: the model's own scheduler, whose noise schedule and prediction type a named one takes over.
        noise: draws unit noise of the latents' shape; with it there is ``"euler_a"`` as well, which needs some at
            every step.

    Raises:
        InvalidInput: an unknown or stochastic scheduler; the message lists those that can be used.
    """
    known = SCHEDULERS if noise is None else {**SCHEDULERS, ancestral.NAME: ancestral.HOME}
    classes = {home.rpartition(".")[2]: name for name, home in known.items()}
    usable = f"use one of {', '.join(known)}, or an instance of one of these diffusers classes"
    if isinstance(choice, str):
        name = classes.get(choice, choice.lower())
        if name not in known:
            raise InvalidInput(f"unknown scheduler {choice!r}{nearest(choice.lower(), known)}; {usable}")
        module, kind = known[name].split(".")
        scheduler = _converted(trained, getattr(import_module(f"diffusers.schedulers.{module}"), kind))
    elif type(choice).__name__ in classes:
        scheduler = type(choice).from_config(choice.config)  # pyright: ignore[reportAttributeAccessIssue]
    else:
        raise InvalidInput(f"the scheduler {type(choice).__name__} cannot be used here; {usable}")
    if str(scheduler.config.get("algorithm_type", "")).startswith("sde"):
        raise InvalidInput(
            f"{type(scheduler).__name__} draws noise at every step in its 'sde' setting; {usable}"
        )
    if noise is not None and type(scheduler).__name__ == ancestral.CLASS:
        return ancestral.EulerAncestral(scheduler, noise)
    return scheduler


def _converted(trained: Any, kind: Any) -> Any:
    """Return a scheduler of class ``kind`` with the settings of ``trained``."""
    if type(trained) is kind:
        return kind.from_config(trained.config)
    unset = trained.config.get("_use_default_values", ())
    given = {name: value for name, value in trained.config.items() if name not in unset and name[0] != "_"}
    known = inspect.signature(kind.__init__).parameters
    settings = {**LATENT_DIFFUSION, **given}
    return kind(**{name: value for name, value in settings.items() if name in known})


def noise_source(seeds: Sequence[int], shape: tuple[int, int, int]) -> Callable[[], Tensor]:
    """Return a function that draws unit noise, (seeds, *shape) in float32 on the CPU, other noise at every call.

    Every sample has a generator of its own, so that none depends on the others.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return lambda: torch.stack([torch.randn(shape, generator=generator) for generator in generators])


def start_noise(seeds: Sequence[int], shape: tuple[int, int, int]) -> Tensor:
    """Draw the unit noise that samples start from, (seeds, *shape) in float32 on the CPU."""
    return noise_source(seeds, shape)()


@torch.no_grad()
def sample(
    backbone: Backbone,
    scheduler: Any,
    noise: Tensor,
    *,
    text: Callable[[int], Text],
    guidance: Guidance | Callable[[int], Guidance],
    control: AttentionControl | None = None,
    after_step: Callable[[int, Tensor], Tensor] | None = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Tensor:
    """Denoise from unit noise to clean latents.

    Args:
        scheduler: with its timesteps set; used up by the run.
        noise: (samples, C, h, w) of variance 1.
        text: step → conditioning of the whole batch, branch by branch as the guidance of that step.
        guidance: the same for all steps, or step → the one of that step.
        control: entered already; told the step before each network call.
        after_step: (step, latents after it) → latents to go on with.
        progress: called with (steps done, steps in all).
        watch: called before ``progress`` with the (samples, C, h, w) latents that the run is heading for: the
            scheduler's estimate of the clean ones if it makes one, else those it has reached.

    Returns:
        (samples, C, h, w) latents, scaled as the autoencoder's are for the network.
    """
    latents = noise * scheduler.init_noise_sigma
    timesteps = scheduler.timesteps
    for step, timestep in enumerate(timesteps):
        asked = guidance(step) if callable(guidance) else guidance
        branches = len(asked.branches)
        inputs = scheduler.scale_model_input(latents, timestep)
        with control.at(step) if control else nullcontext():
            predictions = backbone.predict(inputs.repeat(branches, 1, 1, 1), timestep, text(step))
        combined = asked.combine(predictions.chunk(branches))
        outcome = scheduler.step(combined, timestep, latents, return_dict=False)
        latents = outcome[0]
        if after_step is not None:
            latents = after_step(step, latents)
        if watch is not None:
            watch(outcome[-1])
        if progress is not None:
            progress(step + 1, len(timesteps))
    return latents
