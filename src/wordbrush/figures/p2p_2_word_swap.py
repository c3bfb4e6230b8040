"""Figure 2: one word swapped. Top: the source's attention maps injected. Bottom: only the same noise, layout lost."""

from __future__ import annotations

from PIL.Image import Image

from wordbrush.figures.brush import INJECTED, Brush
from wordbrush.figures.caption import changed, prompt, quiet
from wordbrush.figures.grid import CELL, GAP, SIZE, Cell, column, row
from wordbrush.figures.layout import INK, Page, text_height

SEED = 3
NOUN = "cake"
SOURCE = f"a {NOUN} on a beach"
WORDS = ("teapot", "pumpkin", "turtle", "mushroom", "car", "snail")
SOURCE_CELL = 1.3 * CELL


def draw(brush: Brush) -> Page:
    """Draw the source at the left, the two ways of editing as two blocks at its right."""
    targets = [SOURCE.replace(NOUN, word) for word in WORDS]
    edited = brush.edit(SOURCE, targets, seed=SEED, **INJECTED)
    regenerated = brush.same_noise(targets, seed=SEED)
    captions = [changed(SOURCE, target) for target in targets]

    page = Page()
    left = SOURCE_CELL + 4 * GAP
    middle = (left + column(len(targets), x=left) - GAP) / 2
    y = (
        page.text(quiet("Fixed attention maps and random seed"), middle, 0, size=SIZE + 1, align="center")
        + GAP
    )
    y = row(page, [Cell(image, text) for image, text in zip(edited.images, captions, strict=True)], left, y)
    y += 3 * GAP
    y += page.text(quiet("Fixed random seed"), middle, y, size=SIZE + 1, align="center") + GAP
    bottom = row(
        page, [Cell(image, text) for image, text in zip(regenerated, captions, strict=True)], left, y
    )
    source(page, edited.source, bottom)
    return page


def source(page: Page, image: Image, bottom: float) -> None:
    """Place the source picture with its label and prompt, vertically in the middle of the page."""
    label, caption = quiet("source image"), prompt(SOURCE)
    picture = SOURCE_CELL * image.height / image.width
    heights = (text_height(label, SIZE), picture, text_height(caption, SIZE, SOURCE_CELL))
    y = (bottom - sum(heights) - 2 * GAP) / 2
    page.text(label, SOURCE_CELL / 2, y, size=SIZE, align="center")
    y += heights[0] + GAP
    page.picture(image, 0, y, width=SOURCE_CELL, edge=INK)
    page.text(caption, SOURCE_CELL / 2, y + picture + GAP, size=SIZE, align="center", width=SOURCE_CELL)
