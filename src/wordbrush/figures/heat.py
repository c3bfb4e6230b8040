"""Attention maps as pictures."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import matplotlib
import numpy as np
from PIL import Image

COLOURS = "magma"


@lru_cache
def _table() -> np.ndarray:
    return (matplotlib.colormaps[COLOURS](np.linspace(0, 1, 256))[:, :3] * 255).round().astype(np.uint8)


def heat(weights: np.ndarray, size: int = 256, *, top: float | None = None) -> Image.Image:
    """Return the map ``weights`` (h, w), values >= 0, as a picture whose longer side is ``size`` pixels.

    The brightest colour is ``top``; None takes the map's own maximum, as the papers do when they show maps.
    """
    top = float(weights.max()) if top is None else top
    scaled = np.clip(weights / top, 0, 1) if top > 0 else np.zeros_like(weights)
    height, width = (round(side * size / max(weights.shape)) for side in weights.shape)
    smooth = Image.fromarray((scaled * 255).astype(np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    return Image.fromarray(_table()[np.asarray(smooth)])


def over(image: Image.Image) -> Callable[[np.ndarray], Image.Image]:
    """Return the function that shows a map over ``image``: the brighter the attention, the less of the picture dims."""
    base = np.asarray(image.convert("RGB"), dtype=np.float64)
    grey = base.mean(axis=2, keepdims=True) * 0.45

    def show(weights: np.ndarray) -> Image.Image:
        top = float(weights.max()) or 1.0
        levels = Image.fromarray((np.clip(weights / top, 0, 1) * 255).astype(np.uint8))
        amount = (
            np.asarray(levels.resize(image.size, Image.Resampling.BICUBIC), dtype=np.float64)[..., None] / 255
        )
        coloured = _table()[(amount[..., 0] * 255).astype(np.uint8)]
        mixed = (1 - amount) * grey + amount * (0.45 * base + 0.55 * coloured)
        return Image.fromarray(mixed.clip(0, 255).astype(np.uint8))

    return show


def evenly(count: int, moments: int) -> list[int]:
    """Return ``moments`` step numbers evenly spread from the first to the last of ``count`` steps, none twice."""
    return sorted({round(position) for position in np.linspace(0, count - 1, min(moments, count))})
