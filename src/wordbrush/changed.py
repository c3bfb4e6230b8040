"""Where an edit changed a picture, found from the edit itself."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

AUTO = "auto"
"""The mask that is found so."""

NOTHING, ALL = 8, 24
"""Levels of 255: below the first nothing has changed, above the second all; between them it fades.

Chosen on 70 edits of the embedded editor: lower ones put back less of the picture, higher ones also what was to change.
"""

BLUR = 3 / 8
"""Of the differences, in latent pixels: a change reaches as far as the autoencoder carries it, and has soft edges."""


def changed(edited: Image.Image, unedited: Image.Image, factor: int) -> Image.Image:
    """Return a mask, mode L and of the pictures' size: white where they differ, black where they do not.

    Args:
        edited: what the autoencoder makes of the edited latents.
        unedited: what it makes of the picture's own, so that what it loses of every picture is no difference.
        factor: pixels of a latent pixel.
    """
    a, b = (np.asarray(image.convert("RGB"), dtype=np.float32) for image in (edited, unedited))
    levels = np.abs(a - b).mean(axis=2).round().astype(np.uint8)
    soft = Image.fromarray(levels).filter(ImageFilter.GaussianBlur(BLUR * factor))
    return soft.point(
        [round(255 * min(max((level - NOTHING) / (ALL - NOTHING), 0), 1)) for level in range(256)]
    )
