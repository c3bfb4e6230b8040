"""The curves of the paper's figure 8: CLIP image similarity against CLIP text-image direction similarity."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from wordbrush.evaluation.summary import ACROSS, AXES, UP, Curve, Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#2a7f62", "#d1495b", "#3566a8", "#c98a1b", "#7a4fa3", "#4b9fb5", "#8a5a3c", "#5f6b7a")
INK, QUIET, GRID = "#1f2328", "#6b7280", "#eceef1"
DPI = 150


def drawable(curves: Sequence[Curve]) -> list[Curve]:
    """Return the curves of which both axes are known."""
    return [one for one in curves if one.drawn]


def chart(curves: Sequence[Curve], *, title: str) -> bytes:
    """Return the curves as PNG, every point with its 95 % intervals and the setting that varies."""
    figure = Figure(figsize=(7.2, 5.4), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.1, 0.11, 0.86, 0.79))
    for number, curve in enumerate(drawable(curves)):
        _draw(axes, curve, COLOURS[number % len(COLOURS)])
    axes.set_title(title, size=11, color=INK, loc="left", weight="bold")
    axes.set_xlabel(AXES[ACROSS], size=9.5, color=INK)
    axes.set_ylabel(AXES[UP], size=9.5, color=INK)
    axes.tick_params(labelsize=8.5, colors=QUIET, length=2.5)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#d0d4d9")
    axes.margins(0.08)
    axes.legend(frameon=False, fontsize=8.5, labelcolor=INK)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": "wordbrush"})
    return buffer.getvalue()


def _draw(axes: Axes, curve: Curve, colour: str) -> None:
    across, up = ([point.scores[name] for point in curve.drawn] for name in AXES)
    xs, ys = [one["mean"] for one in across], [one["mean"] for one in up]
    axes.errorbar(
        xs, ys, xerr=_arms(across), yerr=_arms(up), color=colour, ecolor=f"{colour}70", elinewidth=1.0,
        linewidth=1.6, marker="o", markersize=4.5, label=curve.label,
    )  # fmt: skip
    for point, x, y in zip(curve.drawn, xs, ys, strict=True):
        if point.at is not None:
            axes.annotate(f"{point.at:g}", (x, y), (4, 4), textcoords="offset points", size=7.5, color=colour)


def _arms(values: Sequence[Interval]) -> list[list[float]]:
    """Return the lengths of error bars, below and above."""
    return [[one["mean"] - one["low"] for one in values], [one["high"] - one["mean"] for one in values]]
