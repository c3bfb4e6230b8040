"""Edit-friendly DDPM inversion (Huberman-Spiegelglas et al. 2023, arXiv:2304.06140).

The picture is noised to every level with noise of its own, and the random part of every DDPM step is chosen to be what
leads from one to the next. It holds more of the picture than the noise of a deterministic sampler, and the target gets
the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wordbrush.checks import check_seed
from wordbrush.inversion.start import Start
from wordbrush.inversion.steps import at, levels, mean_step
from wordbrush.inversion.task import Task
from wordbrush.sampling import Progress, start_noise


@dataclass(frozen=True)
class EditFriendly:
    """DDPM steps whose noise is the picture's.

    Args:
        seed: of the noise that the levels are noised with.

    Raises:
        InvalidInput: the seed is not a whole number of at least 0 and below 2⁶³.
    """

    seed: int = 0
    name = "edit-friendly"

    def __post_init__(self) -> None:
        check_seed(self.seed)

    @torch.no_grad()
    def __call__(self, task: Task, progress: Progress | None = None) -> Start:
        """Invert the picture of ``task``: two forward-samples per step."""
        *noisy, _ = levels(task.sampler)
        count, height, width = task.latents.shape[1:]
        # One draw for all levels: the noise of different levels is independent.
        noise = start_noise([self.seed], (len(noisy) * count, height, width)).to(task.latents)
        drawn = noise.unflatten(1, (len(noisy), count))[0]
        path = torch.cat([
            *(at(task.latents, own[None], alpha) for own, alpha in zip(drawn, noisy, strict=True)),
            task.latents,
        ])  # fmt: skip
        noises = torch.empty_like(path[1:])
        for step, timestep in enumerate(task.sampler.timesteps):
            here = path[step : step + 1]
            mean = mean_step(task.sampler, task.guided(here, timestep), timestep, here)
            noises[step] = path[step + 1] - mean[0]
            if progress is not None:
                progress(step + 1, len(noises))
        return task.start(path[:1], method=self.name, path=path, noises=noises)
