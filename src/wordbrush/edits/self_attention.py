"""Self-attention injection: targets attend to themselves as the source does, which keeps layout and shapes.

Not in the paper's text but part of the published method: with the source's self-attention in the first steps a
swapped word keeps the pose and outline of what it replaces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wordbrush.checks import check_count
from wordbrush.edits.window import Fraction, Rounding, Window
from wordbrush.errors import InvalidInput


@dataclass(frozen=True)
class SelfAttention:
    """When and where the source's self-attention is injected.

    Args:
        until: a fraction of the run or a pair (start, stop).
        max_pixels: the largest attention grid it acts on, in pixels of that grid; 256 (16²) and 1024 (32²) are the
            published values. None means the resolution word maps are read at (16² for a 64² latent) and coarser.
        rounding: how fractions become steps.
        branches: the guidance branches it acts in: the conditional one, as published for editing, or all of them, as
            published for making InstructPix2Pix's image pairs.
    """

    until: Fraction | Window = 0.4
    max_pixels: int | None = None
    rounding: Rounding = Rounding.EXACT
    branches: Literal["cond", "all"] = "cond"

    def __post_init__(self) -> None:
        if self.max_pixels is not None:
            check_count("max_pixels", self.max_pixels)
        if self.branches not in ("cond", "all"):
            raise InvalidInput(f"branches is 'cond' or 'all', not {self.branches!r}")
        _ = self.window

    @property
    def window(self) -> Window:
        """The part of the run in which it acts."""
        return Window.of(self.until)

    @classmethod
    def of(cls, value: Fraction | SelfAttention) -> SelfAttention:
        """Read a fraction, a pair (start, stop), or a ``SelfAttention``."""
        return value if isinstance(value, SelfAttention) else cls(value)

    def describe(self) -> str:
        """Say in one line what it does."""
        if self.window.start == self.window.stop:
            return "self-attention of the source: none"
        where = (
            "map resolution and coarser"
            if self.max_pixels is None
            else f"grids up to {self.max_pixels} pixels"
        )
        both = ", in all branches" if self.branches == "all" else ""
        return f"self-attention of the source: steps {self.window}, {where}{both}"
