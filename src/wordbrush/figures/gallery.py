"""One picture and what instructions make of it, each below its instruction: figures 5 to 7 of InstructPix2Pix."""

from __future__ import annotations

from collections.abc import Sequence

from wordbrush.figures.brush import Brush
from wordbrush.figures.caption import instruction, quiet
from wordbrush.figures.grid import BELOW, CELL, GAP, SIZE, column
from wordbrush.figures.layout import INK, Page, text_height


def gallery(
    page: Page,
    brush: Brush,
    name: str,
    instructions: Sequence[str],
    *,
    seed: int,
    columns: int,
    y: float = 0.0,
    cell: float = CELL,
) -> float:
    """Place a picture of ``inputs`` and its edits from left to right and from top to bottom; return the bottom edge."""
    asked = brush.instructions or instructions
    before = brush.picture(name)
    images = [before, *brush.instruct(before, asked, seed=seed)]
    texts = [quiet("input"), *(instruction(said) for said in asked)]
    height = cell * before.height / before.width
    for start in range(0, len(images), columns):
        here = slice(start, start + columns)
        above = max(text_height(text, SIZE, cell) for text in texts[here])
        top = y + above + BELOW
        for number, (image, text) in enumerate(zip(images[here], texts[here], strict=True)):
            x = column(number, cell=cell)
            # Short texts stand close to their picture, where others of the row have more lines.
            own = above - text_height(text, SIZE, cell)
            page.text(text, x + cell / 2, y + own, size=SIZE, align="center", width=cell)
            page.picture(image, x, top, width=cell, edge=INK if image is before else None)
        y = top + height + 2 * GAP
    return y
