"""Rows of pictures of one size with captions under them, the building block of most figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from wordbrush.figures.caption import Text
from wordbrush.figures.layout import INK, Page, text_height

CELL = 1.1  # inches; seven of them fill a page of text
GAP = 0.05
SIZE = 7.5  # points
BELOW = 0.03  # between a picture and its caption


@dataclass(frozen=True)
class Cell:
    """A picture and what stands under it; ``source`` frames it as the picture that the others were edited from."""

    image: Image.Image
    caption: Text | None = None
    source: bool = False


def column(number: int, *, x: float = 0.0, cell: float = CELL, gap: float = GAP) -> float:
    """Return the left edge of a column in inches."""
    return x + number * (cell + gap)


def row(
    page: Page,
    cells: Sequence[Cell | None],
    x: float,
    y: float,
    *,
    cell: float = CELL,
    gap: float = GAP,
    size: float = SIZE,
) -> float:
    """Place ``cells`` from left to right with their tops at y, None leaves a place free; return the bottom edge.

    The pictures keep their aspect: ``cell`` is the width, the tallest one sets where the captions begin.
    """
    placed = [(column(number, x=x, cell=cell, gap=gap), one) for number, one in enumerate(cells) if one]
    tallest = 0.0
    for left, one in placed:
        height = page.picture(one.image, left, y, width=cell, edge=INK if one.source else None)
        tallest = max(tallest, height)
    captions = [(left, one.caption) for left, one in placed if one.caption]
    if not captions:
        return y + tallest
    top = y + tallest + BELOW
    for left, caption in captions:
        page.text(caption, left + cell / 2, top, size=size, align="center", width=cell)
    return top + max(text_height(caption, size, cell) for _, caption in captions)
