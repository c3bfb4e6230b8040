"""Sampling: start noise from explicit seeds, the schedulers that can be used, and the one denoising loop."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from wordbrush import ancestral
from wordbrush.ancestral import Ancestral
from wordbrush.backbones.base import Backbone, Layout, Text
from wordbrush.backbones.control import AttentionControl
from wordbrush.checks import check_count
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
# For models that were trained on straight paths from noise to picture (rectified flow).
FLOW_SCHEDULERS = {"flow": "scheduling_flow_match_euler_discrete.FlowMatchEulerDiscreteScheduler"}
# For models that bring their latents to unit variance themselves (Karras et al. 2022, arXiv:2206.00364), as CosXL does.
EDM_SCHEDULERS = {
    "euler": "scheduling_edm_euler.EDMEulerScheduler",
    "dpm++": "scheduling_edm_dpmsolver_multistep.EDMDPMSolverMultistepScheduler",
}
# Schedulers that add noise between the steps, which is drawn for every sample by itself.
NOISY_SCHEDULERS = {"lcm": "scheduling_lcm.LCMScheduler"}
_NOISY = {home.rpartition(".")[2] for home in NOISY_SCHEDULERS.values()}
# Schedulers that go on from latents of an earlier moment, and the attribute that keeps them: at the start of a step of
# several stages, or of the step that UniPC corrects when it knows the network's answer after it.
_KEPT = {
    "PNDMScheduler": "cur_sample",
    "HeunDiscreteScheduler": "sample",
    "KDPM2DiscreteScheduler": "sample",
    "DPMSolverSinglestepScheduler": "sample",
    "UniPCMultistepScheduler": "last_sample",
}
# What latent diffusion models were trained for, where the settings of a scheduler of another class do not say.
LATENT_DIFFUSION = {"clip_sample": False, "set_alpha_to_one": False, "skip_prk_steps": True}


def make_scheduler(choice: object, trained: Any, *, noise: Callable[[], Tensor] | None = None) -> Any:
    """Return a fresh scheduler: a name from the tables above, a diffusers class name, or a copy of an instance.

    Args:
        choice: the name or instance asked for, or ``Ancestral``, whose noise is a function of its seed.
        trained: the model's own scheduler, whose noise schedule and prediction type a named one takes over.
        noise: draws unit noise of the latents' shape; with it there is ``"euler_a"`` as well, which needs some at
            every step.

    Raises:
        InvalidInput: an unknown scheduler, one that is not for such a model, or one that draws noise of its own; the
            message lists those that can be used.
    """
    if isinstance(choice, Ancestral):
        return choice.around(_converted(trained, _class(ancestral.HOME), **ancestral.GRID))
    homes = _usable(trained)
    if noise is not None and homes.keys() >= SCHEDULERS.keys():
        homes = {**homes, ancestral.NAME: ancestral.HOME}
    classes = {home.rpartition(".")[2]: name for name, home in homes.items()}
    names = f"use one of {', '.join(homes)}"
    usable = f"{names}, or an instance of one of these diffusers classes"
    if isinstance(choice, str):
        name = classes.get(choice, choice.lower())
        if name not in homes:
            told = f"{_unusable(choice, name, trained)}{nearest(choice.lower(), homes)}"
            raise InvalidInput(f"{told}; {usable}", command=f"{told}; {names}")
        scheduler = _converted(trained, _class(homes[name]))
    elif type(choice).__name__ in classes:
        scheduler = type(choice).from_config(choice.config)  # pyright: ignore[reportAttributeAccessIssue]
    else:
        raise InvalidInput(f"the scheduler {type(choice).__name__} cannot be used here; {usable}")
    if str(scheduler.config.get("algorithm_type", "")).startswith("sde"):
        raise InvalidInput(
            f"{type(scheduler).__name__} draws noise at every step in its 'sde' setting; {usable}"
        )
    if noise is not None and type(scheduler).__name__ == ancestral.CLASS:
        return ancestral.EulerAncestral(scheduler, lambda latents: noise())
    return scheduler


def check_steps(scheduler: Any, steps: object) -> None:
    """Raise ``InvalidInput`` unless ``steps`` is a number of steps that the scheduler can make."""
    trained = scheduler.config.num_train_timesteps
    if check_count("steps", steps) > trained:
        raise InvalidInput(
            f"the model was trained with {trained} timesteps, so there cannot be {steps} steps"
        )


def is_flow(scheduler: Any) -> bool:
    """Tell whether a model with this scheduler was trained on straight paths (rectified flow)."""
    config = scheduler.config
    return (
        type(scheduler).__name__.startswith("FlowMatch")
        or bool(config.get("use_flow_sigmas"))
        or config.get("prediction_type") == "flow_prediction"
    )


def is_edm(scheduler: Any) -> bool:
    """Tell whether a model with this scheduler was trained as Karras et al. 2022 do (EDM)."""
    return type(scheduler).__name__.startswith("EDM")


def _usable(trained: Any) -> dict[str, str]:
    """Return the schedulers for a model with the scheduler ``trained``."""
    if is_edm(trained):
        return EDM_SCHEDULERS
    if not is_flow(trained):
        return {**SCHEDULERS, **NOISY_SCHEDULERS}
    own = type(trained).__name__
    return {
        **{name: home for name, home in SCHEDULERS.items() if home.endswith(f".{own}")},
        **FLOW_SCHEDULERS,
    }


def _unusable(choice: str, name: str, trained: Any) -> str:
    if is_edm(trained) and name in {**SCHEDULERS, **NOISY_SCHEDULERS, ancestral.NAME: ancestral.HOME}:
        return f"the scheduler {choice!r} cannot sample this model, which was trained as Karras et al. 2022 do (EDM)"
    if name in SCHEDULERS or name in NOISY_SCHEDULERS:
        return f"the scheduler {choice!r} cannot sample this model, which was trained on straight paths"
    if name in FLOW_SCHEDULERS:
        return (
            f"the scheduler {choice!r} is for models that were trained on straight paths, which this is not"
        )
    return f"unknown scheduler {choice!r}"


def _class(home: str) -> Any:
    """Return a scheduler's class."""
    module, name = home.split(".")
    return getattr(import_module(f"diffusers.schedulers.{module}"), name)


