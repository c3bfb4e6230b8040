"""Figure 5 of InstructPix2Pix: pictures transformed into various artistic mediums."""

from __future__ import annotations

from wordbrush.figures.brush import Brush
from wordbrush.figures.gallery import gallery
from wordbrush.figures.layout import Page

PICTURES = (("castle", 2), ("sailboat", 3))
INSTRUCTIONS = (
    "turn it into a watercolor",
    "make it an oil painting",
    "make it pixel art",
    "turn it into a pencil sketch",
)


def draw(brush: Brush) -> Page:
    """Draw a picture to a row, at the left of what became of it; a picture of the user's has the only row."""
    page = Page()
    y = 0.0
    for name, seed in PICTURES[:1] if brush.own else PICTURES:
        y = gallery(page, brush, name, INSTRUCTIONS, seed=seed, columns=len(INSTRUCTIONS) + 1, y=y)
    return page
