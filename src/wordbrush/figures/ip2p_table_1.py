"""Table 1 of InstructPix2Pix: triplets written by hand, and those that the writer taught by them writes."""

from __future__ import annotations

from collections.abc import Sequence

from wordbrush.dataset.writers.form import Example
from wordbrush.figures.brush import Brush
from wordbrush.figures.caption import Run, changed, prompt, quiet
from wordbrush.figures.grid import GAP, SIZE
from wordbrush.figures.layout import INK, RULE, Page, text_height
from wordbrush.figures.triplets import by_hand, written

HEADS = ("Input caption", "Edit instruction", "Edited caption")
HAND = (0, 33, 60, 123, 210, 300)
"""Which of those written by hand."""

CAPTIONS = (
    "an owl in a forest in the fog",
    "a watercolor of a tractor in a meadow",
    "a red car in a city at night",
    "a penguin by a lake with a balloon",
    "pixel art of a mushroom in a forest",
    "a rocket on the moon",
)
"""What the writer is given."""

SIDE = 1.0  # room for the names of the two halves
WIDTHS = (2.1, 1.85, 2.55)
AIR = 0.12  # between columns
TEXT = SIZE + 0.5


def draw(brush: Brush) -> Page:
    """Draw the table; the writer is the embedded one, whatever model the brush has."""
    page = Page()
    lefts = [SIDE + sum(WIDTHS[:number]) + number * AIR for number in range(len(WIDTHS))]
    right = lefts[-1] + WIDTHS[-1]
    page.line([(0, 0), (right, 0)], colour=INK, line=1.0)
    y = GAP
    for left, head in zip(lefts, HEADS, strict=True):
        page.text([Run(head, "bold")], left, y, size=TEXT)
    y += text_height("x", TEXT) + GAP
    page.line([(0, y), (right, y)], colour=INK)
    examples = by_hand()
    halves = (
        ("Written by hand", f"{len(examples)} triplets", [examples[number] for number in HAND]),
        ("Generated", "any number", written(CAPTIONS, seed=brush.seed or 0)),
    )
    for number, (name, count, rows) in enumerate(halves):
        if number:
            page.line([(0, y), (right, y)])
        top, y = y, half(page, rows, lefts, y + GAP)
        middle = (top + y) / 2 - text_height("x", TEXT)
        page.text([Run(name, "bold")], 0, middle, size=TEXT)
        page.text(quiet(count), 0, middle + text_height("x", TEXT), size=SIZE)
    page.line([(0, y), (right, y)], colour=INK, line=1.0)
    return page


def half(page: Page, examples: Sequence[Example], lefts: Sequence[float], y: float) -> float:
    """Place one triplet a row; return the bottom edge."""
    for number, example in enumerate(examples):
        if number:
            page.line(
                [(lefts[0], y - 0.5 * GAP), (lefts[-1] + WIDTHS[-1], y - 0.5 * GAP)], colour=RULE, line=0.3
            )
        cells = (prompt(example.before), [Run(example.instruction)], changed(example.before, example.after))
        heights = [
            page.text(cell, left, y, size=TEXT, width=width)
            for cell, left, width in zip(cells, lefts, WIDTHS, strict=True)
        ]
        y += max(heights) + GAP
    return y
