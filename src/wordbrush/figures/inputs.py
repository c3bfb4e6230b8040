"""Pictures for the figures of editing: rendered storybook scenes, of combinations that no model was trained on.

They come as PNG files, so that drawing a figure needs no font; ``storybook.world.render(parse(caption), seed)`` draws
them again.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from wordbrush.pictures import read_picture

FOLDER = Path(__file__).parent / "inputs"

SCENES = {
    "bus": ("a bus in a meadow", 4),
    "castle": ("a castle by a lake", 1),
    "cat": ("a cat in a desert", 2),
    "elephant": ("an elephant on a beach", 4),
    "horse": ("a horse near a mountain", 4),
    "house": ("a house in a forest at sunset", 3),
    "rabbit": ("a rabbit by a lake", 2),
    "robot": ("a robot in a city", 4),
    "sailboat": ("a sailboat near a volcano", 2),
}
"""Caption and seed of every picture."""


def picture(name: str) -> Image.Image:
    """Return the picture of this name in ``SCENES``, 128 × 128 pixels, mode RGB."""
    return read_picture(FOLDER / f"{name}.png").image
