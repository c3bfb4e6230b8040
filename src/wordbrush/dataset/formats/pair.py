"""What every format is read into and written from: one edit, with its pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from wordbrush.dataset.formats.picture import Picture


@dataclass(frozen=True, eq=False, kw_only=True)
class EditPair:
    """A picture, an instruction, and the picture after following it.

    Args:
        key: unique within a data set.
        instruction: what to change; other names for it are edit and edit_prompt.
        before_picture, after_picture: the pictures; of any size, and not necessarily of the same one.
        before, after: captions of the two pictures, if known.
        mask_picture: white where the picture may change, if known.
        scores: finite numbers, named as the columns of the pairs, as far as they were measured.
        settings: how the pair was made or where it belongs (seed, share, guidance, img_id, turn_index, …): strings,
            numbers and Booleans.
    """

    key: str
    instruction: str
    before_picture: Picture
    after_picture: Picture
    before: str | None = None
    after: str | None = None
    mask_picture: Picture | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def before_image(self) -> Image.Image:
        """The picture before the edit, mode RGB."""
        return self.before_picture.image

    @property
    def after_image(self) -> Image.Image:
        """The picture after the edit, mode RGB."""
        return self.after_picture.image

    @property
    def mask(self) -> Image.Image | None:
        """The mask, mode L, white where the picture may change; None if there is none."""
        return self.mask_picture.image if self.mask_picture else None

    @property
    def holds(self) -> frozenset[str]:
        """Which optional parts there are: of ``captions``, ``mask``, ``scores``, ``settings``."""
        parts = {
            "captions": self.before is not None and self.after is not None,
            "mask": self.mask_picture is not None,
            "scores": bool(self.scores),
            "settings": bool(self.settings),
        }
        return frozenset(name for name, there in parts.items() if there)
