"""Figure 5: only the maps of one word are injected, so the object keeps its shape while its surroundings change."""

from __future__ import annotations

from PIL.Image import Image

import wordbrush as wb
from wordbrush.figures.brush import Brush
from wordbrush.figures.caption import changed, prompt, quiet
from wordbrush.figures.grid import GAP, SIZE, Cell, column, row
from wordbrush.figures.layout import Page

SEED = 4
WORD = "horse"
SOURCE = "a horse in a meadow"
CONTEXTS = (
    "on a beach at sunset",
    "in a city at night",
    "in a desert",
    "near a volcano",
    "on the moon",
    "in a forest in the snow",
)


def draw(brush: Brush) -> Page:
    """Draw the source and its object in other places; below, the same prompts and noise without injection."""
    targets = [f"a {WORD} {context}" for context in CONTEXTS]
    only = wb.Refine(until={WORD: 1.0, "default_": 0.0})
    edited = brush.edit(SOURCE, targets, seed=SEED, edits=[only], self_attention=0.0, blend="none")
    regenerated = brush.same_noise(targets, seed=SEED)

    page = Page()
    across = column(len(targets) + 1) - GAP
    label = [*quiet("Only the attention maps of "), *prompt(WORD), *quiet(" injected")]
    y = page.text(label, across / 2, 0, size=SIZE + 1, align="center") + GAP
    first = [Cell(edited.source, prompt(SOURCE), source=True)]
    y = row(page, first + cells(edited.images, targets), 0, y) + 3 * GAP
    y += page.text(quiet("Fixed random seed"), across / 2, y, size=SIZE + 1, align="center") + GAP
    row(page, [None, *cells(regenerated, targets)], 0, y)
    return page


def cells(images: list[Image], targets: list[str]) -> list[Cell]:
    """Return the edited pictures with what changed in their prompts."""
    return [
        Cell(image, changed(SOURCE, target, shorten=True))
        for image, target in zip(images, targets, strict=True)
    ]
