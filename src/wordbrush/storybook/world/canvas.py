"""A drawing surface in the picture's own pixels, drawn at twice the size and reduced for smooth edges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from wordbrush.storybook.world.layout import SIZE

SCALE = 2
Colour = tuple[int, int, int]


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """The colour ``share`` of the way from ``first`` to ``second``."""
    r, g, b = (round(a + (z - a) * share) for a, z in zip(first, second, strict=True))
    return r, g, b


class Canvas:
    """Flat shapes on a 128 x 128 picture; coordinates are floats in pixels, y grows downwards."""

    def __init__(self) -> None:
        self._image = Image.new("RGB", (SIZE * SCALE, SIZE * SCALE))
        self._draw = ImageDraw.Draw(self._image)

    def finish(self) -> Image.Image:
        """The picture at its final size."""
        return self._image.reduce(SCALE)

    def rectangle(self, x0: float, y0: float, x1: float, y1: float, fill: Colour) -> None:
        if x1 > x0 and y1 > y0:
            self._draw.rectangle((x0 * SCALE, y0 * SCALE, x1 * SCALE - 1, y1 * SCALE - 1), fill)

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        box = ((x - rx) * SCALE, (y - ry) * SCALE, (x + rx) * SCALE, (y + ry) * SCALE)
        self._draw.ellipse(box, fill)

    def polygon(self, points: Iterable[tuple[float, float]], fill: Colour) -> None:
        self._draw.polygon([(x * SCALE, y * SCALE) for x, y in points], fill)

    def line(self, points: Iterable[tuple[float, float]], width: float, fill: Colour) -> None:
        corners = [(x * SCALE, y * SCALE) for x, y in points]
        self._draw.line(corners, fill, round(width * SCALE), joint="curve")

    def gradient(self, y0: float, y1: float, colours: Sequence[Colour]) -> None:
        """Fill the rows from ``y0`` to ``y1`` with colours that follow one another evenly."""
        top, bottom = max(round(y0 * SCALE), 0), min(round(y1 * SCALE), SIZE * SCALE)
        if bottom <= top:
            return
        rows = (np.arange(top, bottom) / SCALE - y0) / (y1 - y0)
        stops = np.linspace(0, 1, len(colours))
        column = np.stack([np.interp(rows, stops, channel) for channel in zip(*colours, strict=True)], -1)
        strip = Image.fromarray(column.round().astype(np.uint8)[:, None])
        self._image.paste(strip.resize((SIZE * SCALE, bottom - top), Image.Resampling.NEAREST), (0, top))

    def hills(self, heights: np.ndarray, fill: Colour) -> None:
        """Fill everything below a skyline of y values, given at even distances from left to right."""
        xs = np.linspace(0, SIZE, len(heights))
        self.polygon([(0, SIZE), *zip(xs.tolist(), heights.tolist(), strict=True), (SIZE, SIZE)], fill)


def skyline(rng: np.random.Generator, base: float, swing: float, *, waves: int = 3) -> np.ndarray:
    """A smooth skyline around the height ``base``: sine waves of about ``swing`` pixels together."""
    x = np.linspace(0, 2 * np.pi, 65)
    turns, phases = rng.uniform(0.4, 0.9), rng.uniform(0, 2 * np.pi, waves)
    heights = sum(swing * 0.5**k * np.sin(x * turns * 1.9**k + phases[k]) for k in range(waves))
    return base + np.asarray(heights)
