"""Edit-friendly DDPM inversion (Huberman-Spiegelglas et al. 2023, arXiv:2304.06140).

The picture is noised to every level with noise of its own, and the random part of every DDPM step is chosen to be what
leads from one to the next. It holds more of the picture than the noise of a deterministic sampler, and the target gets
the same. Published are 100 steps of which the first 36 are left out, and a guidance of 3.5 for the source and 15 for
the target.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wordbrush.checks import check_seed
from wordbrush.guidance import check_scale
from wordbrush.inversion.start import Start
from wordbrush.inversion.steps import at, check_skipped, levels, mean_step, skipped_steps
from wordbrush.inversion.task import Task
from wordbrush.sampling import Progress, start_noise


@dataclass(frozen=True)
class EditFriendly:
    """DDPM steps whose noise is the picture's.

    Args:
        seed: of the noise that the levels are noised with.
        skipped: the part of the steps that is left out at the noisy end, published 0.36; more of it keeps more of the
            picture.
        source_guidance: the scale for the source, published 3.5; None for the same as the targets'.

    Raises:
        InvalidInput: a number out of its range.
    """

    seed: int = 0
    skipped: float = 0.0
    source_guidance: float | None = None
    name = "edit-friendly"

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", check_seed(self.seed))
        check_skipped(self.skipped)
        if self.source_guidance is not None:
            scale = check_scale("source guidance", self.source_guidance, such_as=3.5)
            object.__setattr__(self, "source_guidance", scale)

    @torch.no_grad()
    def __call__(self, task: Task, progress: Progress | None = None) -> Start:
        """Invert the picture of ``task``: two forward-samples per step that is not left out."""
        *noisy, _ = levels(task.sampler)
        count, height, width = task.latents.shape[1:]
        # One draw for all levels: the noise of different levels is independent.
        noise = start_noise([self.seed], (len(noisy) * count, height, width)).to(task.latents)
        drawn = noise.unflatten(1, (len(noisy), count))[0]
        skipped = skipped_steps(self.skipped, len(noisy))
        path = torch.cat([
            *(at(task.latents, own[None], alpha) for own, alpha in zip(drawn, noisy, strict=True)),
            task.latents,
        ])[skipped:]  # fmt: skip
        noises = torch.empty_like(path[1:])
        for step, timestep in enumerate(task.sampler.timesteps[skipped:]):
            here = path[step : step + 1]
            guided = task.guided(here, timestep, self.source_guidance)
            noises[step] = path[step + 1] - mean_step(task.sampler, guided, timestep, here)[0]
            if progress is not None:
                progress(step + 1, len(noises))
        return task.start(
            path[:1],
            method=self.name,
            path=path,
            noises=noises,
            skipped=skipped,
            source_guidance=self.source_guidance,
        )