def _converted(trained: Any, kind: Any, **changed: Any) -> Any:
    """Return a scheduler of class ``kind`` with the settings of ``trained``, but for those that are ``changed``."""
    if type(trained) is kind:
        return kind.from_config(trained.config, **changed)
    unset = trained.config.get("_use_default_values", ())
    given = {name: value for name, value in trained.config.items() if name not in unset and name[0] != "_"}
    known = inspect.signature(kind.__init__).parameters
    if is_flow(trained) and "flow_shift" in given:
        given.setdefault("shift", given["flow_shift"])  # what schedulers of both kinds call it
    settings = {**LATENT_DIFFUSION, **given, **changed}
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


def step_generators(noise: Tensor, step: int) -> list[torch.Generator]:
    """Return one CPU generator per sample for the noise that is added after a step.

    It depends on the sample's start noise and on the step alone, so that a source and its targets, which share the
    one, share the other, and no sample depends on its neighbours.

    Args:
        noise: (samples, C, h, w), the start noise. Only its signs are read, which are the same in every precision.
    """
    signs = (noise > 0).flatten(1).cpu().numpy()
    digests = [hashlib.sha256(one.tobytes() + step.to_bytes(4, "little")).digest() for one in signs]
    return [torch.Generator().manual_seed(int.from_bytes(digest[:7], "little")) for digest in digests]


def initial_latents(scheduler: Any, noise: Tensor) -> Tensor:
    """Return what a run begins with: unit noise, scaled unless the schedule is that of straight paths."""
    return noise * getattr(scheduler, "init_noise_sigma", 1.0)


def model_input(scheduler: Any, latents: Tensor, timestep: Tensor) -> Tensor:
    """Return latents as the network is to see them; models of straight paths see them as they are."""
    scale = getattr(scheduler, "scale_model_input", None)
    return latents if scale is None else scale(latents, timestep)


def _draws_noise(scheduler: Any) -> bool:
    """Tell whether a diffusers scheduler draws noise at every step; our own, which have no settings, bring theirs."""
    settings = getattr(scheduler, "config", {})
    return type(scheduler).__name__ in _NOISY or bool(settings.get("stochastic_sampling"))


