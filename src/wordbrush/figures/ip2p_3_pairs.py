"""Figure 3 of InstructPix2Pix: two captions drawn from the same noise, without and with Prompt-to-Prompt."""

from __future__ import annotations

from wordbrush.figures.brush import Brush
from wordbrush.figures.caption import changed, prompt, quiet
from wordbrush.figures.grid import GAP, SIZE, Cell, column, row
from wordbrush.figures.layout import Page

PAIRS = (
    ("a horse near a castle at sunset", "a dinosaur near a castle at sunset", 5),
    ("a fox in a forest", "an oil painting of a fox in a forest", 2),
)
BETWEEN = 0.3  # the two ways stand so far apart


def draw(brush: Brush) -> Page:
    """Draw one pair of captions to a row: at the left without control, at the right with it."""
    page = Page()
    lefts = (0.0, column(2) + BETWEEN)
    heads = ("(a) same noise, without Prompt-to-Prompt", "(b) same noise, with Prompt-to-Prompt")
    width = column(2) - GAP
    y = max(
        page.text(quiet(head), left + width / 2, 0, size=SIZE + 1, align="center")
        for left, head in zip(lefts, heads, strict=True)
    )
    y += GAP
    for before, after, seed in PAIRS:
        captions = prompt(before), changed(before, after)
        without = brush.same_noise([before, after], seed=seed)
        edited = brush.edit(before, [after], seed=seed)
        bottoms = [
            row(
                page, [Cell(image, caption) for image, caption in zip(images, captions, strict=True)], left, y
            )
            for left, images in zip(lefts, (without, [edited.source, *edited.images]), strict=True)
        ]
        y = max(bottoms) + 2 * GAP
    return page
