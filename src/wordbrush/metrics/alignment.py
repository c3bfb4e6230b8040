"""How far a picture has slid: editors that repaint a picture often move all of it by a few pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wordbrush.metrics.pixels import unit_pixels

if TYPE_CHECKING:
    from PIL.Image import Image

FINENESS = 10
"""The shift is found to this fraction of a pixel."""


def alignment_shift(before: Image, after: Image) -> float:
    """Length of the translation that best aligns the edges of two pictures, as a share of their diagonal, in [0, 1].

    By phase correlation (Kuglin and Hines 1975) of the gradients' strength, so that a change of colours or of light
    does not count. Pictures without edges have no shift.

    Raises:
        InvalidInput: the pictures differ in size.
    """
    from skimage.registration import phase_cross_correlation

    edges = [_edges(pixels) for pixels in unit_pixels(before, after)]
    if min(edge.max() for edge in edges) == 0:
        return 0.0
    shift = phase_cross_correlation(*edges, upsample_factor=FINENESS)[0]
    return float(np.hypot(*shift) / np.hypot(*edges[0].shape))


def _edges(pixels: np.ndarray) -> np.ndarray:
    """Gradient strength of the luma, (h, w), faded towards the border, which would correlate with itself."""
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    strength = np.hypot(*np.gradient(luma))
    window = np.outer(*(np.hanning(side) for side in strength.shape))
    return strength * window