def carry_change(scheduler: Any, made: Tensor, latents: Tensor) -> None:
    """Let a scheduler's next step go on from latents that were changed since its last one, as a blend or a mask does.

    Most schedulers go on from what they are given, but some from latents that they kept of an earlier moment
    (``_KEPT``), and would lose the change. There, it is taken for one of the picture: what is kept is changed by as
    much as the picture weighs at its noise level, and estimates of the picture are changed as well.

    Args:
        made: (samples, C, h, w), as the last step returned them; where they were not changed, nothing is.
        latents: the same, as the next step will be given them.
    """
    name = _KEPT.get(type(scheduler).__name__, "")
    kept = getattr(scheduler, name, None)
    if kept is None or made is latents or torch.equal(made, latents):
        return
    at_kept, now = _picture_weights(scheduler)
    setattr(scheduler, name, kept + (latents - made) * (at_kept / now))
    if getattr(scheduler, "predict_x0", scheduler.config.get("algorithm_type") == "dpmsolver++"):
        change = (latents - made) / now
        scheduler.model_outputs = [one if one is None else one + change for one in scheduler.model_outputs]


def _picture_weights(scheduler: Any) -> tuple[Any, Any]:
    """Return what the picture weighs in the latents that a scheduler keeps, and in those that it has reached."""
    if hasattr(scheduler, "ets"):  # PNDM: four stages a step, or two in the only step that has any
        here = scheduler.counter
        moments = ((here - 1) // 4 * 4, here)
        kept, now = (scheduler.alphas_cumprod[int(scheduler.timesteps[at])].sqrt() for at in moments)
    elif hasattr(scheduler, "model_outputs"):
        here = scheduler.step_index
        # The order of a stage of DPM-Solver is its number in the step, from 1; UniPC keeps the latents of a step ago.
        stages = scheduler.order_list[here] if hasattr(scheduler, "order_list") else 2
        moments = (here + 1 - stages, here)
        kept, now = (scheduler._sigma_to_alpha_sigma_t(scheduler.sigmas[at])[0] for at in moments)
    else:  # the latents of Karras et al. 2022 hold the whole picture at every noise level
        return 1.0, 1.0
    return kept, now


@torch.no_grad()
def sample(
    backbone: Backbone,
    scheduler: Any,
    noise: Tensor,
    *,
    text: Callable[[int], Text],
    guidance: Guidance | Callable[[int], Guidance],
    layout: Layout | None = None,
    source: Tensor | None = None,
    control: AttentionControl | None = None,
    after_step: Callable[[int, Tensor], Tensor] | None = None,
    carries: bool = True,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Tensor:
    """Denoise from unit noise to clean latents.

    Args:
        scheduler: with its timesteps set; used up by the run.
        noise: (samples, C, h, w) of variance 1.
        text: step → conditioning of the whole batch, branch by branch as the guidance of that step.
        guidance: the same for all steps, or step → the one of that step.
        layout: which rows of the network's batch are what; None for every sample in every branch.
        source: (steps + 1, C, h, w), the latents of the first sample before, between and after the steps, if they are
            known; it is then held to them.
        control: entered already; told the step before each network call.
        after_step: (step, latents after it) → latents to go on with.
        carries: whether a scheduler that goes on from latents of an earlier moment is told of what ``after_step``
            changed, as ``carry_change`` does.
        progress: called with (steps done, steps in all).
        watch: called before ``progress`` with the (samples, C, h, w) latents that the run is heading for: the
            scheduler's estimate of the clean ones if it makes one, else those it has reached.

    Returns:
        (samples, C, h, w) latents, scaled as the autoencoder's are for the network.
    """
    latents, made = initial_latents(scheduler, noise), None
    noisy = _draws_noise(scheduler)
    timesteps = scheduler.timesteps
    for step, timestep in enumerate(timesteps):
        asked = guidance(step) if callable(guidance) else guidance
        rows = layout or Layout(asked.branches, len(noise))
        inputs = rows.batch(model_input(scheduler, latents, timestep))
        with control.at(step) if control else nullcontext():
            predictions = backbone.predict(inputs, timestep, text(step))
        combined = asked.combine(rows.split(predictions, source=source is None))
        moving = latents if source is None else latents[1:]
        fresh = {"generator": step_generators(noise[-len(moving) :], step)} if noisy else {}
        if made is not None and carries:
            carry_change(scheduler, made, moving)
        outcome = scheduler.step(combined, timestep, moving, return_dict=False, **fresh)
        latents, heading = outcome[0], outcome[-1]
        made = latents
        if source is not None:
            latents = torch.cat([source[step + 1 : step + 2].to(latents), latents])
            heading = torch.cat([source[-1:].to(heading), heading])
        if after_step is not None:
            latents = after_step(step, latents)
        if watch is not None:
            watch(heading)
        if progress is not None:
            progress(step + 1, len(timesteps))
    return latents
