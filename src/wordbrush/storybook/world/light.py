"""The light of a time of day or a weather on every colour of a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from wordbrush.storybook.world.canvas import Colour, mix

SNOW: Colour = (244, 247, 252)

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
    """The light of one picture: a time and how strong it is, ``amount`` in [0, 1]."""

    time: str
    amount: float

    def on(self, colour: Colour, snow: float = 0.0) -> Colour:
        """The colour of scenery in this light; ``snow`` in [0, 1] is how much of it snow would cover."""
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
