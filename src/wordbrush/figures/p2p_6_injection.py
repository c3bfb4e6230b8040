"""Figure 6: attention injected for none to all of the steps; too little loses the scene, too much binds the shape."""

from __future__ import annotations

import wordbrush as wb
from wordbrush.figures.brush import Brush
from wordbrush.figures.caption import prompt, quiet, swap
from wordbrush.figures.grid import CELL, GAP, SIZE, Cell, column, row
from wordbrush.figures.layout import INK, Page

SEED = 3
SOURCE = "a cat on a beach with a balloon"
SWAPS = (("cat", "dog"), ("cat", "car"), ("beach", "forest"), ("balloon", "kite"))
SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
LABEL = 0.22  # width of the labels at the left


def draw(brush: Brush) -> Page:
    """Draw the source on top, then one row per swapped word and one column per share of the steps.

    Self-attention is injected for half as long as cross-attention, the proportion of the published defaults.
    """
    targets = [fit(SOURCE.replace(old, new)) for old, new in SWAPS]
    results = [
        brush.edit(
            SOURCE,
            targets,
            seed=SEED,
            edits=[wb.Replace(until=share)],
            self_attention=share / 2,
            blend="none",
        )
        for share in SHARES
    ]
    page = Page()
    left = LABEL
    right = column(len(SHARES), x=left) - GAP
    y = page.text(quiet("source image and prompt:"), (left + right) / 2, 0, size=SIZE, align="center") + GAP
    source = results[0].source
    y += page.picture(source, (left + right - CELL) / 2, y, width=CELL, edge=INK) + GAP
    y += page.text(prompt(SOURCE), (left + right) / 2, y, size=SIZE + 1, align="center") + 2 * GAP
    for number, share in enumerate(SHARES):
        page.text(quiet(f"{share:.0%}"), column(number, x=left) + CELL / 2, y, size=SIZE, align="center")
    y += page.text(" ", left, y, size=SIZE) + 0.5 * GAP
    for number, (old, new) in enumerate(SWAPS):
        bottom = row(page, [Cell(result.images[number]) for result in results], left, y)
        page.text(swap(old, new), 0, (y + bottom) / 2, size=SIZE + 1, upright=False)
        y = bottom + GAP
    scale(page, left, right, y + 0.5 * GAP)
    return page


def scale(page: Page, left: float, right: float, y: float) -> None:
    """Draw the arrow from no injection to full injection."""
    page.arrow((left, y), (right, y))
    page.text("Without attention injection", left, y + GAP, size=SIZE + 1)
    page.text("Full attention injection", right, y + GAP, size=SIZE + 1, align="right")


def fit(text: str) -> str:
    """Mend the preposition that a swapped place needs: a beach is stood on, a forest in."""
    return text.replace("on a forest", "in a forest")
