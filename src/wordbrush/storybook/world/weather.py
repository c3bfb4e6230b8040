"""Time of day and weather: the light on every colour, the sky, and what falls or hangs in the air."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from wordbrush.storybook.world.canvas import SCALE, Canvas, Colour, mix
from wordbrush.storybook.world.layout import SIZE, stream

SNOW: Colour = (244, 247, 252)
FOG: Colour = (216, 220, 223)

Filter = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Light as (factor, offset) per channel: colour * factor + offset."""

# For the weakest and for the strongest version of each time; the amount of a picture lies between them.
_SCENERY: dict[str, tuple[Filter, Filter]] = {
    "noon": (((1.0, 1.0, 1.0), (0, 0, 0)), ((1.0, 1.0, 1.0), (0, 0, 0))),
    "sunset": (((0.96, 0.78, 0.68), (18, 4, 4)), ((0.84, 0.58, 0.50), (34, 6, 14))),
    "night": (((0.36, 0.43, 0.62), (2, 6, 24)), ((0.28, 0.34, 0.54), (2, 4, 20))),
    "rain": (((0.70, 0.76, 0.82), (4, 6, 10)), ((0.52, 0.58, 0.66), (4, 8, 14))),
    "snow": (((0.88, 0.90, 0.94), (14, 16, 20)), ((0.80, 0.83, 0.90), (26, 28, 32))),
    "fog": (((0.80, 0.80, 0.80), (36, 38, 40)), ((0.66, 0.66, 0.66), (64, 66, 68))),
}
# The subject and its companion stay lighter and closer to their own colours than the scenery.
_FIGURES: dict[str, tuple[Filter, Filter]] = {
    "noon": _SCENERY["noon"],
    "sunset": (((1.0, 0.93, 0.88), (8, 2, 0)), ((0.98, 0.86, 0.80), (12, 2, 2))),
    "night": (((0.76, 0.80, 0.94), (4, 6, 12)), ((0.62, 0.67, 0.86), (4, 6, 14))),
    "rain": (((0.92, 0.94, 0.97), (0, 0, 4)), ((0.82, 0.85, 0.90), (0, 2, 6))),
    "snow": (((0.99, 0.99, 1.0), (2, 3, 4)), ((0.96, 0.97, 1.0), (6, 7, 8))),
    "fog": (((0.90, 0.90, 0.90), (18, 19, 20)), ((0.76, 0.76, 0.76), (46, 47, 48))),
}
RIMS: dict[str, tuple[Colour, float]] = {
    "noon": ((255, 252, 240), 0.85),
    "sunset": ((255, 236, 205), 0.85),
    "night": ((196, 208, 240), 0.75),
    "rain": ((226, 232, 240), 0.80),
    "snow": ((70, 84, 116), 0.55),
    "fog": ((120, 126, 132), 0.40),
}
"""Colour and opacity of the thin rim that sets figures off from the scenery."""

_SKIES: dict[str, tuple[tuple[Colour, ...], tuple[Colour, ...]]] = {
    "noon": (((92, 172, 240), (190, 228, 250)), ((48, 132, 224), (160, 214, 248))),
    "sunset": (
        ((232, 120, 110), (252, 176, 96), (255, 222, 140)),
        ((84, 44, 118), (222, 76, 88), (255, 160, 72)),
    ),
    "night": (((18, 24, 74), (52, 66, 128)), ((6, 8, 36), (26, 34, 84))),
    "rain": (((112, 122, 138), (164, 172, 182)), ((66, 74, 90), (122, 130, 144))),
    "snow": (((158, 174, 198), (204, 214, 226)), ((134, 150, 178), (188, 200, 216))),
    "fog": (((198, 203, 207), (222, 225, 227)), ((184, 190, 195), (212, 216, 219))),
}


@dataclass(frozen=True)
class Light:
    """The light of one picture: a time and how strong it is, `amount` in [0, 1]."""

    time: str
    amount: float

    def on(self, colour: Colour, snow: float = 0.0) -> Colour:
        """The colour of scenery in this light; `snow` in [0, 1] is how much of it snow would cover."""
        if self.time == "snow" and snow:
            colour = mix(colour, SNOW, snow * (0.55 + 0.40 * self.amount))
        factor, offset = _between(_SCENERY[self.time], self.amount)
        r, g, b = (min(round(c * f + o), 255) for c, f, o in zip(colour, factor, offset, strict=True))
        return r, g, b

    def on_figure(self, picture: Image.Image) -> Image.Image:
        """An RGB sprite in this light."""
        factor, offset = _between(_FIGURES[self.time], self.amount)
        levels = np.arange(256)[None] * np.reshape(factor, (3, 1)) + np.reshape(offset, (3, 1))
        return picture.point(levels.clip(0, 255).round().astype(int).ravel().tolist())

    @property
    def lamps(self) -> bool:
        """Whether windows are lit."""
        return self.time in ("sunset", "night", "rain", "fog")

    def sky(self) -> tuple[Colour, ...]:
        """The colours of the sky from the top to the horizon."""
        weak, strong = _SKIES[self.time]
        return tuple(mix(first, second, self.amount) for first, second in zip(weak, strong, strict=True))


