"""DDIM inversion: run the deterministic sampler backwards (arXiv:2010.02502, section 4.3)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wordbrush.backbones.base import Backbone, Text
from wordbrush.errors import InvalidInput
from wordbrush.sampling import Progress


@torch.no_grad()
def invert_ddim(
    backbone: Backbone, scheduler: Any, latents: Tensor, *, text: Text, progress: Progress | None = None
) -> list[Tensor]:
    """Return the latents from clean to noise, one more than the scheduler has steps, (1, C, h, w) each.

    Every step uses the network's prediction at the later time on the latent of the earlier time, without guidance:
    with guidance the small error of that assumption would grow from step to step.

    Args:
        scheduler: a ``DDIMScheduler`` with its timesteps set.
        latents: the clean latents.
        text: the conditioning of one row.

    Raises:
        InvalidInput: the scheduler is not DDIM.
    """
    if type(scheduler).__name__ != "DDIMScheduler":
        raise InvalidInput(f"DDIM inversion needs a DDIMScheduler, not {type(scheduler).__name__}")
    stride = scheduler.config.num_train_timesteps // scheduler.num_inference_steps
    path = [latents]
    timesteps = scheduler.timesteps.flip(0)
    for done, timestep in enumerate(timesteps, 1):
        here = _alpha(scheduler, int(timestep) - stride)
        there = _alpha(scheduler, int(timestep))
        prediction = backbone.predict(path[-1], timestep, text)
        clean, noise = _split(scheduler, prediction, path[-1], here)
        path.append(there.sqrt() * clean + (1 - there).sqrt() * noise)
        if progress is not None:
            progress(done, len(timesteps))
    return path


def _alpha(scheduler: Any, timestep: int) -> Tensor:
    """Return the cumulative product of alphas; before the first timestep, what the scheduler steps to last."""
    return scheduler.alphas_cumprod[timestep] if timestep >= 0 else scheduler.final_alpha_cumprod


def _split(scheduler: Any, prediction: Tensor, latents: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Return the clean latents and the noise that a prediction means."""
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        return (latents - (1 - alpha).sqrt() * prediction) / alpha.sqrt(), prediction
    if kind == "v_prediction":
        clean = alpha.sqrt() * latents - (1 - alpha).sqrt() * prediction
        return clean, alpha.sqrt() * prediction + (1 - alpha).sqrt() * latents
    raise InvalidInput(f"DDIM inversion knows epsilon and v_prediction models, not {kind!r}")
