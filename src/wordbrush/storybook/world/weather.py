"""What falls through the air or hangs in it: rain, snow, fog."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from wordbrush.storybook.world.canvas import SCALE, Colour
from wordbrush.storybook.world.layout import SIZE, stream
from wordbrush.storybook.world.light import Light

FOG: Colour = (216, 220, 223)
AIR: dict[str, Colour] = {"rain": (206, 222, 244), "snow": (255, 255, 255)}
"""The colour of what falls."""


def falling(light: Light, *, seed: int, indoors: bool) -> Image.Image | None:
    """The opacity of what falls through the air, an "L" picture; None if nothing falls."""
    # A window shows only a part of it: more has to fall there to be seen.
    amount = 0.5 + 0.5 * light.amount if indoors else light.amount
    if light.time == "rain":
        return _rain(seed, amount)
    if light.time == "snow":
        return _flakes(seed, amount)
    return None


def _rain(seed: int, amount: float) -> Image.Image:
    rng = stream(seed, "rain")
    veil = Image.new("L", (SIZE * SCALE, SIZE * SCALE))
    draw = ImageDraw.Draw(veil)
    slant = rng.uniform(-0.45, 0.45)
    drops = rng.uniform(0, 1, (90, 3))[: int(24 + 62 * amount)]
    for across, down, size in drops:
        x, y, length = across * 300 - 22, down * 290 - 34, 20 + 14 * size
        draw.line((x, y, x + slant * length, y + length), 205, 3)
    return veil.reduce(SCALE)


def _flakes(seed: int, amount: float) -> Image.Image:
    rng = stream(seed, "snow")
    veil = Image.new("L", (SIZE * SCALE, SIZE * SCALE))
    draw = ImageDraw.Draw(veil)
    flakes = rng.uniform(0, 1, (120, 3))[: int(22 + 90 * amount)]
    for across, down, size in flakes:
        x, y, r = across * 256, down * 256, 3.4 + 2.6 * size
        draw.ellipse((x - r, y - r, x + r, y + r), 250)
    return veil.reduce(SCALE)


def draw_fog(picture: Image.Image, light: Light, *, seed: int, horizon: float, indoors: bool) -> None:
    """Lay fog over the scenery, densest around the horizon, in soft banks."""
    if light.time != "fog":
        return
    shift = stream(seed, "fog").integers(0, SIZE, 2)
    banks = np.roll(_BANKS, tuple(shift), (0, 1))
    rows = np.arange(SIZE, dtype=np.float32)[:, None]
    depth = np.exp(-(((rows - horizon) / 46.0) ** 2))
    density = (0.34 + 0.30 * light.amount) * (0.55 + 0.45 * depth) + 0.16 * banks
    density = np.clip(density * (0.75 if indoors else 1.0), 0, 0.9)
    picture.paste(FOG, (0, 0), Image.fromarray((density * 255).astype(np.uint8)))


def _make_banks() -> np.ndarray:
    noise = np.random.default_rng(11).standard_normal((SIZE, SIZE))
    banks = ndimage.gaussian_filter(noise, (6, 20), mode="wrap")
    return (banks / banks.std()).astype(np.float32).clip(-1.8, 1.8)


_BANKS = _make_banks()