def _between(pair: tuple[Filter, Filter], share: float) -> Filter:
    factor, offset = np.asarray(pair[0]) * (1 - share) + np.asarray(pair[1]) * share
    return tuple(factor), tuple(offset)


def draw_sky(canvas: Canvas, light: Light, *, seed: int, left: float, right: float, bottom: float) -> None:
    """Draw a sky from the top of the picture to `bottom`, its sun, moon and clouds between `left` and `right`."""
    rng = stream(seed, "sky")
    canvas.gradient(0, bottom, light.sky())
    canvas.rectangle(0, bottom, SIZE, SIZE, light.sky()[-1])
    across, up = rng.uniform(0.08, 0.92), rng.uniform(0.0, 1.0)
    x = left + (right - left) * across
    radius = rng.uniform(8.0, 11.0)
    stars = rng.uniform(0, 1, (26, 3))[: int(rng.integers(12, 27))]
    clouds = rng.uniform(0, 1, (5, 3))[: int(rng.integers(0, 6))]
    if light.time == "noon":
        y = 12 + up * max(bottom * 0.45 - 12, 0)
        canvas.ellipse(x, y, radius + 3, radius + 3, (255, 244, 190))
        canvas.ellipse(x, y, radius, radius, (255, 222, 70))
        _draw_clouds(canvas, clouds, (255, 255, 255), left=left, right=right, bottom=bottom * 0.7)
    elif light.time == "sunset":
        y = bottom - radius * (0.2 + 1.2 * up)
        canvas.ellipse(x, y, radius + 8, radius + 8, mix(light.sky()[-1], (255, 236, 160), 0.4))
        canvas.ellipse(x, y, radius + 3, radius + 3, (255, 244, 190))
        _draw_clouds(canvas, clouds, mix(light.sky()[0], (255, 190, 170), 0.5), left=left, right=right, bottom=bottom * 0.55)
    elif light.time == "night":
        for star_x, star_y, size in stars:
            radius_of_star = 0.8 + 0.6 * size
            canvas.ellipse(star_x * SIZE, star_y * bottom, radius_of_star, radius_of_star, (250, 246, 214))
        y = 13 + up * max(bottom * 0.5 - 13, 0)
        canvas.ellipse(x, y, radius, radius, (252, 246, 206))
        canvas.ellipse(x + radius * 0.5, y - radius * 0.3, radius * 0.85, radius * 0.85, light.sky()[0])
    elif light.time in ("rain", "snow"):
        shade = mix(light.sky()[0], (52, 58, 72) if light.time == "rain" else (250, 251, 254), 0.45)
        for cloud_x, cloud_y, size in np.concatenate([clouds, stars])[:7]:
            canvas.ellipse(left + (right - left) * cloud_x, cloud_y * bottom * 0.16, 18 + 12 * size, 7 + 5 * size, shade)


def _draw_clouds(
    canvas: Canvas, clouds: np.ndarray, fill: Colour, *, left: float, right: float, bottom: float
) -> None:
    for across, down, size in clouds:
        x, y, r = left + (right - left) * across, 6 + down * max(bottom - 6, 0), 4 + 3.5 * size
        for shift, rise, share in ((-1.5, 0, 0.8), (0, -0.45, 1.1), (1.5, 0, 0.85)):
            canvas.ellipse(x + shift * r, y + rise * r, r * share * 1.25, r * share * 0.8, fill)


def falling(light: Light, *, seed: int, indoors: bool) -> tuple[Image.Image, Colour] | None:
    """What falls through the air: its opacity, an "L" picture, and its colour; None if nothing falls."""
    # A window shows only a part of it: more has to fall there to be seen.
    amount = 0.5 + 0.5 * light.amount if indoors else light.amount
    if light.time == "rain":
        return _rain(seed, amount), (206, 222, 244)
    if light.time == "snow":
        return _flakes(seed, amount), (255, 255, 255)
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
