"""Figure 6 of InstructPix2Pix: a picture with new context and subjects."""

from __future__ import annotations

from wordbrush.figures.brush import Brush
from wordbrush.figures.gallery import gallery
from wordbrush.figures.grid import CELL
from wordbrush.figures.layout import Page

PICTURE, SEED = "elephant", 1
INSTRUCTIONS = (
    "put the elephant on the moon",
    "turn the elephant into a dinosaur",
    "move it to a city",
)
COLUMNS = 2


def draw(brush: Brush) -> Page:
    """Draw the picture and three edits, larger than in other figures."""
    page = Page()
    gallery(page, brush, PICTURE, INSTRUCTIONS, seed=SEED, columns=COLUMNS, cell=2 * CELL)
    return page
