"""Figure 3 of InstructPix2Pix: two captions drawn from the same noise, without and with Prompt-to-Prompt."""

from __future__ import annotations

from collections.abc import Sequence

from PIL.Image import Image

from wordbrush.figures.brush import Brush
from wordbrush.figures.caption import Text, changed, prompt, quiet
from wordbrush.figures.grid import GAP, SIZE, Cell, column, row
from wordbrush.figures.layout import Page, text_height
from wordbrush.metrics.pixels import l1

PAIRS = (
    ("a cat on a beach", "a dog on a beach", 5),
    ("a car in a city at night", "a tractor in a city at night", 4),
)
BETWEEN = 0.3  # the two ways stand so far apart


def draw(brush: Brush) -> Page:
    """Draw one pair of captions to a row: at the left without control, at the right with it."""
    page = Page()
    lefts = (0.0, column(2) + BETWEEN)
    heads = ("(a) same noise, without Prompt-to-Prompt", "(b) same noise, with Prompt-to-Prompt")
    width = column(2) - GAP
    for left, head in zip(lefts, heads, strict=True):
        page.text(quiet(head), left + width / 2, 0, size=SIZE + 1, align="center")
    y = text_height("x", SIZE + 1) + GAP
    for before, after, seed in PAIRS:
        captions = prompt(before), changed(before, after)
        without = brush.same_noise([before, after], seed=seed)
        edited = brush.edit(before, [after], seed=seed)
        bottoms = [
            block(page, images, captions, left, y)
            for left, images in zip(lefts, (without, [edited.source, *edited.images]), strict=True)
        ]
        y = max(bottoms) + 2 * GAP
    return page


def block(page: Page, images: Sequence[Image], captions: Sequence[Text], left: float, y: float) -> float:
    """Draw the two pictures of a pair with their captions, and how far apart they are; return the bottom edge."""
    cells = [Cell(image, caption) for image, caption in zip(images, captions, strict=True)]
    bottom = row(page, cells, left, y)
    told = quiet(f"mean difference {l1(*images):.3f}")
    return bottom + page.text(told, left + (column(2) - GAP) / 2, bottom, size=SIZE, align="center")
