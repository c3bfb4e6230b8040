"""Exact inversion by bidirectional integration (Zhang et al. 2023, arXiv:2307.10829, "BDIA")."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wordbrush.checks import is_number
from wordbrush.errors import InvalidInput
from wordbrush.inversion.start import Start
from wordbrush.inversion.steps import at, levels, parts
from wordbrush.inversion.task import Task, descending
from wordbrush.sampling import Progress


@dataclass(frozen=True)
class Exact:
    """Steps that can be undone without any error but that of rounding, guidance included.

    Args:
        momentum: γ in (0, 1], how much of the last step is undone in the next. With 1 rounding errors do not grow on
            the way back; below, each step multiplies them by 1/γ.

    Raises:
        InvalidInput: the momentum is out of its range.
    """

    momentum: float = 1.0
    name = "exact"

    def __post_init__(self) -> None:
        if not is_number(self.momentum) or not 0 < self.momentum <= 1:
            raise InvalidInput(f"the momentum is a number above 0 and at most 1, not {self.momentum!r}")
        object.__setattr__(self, "momentum", float(self.momentum))

    @torch.no_grad()
    def __call__(self, task: Task, progress: Progress | None = None) -> Start:
        """Invert the picture of ``task``: two forward-samples per step, and two."""
        sampler, alphas = task.sampler, levels(task.sampler)
        timesteps = sampler.timesteps
        # Nothing lies behind the picture, so the first step back is one of DDIM inversion.
        clean, noise = parts(sampler, task.guided(task.latents, timesteps[-1]), task.latents, alphas[-1])
        path = [task.latents, at(clean, noise, alphas[-2])]
        for step in range(len(timesteps) - 1, 0, -1):
            clean, noise = parts(sampler, task.guided(path[-1], timesteps[step]), path[-1], alphas[step])
            undone = (path[-2] - at(clean, noise, alphas[step + 1])) / self.momentum
            path.append(at(clean, noise, alphas[step - 1]) + undone)
            if progress is not None:
                progress(len(timesteps) - step, len(timesteps))
        clean, noise = parts(sampler, task.guided(path[-1], timesteps[0]), path[-1], alphas[0])
        offset = path[-2] - at(clean, noise, alphas[1])
        if progress is not None:
            progress(len(timesteps), len(timesteps))
        return task.start(
            path[-1], method=self.name, path=descending(path), noises=offset, momentum=self.momentum
        )
