"""Examples, methods and measures without any model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

import editors
from wordbrush.errors import InvalidInput, ModelError, PromptTooLong
from wordbrush.evaluation.example import Example
from wordbrush.evaluation.method import Edited


def examples(count: int) -> list[Example]:
    return [
        Example(
            key=f"e{number}", image=editors.picture(number), instruction="brighter", kind=f"k{number % 2}"
        )
        for number in range(count)
    ]


@dataclass(eq=False)
class Brighter:
    """Adds ``by`` levels, and the last digit of the seed to the first pixel; refuses the keys in ``cannot``, and runs
    out of memory over those in ``too_large``.
    """

    by: float
    cannot: frozenset[str] = frozenset()
    too_large: frozenset[str] = frozenset()
    calls: list[list[str]] = field(default_factory=list)
    name = "brighter"
    along = "by"

    @property
    def settings(self) -> dict[str, Any]:
        return {"by": self.by, "model": "none"}

    def edit(self, examples: Sequence[Example], seeds: Sequence[int]) -> Edited:
        self.calls.append([example.key for example in examples])
        for example in examples:
            if example.key in self.cannot:
                raise InvalidInput(f"{example.key} cannot be edited")
            if example.key in self.too_large:
                raise ModelError(f"memory ran out over {example.key}")
        images = []
        for example, seed in zip(examples, seeds, strict=True):
            levels = np.asarray(example.image).astype(float) + self.by
            levels[0, 0] = seed % 256
            images.append(Image.fromarray(levels.clip(0, 255).astype(np.uint8)))
        return Edited(images, 3 * len(examples))


def mean_level(examples: Sequence[Example], images: Sequence[Image.Image]) -> list[dict[str, float]]:
    """A measure: mean level, for the even examples also whether it is above 128."""
    found = []
    for example, image in zip(examples, images, strict=True):
        level = float(np.asarray(image).mean())
        found.append({"level": level} | ({"success": float(level > 128)} if example.kind == "k0" else {}))
    return found


def short_captions(examples: Sequence[Example], images: Sequence[Image.Image]) -> list[dict[str, float]]:
    """A measure that cannot be taken of the example ``e1``."""
    for example in examples:
        if example.key == "e1":
            raise PromptTooLong("the caption of e1 has 90 tokens")
    return [{"caption": 1.0} for _ in examples]
