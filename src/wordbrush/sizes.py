"""Sizes in pixels, (height, width): those a network can work at, and the one a picture is edited at."""

from __future__ import annotations

from wordbrush.checks import is_whole
from wordbrush.errors import BadPicture, InvalidInput

Size = int | tuple[int, int]

MOST_PIXELS = 8192 * 8192
"""Of one picture. No network makes larger ones, and even their noise may not fit into memory."""


def read_size(size: object) -> tuple[int, int]:
    """Return (height, width) of a size given as that pair or as the side of a square.

    Raises:
        InvalidInput: anything else than one or two whole numbers of at least 1, or more than ``MOST_PIXELS`` in all.
    """
    sides = tuple(size) if isinstance(size, list | tuple) else (size, size)
    if len(sides) != 2 or not all(is_whole(side) and side >= 1 for side in sides):
        raise InvalidInput(f"a size is one or two whole numbers of pixels, not {size!r}")
    height, width = map(int, sides)  # pyright: ignore[reportArgumentType]
    if height * width > MOST_PIXELS:
        raise InvalidInput(
            f"a picture of {height} × {width} pixels is too large: at most {MOST_PIXELS:,} pixels in all, such as "
            "8192 × 8192"
        )
    return height, width


def check_multiples(
    height: int, width: int, factor: int, *, error: type[InvalidInput] = InvalidInput
) -> None:
    """Raise ``error``, naming the nearest size, unless both sides are multiples of ``factor``."""
    if height % factor or width % factor:
        near = [max(1, round(side / factor)) * factor for side in (height, width)]
        raise error(
            f"both sides of a picture must be multiples of {factor} pixels: {near[0]} × {near[1]}, not "
            f"{height} × {width}"
        )


def edited_size(height: int, width: int, *, side: int, grain: int, crop: bool) -> tuple[int, int]:
    """Return the size at which InstructPix2Pix edits a picture of another size: multiples of ``grain``.

    The longer side is brought to ``side``, the shorter one then rounded up, and the longer one follows. With ``crop``
    it is rounded down, as published, and what is too long has to be cut off; without, it goes to the nearest multiple,
    and the picture is stretched a little instead. The published code computes the shorter side in floating point and
    at some sizes loses a whole ``grain`` of it; here it is exact.

    Args:
        side: of the pictures that the network knows, published 512.
        grain: what both sides are multiples of, published 64.

    Raises:
        BadPicture: the picture is so long that neither can be done without distorting it.
    """
    shorter, longer = sorted((height, width))
    if longer * grain > 2 * side * shorter:
        raise BadPicture(
            f"a picture of {height} × {width} pixels is too long and narrow to be edited: crop it to at most "
            f"{2 * side // grain} times as long as wide"
        )
    short = -(-shorter * side // (longer * grain)) * grain
    grains = longer * short / (shorter * grain)
    long = (longer * short // (shorter * grain) if crop else max(1, round(grains))) * grain
    return (short, long) if height <= width else (long, short)
