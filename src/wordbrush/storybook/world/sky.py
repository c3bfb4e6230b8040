"""The sky: its colours, and the sun, the moon, the stars or the clouds on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wordbrush.storybook.world.canvas import Canvas, mix
from wordbrush.storybook.world.layout import SIZE, stream
from wordbrush.storybook.world.light import Light


@dataclass(frozen=True)
class Sky:
    """A sky from the top of the picture to ``bottom``, seen between the columns ``left`` and ``right``.

    ``body_x``, ``body_height`` in [0, 1] and ``radius`` belong to the sun or the moon; ``stars`` and ``clouds`` hold
    one row (across, down, size) each, all in [0, 1]. One seed has the same of them at every time.
    """

    left: float
    right: float
    bottom: float
    body_x: float
    body_height: float
    radius: float
    stars: np.ndarray
    clouds: np.ndarray

    def x(self, across: float) -> float:
        """The column at a share of the way from ``left`` to ``right``."""
        return self.left + (self.right - self.left) * across


def draw_sky(canvas: Canvas, light: Light, *, seed: int, left: float, right: float, bottom: float) -> None:
    """Draw a sky down to ``bottom``, its last colour below; sun and clouds keep between ``left`` and ``right``."""
    colours = light.sky()
    canvas.gradient(0, bottom, colours)
    canvas.rectangle(0, bottom, SIZE, SIZE, colours[-1])
    rng = stream(seed, "sky")
    across, height, radius = rng.uniform(0.08, 0.92), rng.uniform(0.0, 1.0), rng.uniform(8.0, 11.0)
    stars = rng.uniform(0, 1, (26, 3))[: int(rng.integers(12, 27))]
    clouds = rng.uniform(0, 1, (5, 3))[: int(rng.integers(0, 6))]
    body_x = left + (right - left) * across
    sky = Sky(left, right, bottom, body_x, height, radius, stars, clouds)
    if light.time == "noon":
        _draw_noon(canvas, sky)
    elif light.time == "sunset":
        _draw_sunset(canvas, sky, light)
    elif light.time == "night":
        _draw_night(canvas, sky, light)
    elif light.time in ("rain", "snow"):
        _draw_overcast(canvas, sky, light)


def _draw_noon(canvas: Canvas, sky: Sky) -> None:
    y = 12 + sky.body_height * max(sky.bottom * 0.45 - 12, 0)
    canvas.ellipse(sky.body_x, y, sky.radius + 3, sky.radius + 3, (255, 244, 190))
    canvas.ellipse(sky.body_x, y, sky.radius, sky.radius, (255, 222, 70))
    _draw_clouds(canvas, sky, (255, 255, 255), lowest=sky.bottom * 0.7)


def _draw_sunset(canvas: Canvas, sky: Sky, light: Light) -> None:
    colours = light.sky()
    y = sky.bottom - sky.radius * (0.2 + 1.2 * sky.body_height)
    canvas.ellipse(sky.body_x, y, sky.radius + 8, sky.radius + 8, mix(colours[-1], (255, 236, 160), 0.4))
    canvas.ellipse(sky.body_x, y, sky.radius + 3, sky.radius + 3, (255, 244, 190))
    _draw_clouds(canvas, sky, mix(colours[0], (255, 190, 170), 0.5), lowest=sky.bottom * 0.55)


def _draw_night(canvas: Canvas, sky: Sky, light: Light) -> None:
    for across, down, size in sky.stars:
        radius = 0.8 + 0.6 * size
        canvas.ellipse(across * SIZE, down * sky.bottom, radius, radius, (250, 246, 214))
    y, radius = 13 + sky.body_height * max(sky.bottom * 0.5 - 13, 0), sky.radius
    canvas.ellipse(sky.body_x, y, radius, radius, (252, 246, 206))
    # What is left beside a second disc in the sky's colour is a crescent.
    canvas.ellipse(sky.body_x + radius * 0.5, y - radius * 0.3, radius * 0.85, radius * 0.85, light.sky()[0])


def _draw_overcast(canvas: Canvas, sky: Sky, light: Light) -> None:
    shade = mix(light.sky()[0], (52, 58, 72) if light.time == "rain" else (250, 251, 254), 0.45)
    for across, down, size in np.concatenate([sky.clouds, sky.stars])[:7]:
        canvas.ellipse(sky.x(across), down * sky.bottom * 0.16, 18 + 12 * size, 7 + 5 * size, shade)


def _draw_clouds(canvas: Canvas, sky: Sky, fill: tuple[int, int, int], *, lowest: float) -> None:
    for across, down, size in sky.clouds:
        x, y, r = sky.x(across), 6 + down * max(lowest - 6, 0), 4 + 3.5 * size
        for shift, rise, share in ((-1.5, 0, 0.8), (0, -0.45, 1.1), (1.5, 0, 0.85)):
            canvas.ellipse(x + shift * r, y + rise * r, r * share * 1.25, r * share * 0.8, fill)
