"""From pictures of any size to the shapes of batches: the same resize, crop and flip for both pictures of a pair."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from wordbrush.errors import InvalidInput
from wordbrush.training.config import Data
from wordbrush.training.order import Draw

Shape = tuple[int, int]
"""(height, width) in pixels."""


@dataclass(frozen=True)
class Geometry:
    """How pictures are placed.

    Args:
        shapes: what batches may have; a picture goes to the one of the nearest aspect.
        size: side of the square among them, in pixels.
        resize: what that side is drawn between, both ends included, before the crop; other shapes in proportion.
        squash: fit both sides, whatever the picture's aspect.
        random_crop, flip: as in ``config.Data``.
    """

    shapes: tuple[Shape, ...]
    size: int
    resize: tuple[int, int]
    squash: bool = False
    random_crop: bool = False
    flip: bool = True

    @property
    def is_fixed(self) -> bool:
        """Whether every picture always looks the same, but for the flip."""
        always_whole = self.squash and len(self.shapes) == 1
        return self.resize == (self.size, self.size) and (always_whole or not self.random_crop)

    def nearest(self, width: int, height: int) -> int:
        """Return the number of the shape whose aspect is nearest."""
        wanted = math.log(width / height)
        return min(
            range(len(self.shapes)),
            key=lambda i: abs(math.log(self.shapes[i][1] / self.shapes[i][0]) - wanted),
        )

    def place(self, image: Image.Image, shape: int, draw: Draw | None = None) -> np.ndarray:
        """Resize and crop a picture to a shape, uint8 (height, width, 3); without a draw from the centre.

        The flip is not made here, since cached latents have it already.
        """
        height, width = self.shapes[shape]
        least, most = self.resize
        scale = (least + int((draw.resize if draw else 0.0) * (most - least + 1))) / self.size
        if self.squash:
            size = (max(width, round(width * scale)), max(height, round(height * scale)))
        else:
            factor = scale * max(width / image.width, height / image.height)
            size = (max(width, round(image.width * factor)), max(height, round(image.height * factor)))
        resized = image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)
        across, down = (draw.left, draw.top) if draw and self.random_crop else (0.5, 0.5)
        left, top = int(across * (size[0] - width + 1)), int(down * (size[1] - height + 1))
        return np.asarray(resized)[top : top + height, left : left + width]


def make_geometry(data: Data, *, native: int, multiple: int) -> Geometry:
    """Return the geometry of a configuration.

    Args:
        native: the side the model was trained with, in pixels.
        multiple: what all sides must be a multiple of.

    Raises:
        InvalidInput: a size that the model cannot take, or a range that is none.
    """
    size = data.size or native
    if size % multiple:
        near = max(multiple, round(size / multiple) * multiple)
        raise InvalidInput(
            f"data.size must be a multiple of {multiple} for this model, not {size}: use {near}"
        )
    least, most = data.resize or (size, size)
    if not size <= least <= most:
        raise InvalidInput(
            f"data.resize must be two sizes from {size} (data.size) on, the smaller one first, not [{least}, {most}]"
        )
    if data.buckets and data.fit == "squash":
        raise InvalidInput("data.buckets keep the aspect and data.fit = 'squash' does not: use fit = 'cover'")
    shapes = _buckets(size, multiple, data.aspect) if data.buckets else ((size, size),)
    return Geometry(
        shapes,
        size=size,
        resize=(least, most),
        squash=data.fit == "squash",
        random_crop=data.crop == "random",
        flip=data.flip,
    )


def _buckets(size: int, multiple: int, aspect: float) -> tuple[Shape, ...]:
    """Return, for every height up to ``size``, the width that comes nearest to the area of ``size``² without exceeding
    it, as far as ``aspect`` allows; and the same upright. They are in the order of their widths.
    """
    lying = [
        (height, size * size // height // multiple * multiple)
        for height in range(multiple, size + 1, multiple)
    ]
    lying = [(height, width) for height, width in lying if width / height <= aspect]
    upright = [(width, height) for height, width in lying]
    return tuple(sorted({*lying, *upright}, key=lambda shape: shape[1]))
