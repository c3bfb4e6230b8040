"""Curves for the figures: of an evaluation that is on disk, or measured now on a few storybook edits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wordbrush.errors import DataError
from wordbrush.evaluation.data import open_data
from wordbrush.evaluation.measures import ClipScores
from wordbrush.evaluation.method import Method
from wordbrush.evaluation.rows import Row, read_rows
from wordbrush.evaluation.run import evaluate
from wordbrush.evaluation.summary import ACROSS, AXES, UP, Curve, Point, curves
from wordbrush.figures.brush import Brush
from wordbrush.figures.caption import quiet
from wordbrush.figures.grid import GAP, SIZE
from wordbrush.figures.layout import Page
from wordbrush.figures.plot import Dot, Line, plot
from wordbrush.metrics.clip import load_clip

WIDTH, HEIGHT = 3.6, 2.7


def rows_of(brush: Brush, methods: Callable[[], Sequence[Method]]) -> list[Row]:
    """Return the rows of the user's evaluation, or those that ``methods`` make on the first storybook edits.

    Raises:
        DataError: the folder holds no evaluation.
    """
    if brush.results is not None:
        return read_rows(brush.results)
    data = open_data(f"storybook:{brush.examples}")

    def report(done: int, total: int | None) -> None:
        if brush.progress is not None:
            brush.progress(done, total or brush.examples)

    return evaluate(
        data,
        methods(),
        [ClipScores(load_clip("storybook"))],
        seed=brush.seed or 0,
        total=data.total,
        progress=report,
    )


def draw_curves(page: Page, rows: Sequence[Row], label: Callable[[Curve], str | None]) -> None:
    """Draw the curves of the rows, as the paper does: consistency with the picture over that with the edit.

    Args:
        label: the name of a curve; None for one that is not shown.

    Raises:
        DataError: nothing can be drawn.
    """
    found = [(label(curve), curve) for curve in curves(rows)]
    lines = [Line(name, _dots(curve.drawn)) for name, curve in found if name is not None]
    lines = [line for line in lines if line.dots]
    if not lines:
        failed = next((f": {row.failed}" for row in rows if row.failed), "")
        raise DataError(
            f"the evaluation has no curve to draw, with scores {ACROSS} and {UP} of the methods shown{failed}"
        )
    bottom = plot(page, lines, 0, across=AXES[ACROSS], up=AXES[UP], width=WIDTH, height=HEIGHT)
    told = f"{len({row.key for row in rows})} edits; bars are 95 % bootstrap intervals"
    page.text(quiet(told), page.left, bottom + GAP, size=SIZE)


def _dots(points: Sequence[Point]) -> list[Dot]:
    return [
        Dot(
            point.scores[ACROSS]["mean"],
            point.scores[UP]["mean"],
            (point.scores[ACROSS]["low"], point.scores[ACROSS]["high"]),
            (point.scores[UP]["low"], point.scores[UP]["high"]),
            "" if point.at is None else f"{point.at:g}",
        )
        for point in points
    ]
