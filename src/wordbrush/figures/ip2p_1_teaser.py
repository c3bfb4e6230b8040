"""Figure 1 of InstructPix2Pix, the teaser: six pictures, each beside what an instruction made of it."""

from __future__ import annotations

from wordbrush.figures.brush import Brush
from wordbrush.figures.caption import instruction
from wordbrush.figures.grid import BELOW, CELL, GAP, SIZE
from wordbrush.figures.layout import Page, text_height

PAIR = 2 * CELL + 0.5 * GAP
COLUMNS = 3

EXAMPLES = (
    ("cat", "turn the cat into a lion", 0),
    ("castle", "make it night", 1),
    ("bus", "paint the bus red", 2),
    ("house", "put the house on a beach", 3),
    ("sailboat", "turn it into a watercolor", 4),
    ("robot", "make it snow", 5),
)
"""The picture, what it is to become, and the seed."""


def draw(brush: Brush) -> Page:
    """Draw pairs of a picture and its edit, three to a row, each below its instruction."""
    page = Page()
    examples = [("", own, seed) for seed, own in enumerate(brush.instructions)] or EXAMPLES
    y = 0.0
    for start in range(0, len(examples), COLUMNS):
        row = examples[start : start + COLUMNS]
        texts = [instruction(said) for _, said, _ in row]
        above = max(text_height(text, SIZE + 0.5, PAIR) for text in texts)
        bottom = y
        for number, ((name, said, seed), text) in enumerate(zip(row, texts, strict=True)):
            x = number * (PAIR + 4 * GAP)
            page.text(text, x + PAIR / 2, y, size=SIZE + 0.5, align="center", width=PAIR)
            before = brush.picture(name)
            (after,) = brush.instruct(before, [said], seed=seed)
            top = y + above + BELOW
            page.picture(after, x + CELL + 0.5 * GAP, top, width=CELL)
            bottom = max(bottom, top + page.picture(before, x, top, width=CELL))
        y = bottom + 3 * GAP
    return page
