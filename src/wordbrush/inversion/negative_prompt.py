"""Negative-prompt inversion (Miyake et al. 2023, arXiv:2305.16807): null-text inversion without the optimisation.

The embedding that null-text inversion would find is close to that of the picture's own prompt. With it as the
negative prompt, guidance pushes the source nowhere, and it returns to the picture as DDIM without guidance does.
"""

from __future__ import annotations

from dataclasses import dataclass

from wordbrush.inversion.ddim import invert_ddim
from wordbrush.inversion.start import Start
from wordbrush.inversion.task import Task
from wordbrush.sampling import Progress


@dataclass(frozen=True)
class NegativePrompt:
    """The noise of DDIM inversion, and the picture's prompt as the negative one of all rows."""

    name = "negative-prompt"

    def __call__(self, task: Task, progress: Progress | None = None) -> Start:
        """Invert the picture of ``task``: one forward-sample per step."""
        path = invert_ddim(task, task.sampler, task.latents, text=task.conditional, progress=progress)
        return task.start(path[-1], method=self.name, negative=task.prompt)
