"""Figure 2 of InstructPix2Pix, how its data is made: a caption, an instruction, candidates, scores, selected pairs."""

from __future__ import annotations

from collections.abc import Sequence

from PIL.Image import Image

from wordbrush.dataset.pairs import PairStage
from wordbrush.dataset.verdict import STORYBOOK_GATES
from wordbrush.dataset.writers.form import Example
from wordbrush.figures.brush import Brush
from wordbrush.figures.caption import (
    ACCENT,
    QUIET,
    Run,
    Text,
    changed,
    instruction,
    math,
    prompt,
    quiet,
)
from wordbrush.figures.grid import GAP, SIZE
from wordbrush.figures.layout import INK, RULE, Page, text_height
from wordbrush.figures.triplets import written
from wordbrush.metrics.clip import PairScores, load_clip

CAPTION, SEED = "a rabbit in a forest at sunset", 3
SHARES = (0.1, 0.35, 0.6, 0.85)
OTHERS = (
    ("a watercolor of a tractor in a meadow", 1),
    ("a penguin by a lake with a balloon", 4),
    ("a castle near a mountain", 2),
)
"""Captions of the examples below, each with its seed; the instructions are the writer's."""

LEFT = 2.05  # width of the panel of texts
CELL = 1.0
BETWEEN = 0.28
KEPT = "#2a7f62"
STAGE = PairStage()


def draw(brush: Brush) -> Page:
    """Draw the way of one caption from left to right, and finished examples below; all of it is made now."""
    first, *others = written([CAPTION, *(caption for caption, _ in OTHERS)], seed=brush.seed or 0)
    page = Page()
    top = title(page, 0, LEFT, "(a) a language model writes")
    left = LEFT + BETWEEN
    right = left + 5 * CELL + 5 * GAP
    title(page, left, right, "(b) Prompt-to-Prompt draws candidates, CLIP scores them")
    bottom = max(texts(page, first, top), candidates(page, brush, first, left, top)) + 2 * GAP
    page.line([(0, bottom), (right, bottom)])
    y = title(page, 0, right, "(c) finished pairs, with their instructions", bottom + GAP)
    wide = (right - 2 * BETWEEN) / 3
    for number, (example, (_, seed)) in enumerate(zip(others, OTHERS, strict=True)):
        selected(page, brush, example, seed, number * (wide + BETWEEN), y, wide)
    return page


def title(page: Page, left: float, right: float, text: str, y: float = 0.0) -> float:
    """Place the title of a panel; return where its content begins."""
    return y + page.text([Run(text, "bold")], (left + right) / 2, y, size=SIZE + 1, align="center") + 2 * GAP


def texts(page: Page, example: Example, y: float) -> float:
    """Draw what the writer reads and writes, from top to bottom; return the bottom edge."""
    y = boxed(page, "input caption", prompt(example.before), y)
    y = down(page, y)
    page.box(LEFT / 2 - 0.5, y, 1.0, 0.24, edge=INK, fill="#f1f3f5")
    page.text([Run("writer", "bold")], LEFT / 2, y + 0.05, size=SIZE, align="center")
    y = down(page, y + 0.24)
    y = boxed(page, "instruction", instruction(example.instruction), y) + GAP
    return boxed(page, "edited caption", changed(example.before, example.after), y)


def boxed(page: Page, label: str, text: Text, y: float) -> float:
    """Draw a box with a small label and a text in it; return its bottom edge."""
    inside = LEFT - 4 * GAP
    heights = text_height(quiet(label), SIZE - 1.5), text_height(text, SIZE, inside)
    page.box(0, y, LEFT, sum(heights) + 2 * GAP, edge=RULE, fill="#fafafa")
    page.text(quiet(label), 2 * GAP, y + 0.6 * GAP, size=SIZE - 1.5)
    page.text(text, 2 * GAP, y + heights[0] + GAP, size=SIZE, width=inside)
    return y + sum(heights) + 2 * GAP


