"""A sheet of attention maps: every word averaged over the steps, and chosen words step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from wordbrush.figures.caption import Run, prompt, quiet
from wordbrush.figures.grid import GAP, SIZE, Cell, column, row
from wordbrush.figures.heat import evenly, heat
from wordbrush.figures.layout import Page

if TYPE_CHECKING:
    from wordbrush.edits.prompt import WordLike
    from wordbrush.results import WordMaps

CELL = 0.78
COLUMNS = 9


def maps_sheet(
    image: Image.Image,
    maps: WordMaps,
    words: Mapping[str, WordLike],
    *,
    followed: Sequence[str],
    moments: int = COLUMNS,
    show: Callable[[np.ndarray], Image.Image] = heat,
) -> Page:
    """Lay out the maps of a picture.

    ``words`` gives each label the word that ``maps`` knows; ``followed`` are the labels shown at ``moments`` steps too;
    ``show`` makes a picture of a map (h, w).
    """
    page = Page()
    y = page.text(quiet("Average attention maps across all steps"), 0, 0, size=SIZE + 1) + GAP
    averages = [Cell(show(maps[word]), [Run(label, "italic")]) for label, word in words.items()]
    cells = [Cell(image, source=True), *averages]
    for start in range(0, len(cells), COLUMNS):
        y = row(page, cells[start : start + COLUMNS], 0, y, cell=CELL) + 2 * GAP
    for number, label in enumerate(followed):
        if number == 0:
            page.line([(0, y), (column(min(COLUMNS, max(len(cells), moments)), cell=CELL) - GAP, y)])
            y += GAP
        steps = maps.steps(words[label])
        title = [*quiet("Attention maps at different steps for "), *prompt(label)]
        y += page.text(title, 0, y, size=SIZE + 1) + GAP
        shown = [Cell(show(steps[step]), quiet(f"step {step + 1}")) for step in evenly(len(steps), moments)]
        for start in range(0, len(shown), COLUMNS):
            y = row(page, shown[start : start + COLUMNS], 0, y, cell=CELL) + 2 * GAP
    return page


def labels(text: str) -> dict[str, int]:
    """Return every word of a prompt with its position; a word that comes again is numbered, as ``a (2)``."""
    named: dict[str, int] = {}
    for position, word in enumerate(text.split()):
        times = text.split()[: position + 1].count(word)
        named[word if times == 1 else f"{word} ({times})"] = position
    return named
