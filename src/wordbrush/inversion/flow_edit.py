"""FlowEdit (Kulikov et al. 2024, arXiv:2412.08629): from picture to picture without going through noise.

At every noise level s the picture X is mixed with fresh noise N, and the target Z, which begins as X, goes where the
velocities of the two prompts differ (Eq. 6 and 7, with one noise per step):

    source: Y = (1 - s) X + s N        target: Y + Z - X        Z ← Z + (s' - s) (v_target(Y + Z - X) - v_source(Y))

Nothing is inverted, so finding this start costs nothing; the edit runs the network for the source as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wordbrush.checks import check_seed, is_number
from wordbrush.edits.window import Clock, Window
from wordbrush.errors import InvalidInput
from wordbrush.guidance import check_scale
from wordbrush.inversion.start import Start
from wordbrush.inversion.task import Task
from wordbrush.sampling import Progress, noise_source


@dataclass(frozen=True)
class FlowEdit:
    """The picture with fresh noise for every step, and the way targets move beside it.

    Args:
        skipped: the part of the steps that is left out at the noisy end; more of it keeps more of the picture. The
            published settings leave out 17 of 50 steps with Stable Diffusion 3 (0.34) and 4 of 28 with FLUX.1 (0.14).
        source_guidance: the scale for the source, published 3.5 with Stable Diffusion 3 and 1.5 with FLUX.1, where the
            targets have 13.5 and 5.5; None for the same as the targets'.
        seed: of the noise.

    Raises:
        InvalidInput: a number out of its range.
    """

    skipped: float = 0.34
    source_guidance: float | None = None
    seed: int = 0
    name = "flow-edit"

    def __post_init__(self) -> None:
        if not is_number(self.skipped) or not 0 <= self.skipped < 1:
            raise InvalidInput(
                f"the part of the steps to skip is at least 0 and below 1, not {self.skipped!r}"
            )
        if self.source_guidance is not None:
            check_scale("source guidance", self.source_guidance, such_as=1.5)
        check_seed(self.seed)

    @torch.no_grad()
    def __call__(self, task: Task, progress: Progress | None = None) -> Start:
        """Mix the picture of ``task`` with noise: no forward-sample."""
        steps = int(task.steps)
        skipped = Window(self.skipped, 1.0).steps(Clock(steps, steps)).start
        channels, height, width = task.latents.shape[1:]
        draw = noise_source([self.seed], (channels, height, width))
        path = []
        for level in task.sampler.sigmas[skipped:]:
            level = level.to(task.latents)
            path.append((1 - level) * task.latents + level * draw().to(task.latents))
        if progress is not None:
            progress(steps, steps)
        return task.start(
            path[0],
            method=self.name,
            path=torch.cat(path),
            skipped=skipped,
            beside=True,
            source_guidance=self.source_guidance,
        )
