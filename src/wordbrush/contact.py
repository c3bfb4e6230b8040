"""Contact sheets and heat overlays with Pillow alone; the figures of the papers are made in ``wordbrush.figures``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MARGIN = 12
CELL = 256  # smaller pictures are enlarged to about this width
TEXT = 12
INK, PAPER = "#222222", "#ffffff"
ROW = 6  # up to so many pictures stand in one row

# From cold to hot, evenly spaced: black, dark violet, purple, coral, light yellow.
HEAT = np.array([(0, 0, 4), (81, 18, 124), (183, 55, 121), (252, 137, 97), (252, 253, 191)], dtype=np.float64)


def contact_sheet(
    images: Sequence[Image.Image], captions: Sequence[str] | None = None, *, columns: int | None = None
) -> Image.Image:
    """Return pictures of one size in rows, with captions wrapped under them.

    Unless ``columns`` says how many, up to ``ROW`` pictures stand side by side; more make a sheet about twice as wide
    as high.
    """
    columns = columns or min(len(images), max(ROW, math.ceil(math.sqrt(2 * len(images)))))
    enlarge = max(1, round(CELL / images[0].width))
    width, height = images[0].width * enlarge, images[0].height * enlarge
    font = _font()
    texts = [_wrapped(caption, font, width) for caption in captions or [""] * len(images)]
    line = sum(font.getmetrics())
    below = max(len(lines) for lines in texts) * line + (MARGIN // 2 if captions else 0)
    rows = math.ceil(len(images) / columns)
    size = (MARGIN + columns * (width + MARGIN), MARGIN + rows * (height + below + MARGIN))
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (image, lines) in enumerate(zip(images, texts, strict=True)):
        left = MARGIN + number % columns * (width + MARGIN)
        top = MARGIN + number // columns * (height + below + MARGIN)
        resampling = Image.Resampling.LANCZOS if enlarge > 1 else Image.Resampling.NEAREST
        sheet.paste(image.resize((width, height), resampling), (left, top))
        for row, text in enumerate(lines):
            under = top + height + MARGIN // 2 + row * line
            draw.text((left + width / 2, under), text, fill=INK, font=font, anchor="ma")
    return sheet


def heat_colours(weights: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the colours (height, width, 3) in [0, 255] of an (h, w) map in [0, 1], smoothly resized.

    ``size`` is (width, height), as Pillow has it.
    """
    levels = Image.fromarray((np.clip(weights, 0, 1) * 255).astype(np.uint8))
    smooth = np.asarray(levels.resize(size, Image.Resampling.BICUBIC), dtype=np.float64) / 255
    position = smooth * (len(HEAT) - 1)
    low = np.minimum(position.astype(int), len(HEAT) - 2)
    part = (position - low)[..., None]
    return HEAT[low] * (1 - part) + HEAT[low + 1] * part


def overlay(image: Image.Image, weights: np.ndarray, *, strength: float = 0.6) -> Image.Image:
    """Draw an (h, w) map with values in [0, 1] over a picture, hot where it is 1."""
    colours = heat_colours(weights, image.size)
    blended = np.asarray(image.convert("RGB")) * (1 - strength) + colours * strength
    return Image.fromarray(blended.round().astype(np.uint8))


@lru_cache
def _font() -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which has more scripts than Pillow's own font; it comes with matplotlib."""
    package = find_spec("matplotlib")  # finding it does not import it
    assert package
    assert package.origin
    fonts = Path(package.origin).parent / "mpl-data" / "fonts" / "ttf"
    return ImageFont.truetype(fonts / "DejaVuSans.ttf", TEXT)


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Break ``text`` at spaces into lines that fit; a longer word stands alone."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
