"""Where things stand: everything here follows from the seed alone, never from the words of a scene."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

SIZE = 128
"""Height and width of a storybook picture, in pixels; all lengths of the world are in these pixels."""


def stream(seed: int, *names: str) -> np.random.Generator:
    """An independent random generator for one named concern of one picture."""
    concern = zlib.crc32("/".join(names).encode())
    return np.random.default_rng([seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF, concern])


@dataclass(frozen=True)
class Layout:
    """The composition of a picture, in pixels of the 128 x 128 frame; nothing is ever mirrored.

    ``subject_size`` is the square root of the area of the box that the subject fills, ``subject_base`` the line
    on which it stands; ``companion_x`` is the middle of the companion, ``companion_low`` the line on which one
    stands and ``companion_high`` the middle of one that hangs in the air. ``amount`` in [0, 1] tells how strong
    the time or weather is: flakes, drops, veil, depth of a sunset, darkness of a night.
    """

    horizon: float
    subject_x: float
    subject_base: float
    subject_size: float
    companion_x: float
    companion_low: float
    companion_high: float
    companion_size: float
    amount: float


def layout(seed: int) -> Layout:
    """Draw the composition that belongs to a seed."""
    rng = stream(seed, "layout")
    horizon = SIZE * rng.uniform(0.36, 0.60)
    size = rng.uniform(55.0, 80.0)
    # The larger the subject, the farther it stands from the middle: a companion has room on the other side.
    side = rng.choice((-1.0, 1.0))
    x = SIZE / 2 + side * SIZE * rng.uniform(0.01 + 0.09 * (size - 55) / 25, 0.24)
    base = max(SIZE * rng.uniform(0.76, 0.96), horizon + 28.0)

    companion_size = rng.uniform(33.0, 42.0)
    near, far = x - side * size * 0.5, SIZE * (1 - side) / 2
    companion_x = (near + far) / 2
    companion_x = min(max(companion_x, 3 + companion_size / 2), SIZE - 3 - companion_size / 2)
    return Layout(
        horizon=horizon,
        subject_x=x,
        subject_base=base,
        subject_size=size,
        companion_x=companion_x,
        companion_low=min(base + rng.uniform(-6.0, 6.0), SIZE - 4.0),
        companion_high=rng.uniform(0.14, 0.36) * SIZE,
        companion_size=companion_size,
        amount=rng.random(),
    )
