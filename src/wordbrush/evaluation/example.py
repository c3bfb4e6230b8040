"""What a method is measured on: one picture, what is to become of it, and as much truth as is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wordbrush.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image


@dataclass(frozen=True, eq=False, kw_only=True)
class Example:
    """One picture to be edited.

    Args:
        key: unique within a data set; results are kept, and random numbers drawn, by it.
        image: the picture, mode RGB.
        instruction: what to change.
        before, after: captions of the picture and of what it should become, if known.
        mask: (h, w) bool, True where the picture may change, if known.
        truth: the picture as it should become, mode RGB and of the same size, if there is one.
        kind: of edit, as the data set calls it.
    """

    key: str
    image: Image
    instruction: str
    before: str | None = None
    after: str | None = None
    mask: np.ndarray | None = None
    truth: Image | None = None
    kind: str = ""

    def caption(self, side: str, *, for_: str) -> str:
        """Return the caption ``"before"`` or ``"after"`` the edit.

        Args:
            for_: what needs it, for the message.

        Raises:
            DataError: the data set has none.
        """
        text = self.before if side == "before" else self.after
        if text is None:
            raise DataError(f"example {self.key!r} has no caption {side} the edit, which {for_} needs")
        return text
