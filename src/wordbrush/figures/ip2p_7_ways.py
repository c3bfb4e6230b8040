"""Figure 7 of InstructPix2Pix: one picture transformed in a variety of ways."""

from __future__ import annotations

from wordbrush.figures.brush import Brush
from wordbrush.figures.gallery import gallery
from wordbrush.figures.layout import Page

PICTURE, SEED = "horse", 2
INSTRUCTIONS = (
    "make it a beach",
    "move it to a city",
    "put it in a desert",
    "make it sunset",
    "make it snow",
    "turn it into night",
    "turn the horse into a robot",
    "make the horse blue",
    "add an umbrella",
    "make it pixel art",
    "turn it into a pencil sketch",
)
COLUMNS = 6


def draw(brush: Brush) -> Page:
    """Draw the picture and then its edits, six to a row."""
    page = Page()
    gallery(page, brush, PICTURE, INSTRUCTIONS, seed=SEED, columns=COLUMNS)
    return page
