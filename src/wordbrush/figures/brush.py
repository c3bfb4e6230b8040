"""How figures make their pictures: one model, the user's settings, the same few calls everywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL.Image import Image

import wordbrush as wb


@dataclass(frozen=True)
class Brush:
    """A model with the settings of a whole figure.

    ``seed`` None keeps the seed that each row of a figure was composed with; ``steps`` None is the model's default.
    """

    model: wb.Model
    seed: int | None = None
    steps: int | None = None
    progress: Callable[[int, int], None] | None = None

    def edit(self, source: str, to: Sequence[str], *, seed: int, **settings: Any) -> wb.EditResult:
        """Edit as ``wordbrush.edit`` does, with the figure's settings; as in the paper, without a blend."""
        return wb.edit(self.model, source, to=list(to), seed=self._seed(seed), steps=self.steps,
                       progress=self.progress, **{"blend": "none", **settings})  # fmt: skip

    def same_noise(self, prompts: Sequence[str], *, seed: int) -> list[Image]:
        """Generate each prompt from one and the same noise, without any control."""
        return self.generate(prompts, seed=seed).images

    def generate(self, prompts: Sequence[str], *, seed: int, maps: bool = False) -> wb.Generation:
        """Generate as ``wordbrush.generate`` does, with the figure's settings."""
        return wb.generate(self.model, list(prompts), seed=self._seed(seed), steps=self.steps, maps=maps,
                           progress=self.progress)  # fmt: skip

    def _seed(self, seed: int) -> int:
        return seed if self.seed is None else self.seed
