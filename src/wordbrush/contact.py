"""Contact sheets and heat overlays with Pillow alone; the figures of the papers are made in ``wordbrush.figures``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MARGIN = 12
CELL = 256  # smaller pictures are enlarged to about this width
TEXT = 13
INK, PAPER = "#222222", "#ffffff"

# From cold to hot, evenly spaced: dark violet, purple, coral, light yellow.
HEAT = np.array(
    [(16, 9, 48), (96, 24, 120), (186, 54, 100), (247, 130, 70), (252, 253, 191)], dtype=np.float64
)


def contact_sheet(images: Sequence[Image.Image], captions: Sequence[str] | None = None) -> Image.Image:
    """Return pictures of one size side by side, with captions wrapped under them."""
    enlarge = max(1, round(CELL / images[0].width))
    width, height = images[0].width * enlarge, images[0].height * enlarge
    font = ImageFont.load_default(TEXT)
    texts = [_wrapped(caption, font, width) for caption in captions or [""] * len(images)]
    line = sum(font.getmetrics()) if isinstance(font, ImageFont.FreeTypeFont) else TEXT
    below = max(len(lines) for lines in texts) * line + (MARGIN // 2 if captions else 0)
    size = (MARGIN + len(images) * (width + MARGIN), height + below + 2 * MARGIN)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (image, lines) in enumerate(zip(images, texts, strict=True)):
        left = MARGIN + number * (width + MARGIN)
        resampling = Image.Resampling.LANCZOS if enlarge > 1 else Image.Resampling.NEAREST
        sheet.paste(image.resize((width, height), resampling), (left, MARGIN))
        for row, text in enumerate(lines):
            top = MARGIN + height + MARGIN // 2 + row * line
            draw.text((left + width / 2, top), text, fill=INK, font=font, anchor="ma")
    return sheet


def overlay(image: Image.Image, weights: np.ndarray, *, strength: float = 0.6) -> Image.Image:
    """Draw an (h, w) map with values in [0, 1] over a picture, hot where it is 1."""
    levels = Image.fromarray((np.clip(weights, 0, 1) * 255).astype(np.uint8))
    smooth = np.asarray(levels.resize(image.size, Image.Resampling.BICUBIC), dtype=np.float64) / 255
    position = smooth * (len(HEAT) - 1)
    low = np.minimum(position.astype(int), len(HEAT) - 2)
    part = (position - low)[..., None]
    colours = HEAT[low] * (1 - part) + HEAT[low + 1] * part
    blended = np.asarray(image.convert("RGB")) * (1 - strength) + colours * strength
    return Image.fromarray(blended.round().astype(np.uint8))


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Break ``text`` at spaces into lines that fit; a longer word stands alone."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
