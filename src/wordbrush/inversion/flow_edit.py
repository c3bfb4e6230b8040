"""FlowEdit (Kulikov et al. 2024, arXiv:2412.08629): from picture to picture without going through noise.

At every noise level s the picture X is mixed with fresh noise N, and the target Z, which begins as X, goes where the
velocities of the two prompts differ (Eq. 6 and 7, with one noise per step):

    source: Y = (1 - s) X + s N        target: Y + Z - X        Z ← Z + (s' - s) (v_target(Y + Z - X) - v_source(Y))

Nothing is inverted, so finding this start costs nothing; the edit runs the network for the source as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from wordbrush.backbones.base import uncompiled
from wordbrush.backbones.families import FLUX, SD3
from wordbrush.checks import check_seed
from wordbrush.guidance import check_scale
from wordbrush.inversion.start import Start
from wordbrush.inversion.steps import check_skipped, skipped_steps
from wordbrush.inversion.task import Task
from wordbrush.models import Model
from wordbrush.sampling import Progress, noise_source


@dataclass(frozen=True)
class Published:
    """The settings of arXiv:2412.08629 for one family; ``guidance`` is the targets'."""

    steps: int
    skipped: float
    source_guidance: float
    guidance: float


# Of 50 steps the last 33 are made, of 28 the last 24.
PUBLISHED = {SD3.name: Published(50, 17 / 50, 3.5, 13.5), FLUX.name: Published(28, 4 / 28, 1.5, 5.5)}
SKIPPED = PUBLISHED[SD3.name].skipped


@dataclass(frozen=True)
class FlowEdit:
    """The picture with fresh noise for every step, and the way targets move beside it.

    Args:
        skipped: the part of the steps that is left out at the noisy end; more of it keeps more of the picture. None for
            what is published: 17 of 50 steps (0.34) with Stable Diffusion 3, 4 of 28 (0.14) with FLUX.1; 0.34 with
            other models, and with those that bring a guidance of their own.
        source_guidance: the scale for the source. None for what is published, 3.5 with Stable Diffusion 3 and 1.5 with
            FLUX.1, if the targets have the published 13.5 and 5.5 too; else the same as the targets'.
        seed: of the noise.

    Raises:
        InvalidInput: a number out of its range.
    """

    skipped: float | None = None
    source_guidance: float | None = None
    seed: int = 0
    name = "flow-edit"

    def __post_init__(self) -> None:
        if self.skipped is not None:
            check_skipped(self.skipped)
        if self.source_guidance is not None:
            scale = check_scale("source guidance", self.source_guidance, such_as=1.5)
            object.__setattr__(self, "source_guidance", scale)
        object.__setattr__(self, "seed", check_seed(self.seed))

    def settled(
        self, model: Model, steps: int | None, guidance: float | None
    ) -> tuple[FlowEdit, int | None, float | None]:
        """Return the method, the steps and the guidance with what is published for a model in place of None.

        That is only for models that are guided as the family is: a scale of 13.5 is nearly twice that of Stable
        Diffusion 3, and too much for a model of its layout whose own scale is 4.
        """
        known, own = PUBLISHED.get(model.family.name), model.defaults.guidance
        usual = model.family.defaults(uncompiled(model.unet)).get("guidance")
        if known is None or own is None or own != usual:  # FLUX.1 schnell has no guidance
            return self, steps, guidance
        source = self.source_guidance
        if source is None and guidance in (None, known.guidance):
            source = known.source_guidance
        method = replace(
            self, skipped=known.skipped if self.skipped is None else self.skipped, source_guidance=source
        )
        return (
            method,
            known.steps if steps is None else steps,
            known.guidance if guidance is None else guidance,
        )

    @torch.no_grad()
    def __call__(self, task: Task, progress: Progress | None = None) -> Start:
        """Mix the picture of ``task`` with noise: no forward-sample."""
        steps = int(task.steps)
        skipped = skipped_steps(SKIPPED if self.skipped is None else self.skipped, steps)
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
