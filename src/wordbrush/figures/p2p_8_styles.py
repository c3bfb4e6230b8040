"""Figure 8: a style added to the prompt while the layout stays; in the last row a drawing becomes a picture."""

from __future__ import annotations

from wordbrush.figures.brush import Brush
from wordbrush.figures.caption import ACCENT, Run, prompt, quiet
from wordbrush.figures.grid import CELL, GAP, SIZE, Cell, column, row
from wordbrush.figures.layout import Page

STYLES = {
    "watercolor": "a watercolor of ",
    "oil painting": "an oil painting of ",
    "pixel art": "pixel art of ",
    "pencil sketch": "a pencil sketch of ",
}
SOURCES = (
    ("a castle near a mountain", 1),
    ("a sailboat by a lake at sunset", 6),
    ("a fox in a forest in the snow", 2),
)
DRAWING = ("a house in a meadow", 4)


def draw(brush: Brush) -> Page:
    """Draw one source to a row and one style to a column, then the way back from a pencil sketch."""
    page = Page()
    y = header(page, [quiet("source image"), *(label(style) for style in STYLES)], 0.0)
    for source, seed in SOURCES:
        y = styled(page, brush, source, [prefix + source for prefix in STYLES.values()], seed, y, source)
    y += GAP
    scene, seed = DRAWING
    start = STYLES["pencil sketch"] + scene
    others = [prefix + scene for style, prefix in STYLES.items() if style != "pencil sketch"]
    titles = [label(style) for style in STYLES if style != "pencil sketch"]
    y = header(page, [quiet("source image"), quiet("no style"), *titles], y)
    styled(page, brush, start, [scene, *others], seed, y, start)
    return page


def label(style: str) -> list[Run]:
    """Return the head of a style's column."""
    return [Run("“", "italic"), Run(f"{style}…", "bold italic", ACCENT), Run("”", "italic")]


def header(page: Page, titles: list[list[Run]], y: float) -> float:
    """Place the heads of the columns; return their bottom edge."""
    heights = [
        page.text(title, column(number) + CELL / 2, y, size=SIZE, align="center")
        for number, title in enumerate(titles)
    ]
    return y + max(heights) + 0.5 * GAP


def styled(
    page: Page, brush: Brush, source: str, targets: list[str], seed: int, y: float, caption: str
) -> float:
    """Place one row with its prompt centred below; return the top of the next row."""
    result = brush.edit(source, targets, seed=seed)
    y = (
        row(page, [Cell(result.source, source=True), *(Cell(image) for image in result.images)], 0, y)
        + 0.5 * GAP
    )
    middle = (column(len(targets) + 1) - GAP) / 2
    return y + page.text(prompt(caption), middle, y, size=SIZE, align="center") + GAP
