"""How much of a word is in a picture, where a judge's answer would saturate: rain and colour.

A fader can go beyond what any render shows. A classifier is sure of a colour long before that, and the judge of
strengths has never seen such rain; these two are measured in the pixels instead. On 150 held-out renders, rain reads
higher than the same scene at noon in all, and its rank correlation with the rendered number of drops is 0.65.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wordbrush.storybook.world.glyphs import PAINTS

if TYPE_CHECKING:
    from PIL.Image import Image

DROP_WIDTH, DROP_LENGTH = 5, 5
"""Pixels, in a picture of 128: a drop is narrower and longer than this."""

MID_GREY = (50.0, 0.0, 0.0)
"""What has no colour, in CIELAB."""


def rain(image: Image) -> float:
    """Return the mean brightness, in [0, 1], by which narrow upright lines stand out of what is beside them."""
    from scipy.ndimage import grey_opening

    luma = np.asarray(image.convert("L"), dtype=float) / 255
    narrow = luma - grey_opening(luma, size=(1, DROP_WIDTH))
    return float(grey_opening(narrow, size=(DROP_LENGTH, 1)).mean())


def colour(image: Image, name: str, where: np.ndarray) -> float:
    """Return how far a region goes from grey to a colour of the storybook's, on average: 0 for grey, 1 for its paint.

    Args:
        where: (h, w) bool, the region; not empty.

    The way is measured along the line between both in CIELAB; a stronger colour than the paint gives more than 1.
    """
    from skimage.color import rgb2lab

    paint = rgb2lab(np.array(PAINTS[name]).reshape(1, 1, 3) / 255)[0, 0]
    way = paint - MID_GREY
    away = rgb2lab(np.asarray(image.convert("RGB"))[where][None] / 255)[0] - MID_GREY
    return float((away @ way).mean() / (way @ way))
