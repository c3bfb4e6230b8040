"""Figure 7: words added to a prompt, describing one object (top) or the whole scene (bottom)."""

from __future__ import annotations

from wordbrush.figures.brush import Brush
from wordbrush.figures.caption import changed, prompt, quiet
from wordbrush.figures.grid import GAP, SIZE, Cell, row
from wordbrush.figures.layout import RULE, Page

LABEL = 0.22
GROUPS = (
    (
        "Local description",
        (
            (
                "a car in a city",
                1,
                ("a red {}", "a blue {}", "a yellow {}", "{} with a balloon", "{} with an umbrella"),
            ),
            (
                "a house by a lake",
                2,
                ("a pink {}", "a green {}", "a purple {}", "{} with a flag", "{} with a kite"),
            ),
        ),
    ),
    (
        "Global description",
        (
            (
                "a car in a city",
                1,
                ("{} at sunset", "{} at night", "{} in the rain", "{} in the snow", "{} in the fog"),
            ),
            (
                "a house by a lake",
                2,
                ("{} at sunset", "{} at night", "{} in the rain", "{} in the snow", "{} in the fog"),
            ),
        ),
    ),
)


def draw(brush: Brush) -> Page:
    """Draw each source at the left of its refinements; the two groups are divided by a line."""
    page = Page()
    y = 0.0
    for number, (title, rows) in enumerate(GROUPS):
        if number:
            page.line([(0, y - GAP), (page.right, y - GAP)], colour=RULE)
            y += GAP
        top = y
        for source, seed, patterns in rows:
            y = refinements(page, brush, source, seed, patterns, y) + 2 * GAP
        page.text(quiet(title), 0, (top + y - 2 * GAP) / 2, size=SIZE + 1.5, upright=False)
    return page


def refinements(
    page: Page, brush: Brush, source: str, seed: int, patterns: tuple[str, ...], y: float
) -> float:
    """Place one source and its refinements; return the bottom edge."""
    targets = [refine(source, pattern) for pattern in patterns]
    result = brush.edit(source, targets, seed=seed)
    cells = [Cell(result.source, prompt(source), source=True)]
    cells += [
        Cell(image, changed(source, target, shorten=True))
        for image, target in zip(result.images, targets, strict=True)
    ]
    return row(page, cells, LABEL, y)


def refine(source: str, pattern: str) -> str:
    """Put ``source`` into ``pattern``; a pattern that starts with an article replaces the one of the source."""
    return pattern.format(source if pattern.startswith("{}") else source.removeprefix("a "))
