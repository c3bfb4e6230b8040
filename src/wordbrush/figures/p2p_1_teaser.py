"""Figure 1, the teaser: what editing words can do. Weaken, swap, add (top), strengthen, describe, restyle (bottom)."""

from __future__ import annotations

from dataclasses import dataclass

import wordbrush as wb
from wordbrush.figures.brush import Brush
from wordbrush.figures.caption import changed, prompt
from wordbrush.figures.grid import BELOW, CELL, GAP, SIZE
from wordbrush.figures.layout import Page, text_height

PAIR = 2 * CELL + 0.5 * GAP
COLUMNS = 3


@dataclass(frozen=True)
class Example:
    """A source prompt and either a target prompt or a word with its new strength."""

    source: str
    seed: int
    target: str | None = None
    word: str = ""
    strength: float = 1.0


EXAMPLES = (
    Example("a castle near a mountain in the snow", 1, word="snow", strength=-0.5),
    Example("a pumpkin in a meadow at sunset", 1, target="a mushroom in a meadow at sunset"),
    Example("a fox in a forest", 2, target="a fox in a forest with a balloon"),
    Example("a robot in a forest in the fog", 4, word="fog", strength=8.0),
    Example("a cat in a meadow", 6, target="a purple cat in a meadow"),
    Example("a sailboat by a lake at sunset", 6, target="a watercolor of a sailboat by a lake at sunset"),
)


def draw(brush: Brush) -> Page:
    """Draw pairs of source and edited picture, three to a row."""
    page = Page()
    y = 0.0
    for start in range(0, len(EXAMPLES), COLUMNS):
        bottom = y
        for number, example in enumerate(EXAMPLES[start : start + COLUMNS]):
            bottom = max(bottom, pair(page, brush, example, number * (PAIR + 4 * GAP), y))
        y = bottom + 2 * GAP
    return page


def pair(page: Page, brush: Brush, example: Example, x: float, y: float) -> float:
    """Place one example with its caption below; return the bottom edge."""
    if example.target is None:
        edits = [wb.Reweight({example.word: example.strength})]
        result = brush.edit(example.source, [example.source], seed=example.seed, edits=edits)
        caption = prompt(example.source, {example.word: "(↑)" if example.strength > 1 else "(↓)"})
    else:
        result = brush.edit(example.source, [example.target], seed=example.seed)
        caption = changed(example.source, example.target, strike=True)
    height = page.picture(result.source, x, y, width=CELL)
    page.picture(result.images[0], x + CELL + 0.5 * GAP, y, width=CELL)
    page.text(caption, x + PAIR / 2, y + height + BELOW, size=SIZE, align="center", width=PAIR)
    return y + height + BELOW + text_height(caption, SIZE, PAIR)
