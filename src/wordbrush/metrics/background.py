"""What changed in the part of a picture where nothing should: MSE, PSNR and SSIM, by area or as PIE-Bench does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from wordbrush.errors import InvalidInput
from wordbrush.metrics.pixels import WINDOW, decibels, fits, ssim, unit_pixels

if TYPE_CHECKING:
    from PIL.Image import Image

Background = Literal["area", "pie"]
MODES = ("area", "pie")
GAUSSIAN_WINDOW = 11
"""Pixels of the side of the window of SSIM in the mode ``"pie"``."""


def background(
    before: Image, after: Image, mask: np.ndarray, *, mode: Background = "area"
) -> dict[str, float]:
    """Return ``mse`` in [0, 1], ``psnr`` in dB, at most 60, and ``ssim`` in [-1, 1] of two RGB pictures of one size.

    There is no ``ssim`` of pictures that are smaller than its window, 7 pixels a side or in the mode ``"pie"`` 11.

    Args:
        mask: (h, w) bool, True where the picture may change; the rest is measured.
        mode: ``"area"`` averages over the pixels of the background alone. ``"pie"`` does what the published code of
            PIE-Bench does (Ju et al. 2023, arXiv:2310.01506): the pictures are black inside the mask, and the average
            is over the whole frame, black included, so a larger mask gives better numbers; SSIM has a Gaussian window
            of 11 pixels and leaves out a rim of 5, as torchmetrics did before 1.5. The published numbers are in
            float32; these agree to its rounding. Of equal backgrounds the published PSNR is infinite, here it is 60.

    Raises:
        InvalidInput: the pictures differ in size, or the mask has another size or leaves no background.
    """
    if mode not in MODES:
        raise InvalidInput(f"the mode of a background is {' or '.join(MODES)}, not {mode!r}")
    a, b = unit_pixels(before, after)
    if mask.shape != a.shape[:2] or mask.all():
        raise InvalidInput(
            f"the mask is {mask.shape} and leaves {int((~mask).sum())} pixels of pictures of {a.shape[:2]}: there is "
            "no background to measure"
        )
    outside = ~mask
    if mode == "area":
        mse = float(np.square(a - b)[outside].mean())
        similar = {"ssim": ssim(before, after, outside)} if fits(before, WINDOW) else {}
        return {"mse": mse, "psnr": decibels(mse), **similar}
    a, b = a * outside[..., None], b * outside[..., None]
    mse = float(np.square(a - b).mean())
    similar = {"ssim": _gaussian_ssim(a, b)} if fits(before, GAUSSIAN_WINDOW) else {}
    return {"mse": mse, "psnr": decibels(mse), **similar}


def _gaussian_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """SSIM with a Gaussian window of 11 pixels and deviation 1.5, averaged where the window lies in the picture."""
    from skimage.metrics import structural_similarity

    window: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    similarity: Any = structural_similarity(a, b, channel_axis=-1, data_range=1.0, **window)
    return float(similarity)