def down(page: Page, y: float) -> float:
    """Draw a short arrow downwards in the panel of texts; return its end."""
    page.arrow((LEFT / 2, y + 0.02), (LEFT / 2, y + 0.17))
    return y + 0.19


def candidates(page: Page, brush: Brush, example: Example, left: float, y: float) -> float:
    """Draw the picture before and one candidate for each share, with its scores; return the bottom edge."""
    result = brush.edit(example.before, [example.after] * len(SHARES), seed=SEED, **STAGE.control_of(SHARES))
    scores = scored(result.source, result.images, example)
    above = text_height("p", SIZE) + 0.5 * GAP
    page.text(quiet("before"), left + CELL / 2, y, size=SIZE, align="center")
    page.picture(result.source, left, y + above, width=CELL, height=CELL, edge=INK)
    x = left + CELL + 2 * GAP
    lowest = y
    for number, (share, image) in enumerate(zip(SHARES, result.images, strict=True)):
        place = x + number * (CELL + 0.75 * GAP)
        label = [*quiet("after, "), *math(f"p = {share:g}", QUIET)]
        page.text(label, place + CELL / 2, y, size=SIZE, align="center")
        page.picture(image, place, y + above, width=CELL, height=CELL)
        below = y + above + CELL + GAP
        lowest = max(lowest, verdict(page, scores, number, place, below))
    names(page, left, y + above + CELL + GAP)
    return lowest


def scored(before: Image, afters: Sequence[Image], example: Example) -> PairScores:
    """Return the scores of the storybook's contrastive model."""
    count = len(afters)
    return load_clip("storybook").pairs(
        [before] * count, list(afters), before=[example.before] * count, after=[example.after] * count
    )


ROWS = (("image – image", "image"), ("image – caption", "after"), ("direction", "direction"))
GATE = {"image": "clip_image", "after": "clip_after", "direction": "clip_direction"}


def names(page: Page, left: float, y: float) -> None:
    """Place the names of the scores below the picture before."""
    for number, (name, score) in enumerate(ROWS):
        text = quiet(f"{name} ≥ {STORYBOOK_GATES[GATE[score]]:g}")
        page.text(text, left + CELL, y + number * text_height("x", SIZE), size=SIZE, align="right")


def verdict(page: Page, scores: PairScores, number: int, x: float, y: float) -> float:
    """Place a candidate's scores, those below the gate in red, and whether it passes; return the bottom edge."""
    line = text_height("x", SIZE)
    passes = True
    for row, (_, name) in enumerate(ROWS):
        value = float(getattr(scores, name)[number])
        enough = value >= STORYBOOK_GATES[GATE[name]]
        passes &= enough
        text = [Run(f"{value:.2f}", "roman" if enough else "bold", None if enough else ACCENT)]
        page.text(text, x + CELL / 2, y + row * line, size=SIZE, align="center")
    told = [Run("passes", "bold", KEPT)] if passes else [Run("rejected", "bold", ACCENT)]
    y += len(ROWS) * line + 0.5 * GAP
    return y + page.text(told, x + CELL / 2, y, size=SIZE, align="center")


def selected(page: Page, brush: Brush, example: Example, seed: int, x: float, y: float, width: float) -> None:
    """Draw a finished pair with its instruction below."""
    result = brush.edit(example.before, [example.after], seed=seed, **STAGE.control_of([0.5]))
    side = (width - 0.3) / 2
    page.picture(result.source, x, y, width=side, height=side, edge=INK)
    page.arrow((x + side + 0.05, y + side / 2), (x + width - side - 0.05, y + side / 2))
    page.picture(result.images[0], x + width - side, y, width=side, height=side)
    page.text(
        instruction(example.instruction),
        x + width / 2,
        y + side + GAP,
        size=SIZE,
        align="center",
        width=width,
    )
