"""Sampling: start noise from explicit seeds, the schedulers that can be used, and the one denoising loop."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from wordbrush.backbones.base import Backbone, Text
from wordbrush.backbones.control import AttentionControl
from wordbrush.errors import InvalidInput, nearest
from wordbrush.guidance import Guidance

Progress = Callable[[int, int], None]

# Schedulers without randomness between the steps, by the short names they can be asked for.
SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "pndm": "PNDMScheduler",
    "euler": "EulerDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "lms": "LMSDiscreteScheduler",
    "dpm2": "KDPM2DiscreteScheduler",
    "dpm++": "DPMSolverMultistepScheduler",
    "dpm++singlestep": "DPMSolverSinglestepScheduler",
    "unipc": "UniPCMultistepScheduler",
    "deis": "DEISMultistepScheduler",
}
_MODULES = {
    "DDIMScheduler": "ddim",
    "PNDMScheduler": "pndm",
    "EulerDiscreteScheduler": "euler_discrete",
    "HeunDiscreteScheduler": "heun_discrete",
    "LMSDiscreteScheduler": "lms_discrete",
    "KDPM2DiscreteScheduler": "k_dpm_2_discrete",
    "DPMSolverMultistepScheduler": "dpmsolver_multistep",
    "DPMSolverSinglestepScheduler": "dpmsolver_singlestep",
    "UniPCMultistepScheduler": "unipc_multistep",
    "DEISMultistepScheduler": "deis_multistep",
}


def make_scheduler(choice: object, trained: Any) -> Any:
    """Return a fresh scheduler: a name from ``SCHEDULERS``, a diffusers class name, or a copy of an instance.

    Args:
        choice: the name or instance asked for.
        trained: the model's own scheduler, whose noise schedule and prediction type a named one takes over.

    Raises:
        InvalidInput: an unknown or stochastic scheduler; the message lists those that can be used.
    """
    usable = f"use one of {', '.join(SCHEDULERS)}, or an instance of one of these diffusers classes"
    if isinstance(choice, str):
        name = SCHEDULERS.get(choice.lower(), choice)
        if name not in _MODULES:
            raise InvalidInput(f"unknown scheduler {choice!r}{nearest(choice.lower(), SCHEDULERS)}; {usable}")
        module = importlib.import_module(f"diffusers.schedulers.scheduling_{_MODULES[name]}")
        # What latent diffusion models were trained for, where another scheduler's settings do not say.
        missing = {"clip_sample": False, "set_alpha_to_one": False} if name == "DDIMScheduler" else {}
        scheduler = getattr(module, name).from_config({**missing, **trained.config})
    elif type(choice).__name__ in _MODULES and hasattr(choice, "config"):
        scheduler = type(choice).from_config(choice.config)  # pyright: ignore
    else:
        raise InvalidInput(f"a scheduler {type(choice).__name__} cannot be used here; {usable}")
    if str(scheduler.config.get("algorithm_type", "")).startswith("sde"):
        raise InvalidInput(f"{type(scheduler).__name__} draws noise at every step in its 'sde' setting; {usable}")
    return scheduler


def start_noise(seeds: Sequence[int], shape: tuple[int, int, int]) -> Tensor:
    """Draw unit noise, one CPU generator per sample, so that no sample depends on the others.

    Returns:
        (seeds, *shape) in float32 on the CPU.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])


@torch.no_grad()
def sample(
    backbone: Backbone,
    scheduler: Any,
    noise: Tensor,
    *,
    text: Callable[[int], Text],
    guidance: Guidance,
    control: AttentionControl | None = None,
    after_step: Callable[[int, Tensor], Tensor] | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Denoise from unit noise to clean latents.

    Args:
        scheduler: with its timesteps set; used up by the run.
        noise: (samples, C, h, w) of variance 1.
        text: step → conditioning of the whole batch, branch by branch as ``guidance.branches``.
        control: entered already; told the step before each network call.
        after_step: (step, latents after it) → latents to go on with.
        progress: called with (steps done, steps in all).

    Returns:
        (samples, C, h, w) latents, scaled as the autoencoder's are for the network.
    """
    latents = noise * scheduler.init_noise_sigma
    timesteps = scheduler.timesteps
    for step, timestep in enumerate(timesteps):
        inputs = scheduler.scale_model_input(latents, timestep)
        with control.at(step) if control else nullcontext():
            predictions = backbone.predict(inputs.repeat(len(guidance.branches), 1, 1, 1), timestep, text(step))
        combined = guidance.combine(predictions.chunk(len(guidance.branches)))
        latents = scheduler.step(combined, timestep, latents, return_dict=False)[0]
        if after_step is not None:
            latents = after_step(step, latents)
        if progress is not None:
            progress(step + 1, len(timesteps))
    return latents
