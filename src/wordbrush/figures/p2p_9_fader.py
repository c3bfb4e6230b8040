"""Figure 9: one word turned down (top) or up (bottom) by scaling its attention map, everything else kept."""

from __future__ import annotations

import wordbrush as wb
from wordbrush.figures.brush import Brush
from wordbrush.figures.caption import prompt, quiet
from wordbrush.figures.grid import CELL, GAP, SIZE, Cell, column, row
from wordbrush.figures.layout import Page

LESS = (0.5, 0.0, -0.5, -1.0)
MORE = (1.5, 2.0, 4.0, 8.0)
ROWS = (
    ("a castle near a mountain in the snow", "snow", 1, LESS),
    ("a house by a lake at sunset", "sunset", 2, LESS),
    ("a robot in a forest in the fog", "fog", 4, MORE),
    ("a pink house in a meadow", "pink", 2, MORE),
)


def draw(brush: Brush) -> Page:
    """Draw the source and four strengths to a row, with the word marked by an arrow in the prompt below."""
    page = Page()
    y = 0.0
    middle = (column(len(LESS) + 1) - GAP) / 2
    for source, word, seed, strengths in ROWS:
        edits = [[wb.Reweight({word: strength})] for strength in strengths]
        result = brush.edit(source, [source] * len(strengths), seed=seed, edits=edits)
        for number, title in enumerate(
            ["source image", *(f"× {strength:g}".replace("-", "−") for strength in strengths)]
        ):
            page.text(quiet(title), column(number) + CELL / 2, y, size=SIZE, align="center")
        y += page.text(" ", 0, y, size=SIZE) + 0.5 * GAP
        y = (
            row(page, [Cell(result.source, source=True), *(Cell(image) for image in result.images)], 0, y)
            + 0.5 * GAP
        )
        caption = prompt(source, {word: "(↓)" if strengths[0] < 1 else "(↑)"})
        y += page.text(caption, middle, y, size=SIZE + 1, align="center") + 2 * GAP
    return page
