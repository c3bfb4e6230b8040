"""What changed between two pictures, pixel by pixel: mean absolute and squared difference, PSNR, SSIM."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wordbrush.errors import InvalidInput

if TYPE_CHECKING:
    from PIL.Image import Image

WINDOW = 7
"""Pixels of the side of the window in which SSIM compares two pictures."""

EQUAL_PSNR = 60.0
"""Decibels at which two pictures count as equal; the peak signal-to-noise ratio of equal pictures is infinite."""


def l1(before: Image, after: Image) -> float:
    """Mean absolute difference of two RGB pictures of one size, in [0, 1].

    Raises:
        InvalidInput: the pictures differ in size.
    """
    a, b = unit_pixels(before, after)
    return float(np.abs(a - b).mean())


def psnr(before: Image, after: Image, where: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB, at most 60; over the pixels of ``where``, bool (h, w), if given.

    Raises:
        InvalidInput: the pictures differ in size, or ``where`` is empty or of another size.
    """
    a, b = unit_pixels(before, after)
    return decibels(_inside(np.square(a - b), where).mean())


def decibels(squared: float) -> float:
    """Return the PSNR, at most 60 dB, of a mean squared difference of pixels in [0, 1]."""
    return float(10 * np.log10(1 / max(squared, 10 ** (-EQUAL_PSNR / 10))))


def ssim(before: Image, after: Image, where: np.ndarray | None = None) -> float:
    """Structural similarity (Wang et al. 2004) of two RGB pictures in [-1, 1].

    It is averaged over the pixels of ``where``, bool (h, w), if given.

    Raises:
        InvalidInput: the pictures differ in size or are smaller than ``WINDOW``, or ``where`` is empty or of another
            size.
    """
    from skimage.metrics import structural_similarity

    a, b = unit_pixels(before, after)
    if not fits(before, WINDOW):
        raise InvalidInput(
            f"the pictures have {before.width} × {before.height} pixels, and SSIM compares windows of {WINDOW} × "
            f"{WINDOW}: give larger ones"
        )
    similarity = structural_similarity(a, b, channel_axis=-1, data_range=1.0, win_size=WINDOW, full=True)[1]
    return float(_inside(similarity, where).mean())


def fits(image: Image, window: int) -> bool:
    """Tell whether a window of so many pixels a side lies within a picture."""
    return min(image.size) >= window


def unit_pixels(before: Image, after: Image) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels of both as RGB in [0, 1], float64 (h, w, 3) each.

    Raises:
        InvalidInput: the pictures differ in size.
    """
    if before.size != after.size:
        raise InvalidInput(
            f"the pictures differ in size, {before.width} × {before.height} and {after.width} × {after.height}: "
            "they can only be compared pixel by pixel if they are the same"
        )
    a, b = (np.asarray(image.convert("RGB"), dtype=np.float64) / 255 for image in (before, after))
    return a, b


def _inside(values: np.ndarray, where: np.ndarray | None) -> np.ndarray:
    """Return the (h, w, 3) values of a region, or all of them."""
    if where is None:
        return values
    if where.shape != values.shape[:2] or not where.any():
        raise InvalidInput(
            f"the region is {where.shape} with {int(where.sum())} pixels, the pictures {values.shape[:2]}"
        )
    return values[where]
