"""Attention maps as pictures."""

from __future__ import annotations

import numpy as np
from PIL import Image

from wordbrush.contact import heat_colours


def heat(weights: np.ndarray, size: int = 256, *, top: float | None = None) -> Image.Image:
    """Return the map ``weights`` (h, w), values >= 0, as a picture whose longer side is ``size`` pixels.

    The brightest colour is ``top``; None takes the map's own maximum, as the papers do when they show maps.
    """
    top = float(weights.max()) if top is None else top
    scaled = np.clip(weights / top, 0, 1) if top > 0 else np.zeros_like(weights)
    height, width = (round(side * size / max(weights.shape)) for side in weights.shape)
    return Image.fromarray(heat_colours(scaled, (width, height)).round().astype(np.uint8))


def evenly(count: int, moments: int) -> list[int]:
    """Return ``moments`` step numbers evenly spread from the first to the last of ``count`` steps, none twice."""
    return sorted({round(position) for position in np.linspace(0, count - 1, min(moments, count))})
