"""DDIM inversion: run the deterministic sampler backwards (arXiv:2010.02502, section 4.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wordbrush.backbones.base import Text
from wordbrush.inversion.start import Start
from wordbrush.inversion.steps import at, level, parts
from wordbrush.inversion.task import Predictor, Task, check_ddim
from wordbrush.sampling import Progress


@dataclass(frozen=True)
class DDIM:
    """The noise alone. It returns to the picture at a guidance of 1 and drifts away from it above."""

    name = "ddim"

    def __call__(self, task: Task, progress: Progress | None = None) -> Start:
        """Invert the picture of ``task``: one forward-sample per step."""
        path = invert_ddim(task, task.sampler, task.latents, text=task.conditional, progress=progress)
        return task.start(path[-1], method=self.name)


@torch.no_grad()
def invert_ddim(
    backbone: Predictor, scheduler: Any, latents: Tensor, *, text: Text, progress: Progress | None = None
) -> list[Tensor]:
    """Return the latents from clean to noise, one more than the scheduler has steps, (1, C, h, w) each.

    Every step uses the network's prediction at the later time on the latent of the earlier time, without guidance:
    with guidance the small error of that assumption would grow from step to step.

    Args:
        scheduler: a ``DDIMScheduler`` with its timesteps set.
        latents: the clean latents.
        text: the conditioning of one row.

    Raises:
        InvalidInput: the scheduler is not DDIM, or clips what it predicts.
    """
    check_ddim(scheduler)
    stride = scheduler.config.num_train_timesteps // scheduler.num_inference_steps
    path = [latents]
    timesteps = scheduler.timesteps.flip(0)
    for done, timestep in enumerate(timesteps, 1):
        here = level(scheduler, int(timestep) - stride)
        there = level(scheduler, int(timestep))
        prediction = backbone.predict(path[-1], timestep, text)
        clean, noise = parts(scheduler, prediction, path[-1], here)
        path.append(at(clean, noise, there))
        if progress is not None:
            progress(done, len(timesteps))
    return path
