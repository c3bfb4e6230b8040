"""Direct inversion (Ju et al. 2023, arXiv:2310.01506, "PnP inversion"): hold the source to the path it came by.

As published, every step of the inverted path is denoised once more with guidance to learn how far it strays, and that
offset is added to the source in every step of the edit, which puts it back on the path. Here it is put there, which is
the same in exact arithmetic, and neither the second pass nor the source's unconditional rows are computed: for 50 steps
and one target 200 forward-samples in all instead of 450.
"""

from __future__ import annotations

from dataclasses import dataclass

from wordbrush.inversion.ddim import invert_ddim
from wordbrush.inversion.start import Start
from wordbrush.inversion.task import Task, descending
from wordbrush.sampling import Progress


@dataclass(frozen=True)
class Direct:
    """The noise of DDIM inversion, and the path to it, which the source follows back whatever the guidance."""

    name = "direct"

    def __call__(self, task: Task, progress: Progress | None = None) -> Start:
        """Invert the picture of ``task``: one forward-sample per step."""
        path = invert_ddim(task, task.sampler, task.latents, text=task.conditional, progress=progress)
        return task.start(path[-1], method=self.name, path=descending(path))
