"""Rectified-flow inversion: run a sampler of straight paths backwards (as Rout et al. 2024, arXiv:2410.10792, start).

Between noise levels s[i] > s[i+1] the sampler goes z[i+1] = z[i] + (s[i+1] - s[i]) v(z[i], s[i]). Backwards it asks
for the velocity at the noisier level, but of the latents it has, which are those of the cleaner one. What that is off
by is kept from adding up in the source by holding it to the path it came by, as in direct inversion.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wordbrush.inversion.start import Start
from wordbrush.inversion.task import Task, descending
from wordbrush.sampling import Progress


@dataclass(frozen=True)
class RectifiedFlow:
    """The noise of the sampler run backwards, and the path to it, which the source follows back."""

    name = "rectified-flow"

    @torch.no_grad()
    def __call__(self, task: Task, progress: Progress | None = None) -> Start:
        """Invert the picture of ``task``: one forward-sample per step."""
        sampler = task.sampler
        levels, timesteps = sampler.sigmas, sampler.timesteps
        path = [task.latents]
        for step in range(len(timesteps) - 1, -1, -1):
            velocity = task.predict(path[-1], timesteps[step], task.unguided)
            path.append(path[-1] - (levels[step + 1] - levels[step]) * velocity)
            if progress is not None:
                progress(len(timesteps) - step, len(timesteps))
        return task.start(path[-1], method=self.name, path=descending(path))
