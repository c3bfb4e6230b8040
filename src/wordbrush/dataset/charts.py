"""The funnel and the histograms of a selection as one picture."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from wordbrush.dataset.funnel import Step, percent
from wordbrush.dataset.statistics import Histogram

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KEPT, LOST, REST = "#2a7f62", "#d1495b", "#c9cdd2"
INK, QUIET, BOUND = "#1f2328", "#6b7280", "#b3261e"
WIDTH = 11.0  # inches
LINE = 0.27  # inches of a line of the funnel
PLOT = 2.15  # inches of a row of histograms
COLUMNS = 3
DPI = 150
MOST = 12
"""Gates of a stage that get a line of their own."""

TITLES = {
    "clip_image": "CLIP: image – image",
    "clip_before": "CLIP: image – caption, before",
    "clip_after": "CLIP: image – caption, after",
    "clip_direction": "CLIP: direction of the change",
    "l1": "L1 difference",
    "ssim": "SSIM",
    "alignment_shift": "alignment shift",
    "truth_before": "true attributes, before",
    "truth_after": "true attributes, after",
}
"""How the scores are called in print."""


def chart(steps: Sequence[Step], histograms: Sequence[Histogram], *, title: str) -> bytes:
    """Return the funnel above the histograms as PNG."""
    lines = _lines(steps)
    rows = math.ceil(len(histograms) / COLUMNS)
    funnel, plots = len(lines) * LINE, rows * PLOT
    height = 0.75 + funnel + 0.6 + plots
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(0.35 / WIDTH, 1 - 0.38 / height, title, size=14, weight="bold", color=INK, va="center")
    place = (2.9 / WIDTH, 1 - (0.65 + funnel) / height, (WIDTH - 2.9 - 2.6) / WIDTH, funnel / height)
    _draw_funnel(figure.add_axes(place), lines)
    _legend(figure, (plots + 0.22) / height)
    for number, histogram in enumerate(histograms):
        row, column = divmod(number, COLUMNS)
        left = 0.75 + column * (WIDTH - 0.75) / COLUMNS
        bottom = plots - (row + 1) * PLOT + 0.5
        size = ((WIDTH - 0.75) / COLUMNS - 0.6) / WIDTH, (PLOT - 0.85) / height
        _draw_histogram(figure.add_axes((left / WIDTH, bottom / height, *size)), histogram)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": "wordbrush"})
    return buffer.getvalue()


Line = tuple[str, str, float, float, str]
"""Kind (``step``, ``gate``, ``end`` or ``space``), label, share left, share lost here, and text."""


def _lines(steps: Sequence[Step]) -> list[Line]:
    lines: list[Line] = []
    for step in steps:
        lines.append(("step", step.name, 1.0, 0.0, f"{step.records:,}"))
        shown = [(gate.rule or gate.gate, gate.rejected) for gate in step.gates if gate.rejected or gate.rule]
        rest = shown[MOST:]
        if rest:
            shown = [*shown[:MOST], (f"{len(rest)} more gates", sum(count for _, count in rest))]
        left = step.records
        for label, rejected in shown:
            left -= rejected
            text = f"− {rejected:,}  ({percent(rejected, step.records)})"
            lines.append(("gate", label, left / (step.records or 1), rejected / (step.records or 1), text))
        text = f"{step.kept:,}  ({percent(step.kept, step.records)})"
        kept = "selected" if step is steps[-1] else "kept"
        lines += [("end", kept, step.kept / (step.records or 1), 0.0, text), ("space", "", 0.0, 0.0, "")]
    return lines[:-1]


def _draw_funnel(axes: Axes, lines: Sequence[Line]) -> None:
    for place, (kind, label, left, lost, text) in enumerate(lines):
        if kind == "space":
            continue
        axes.barh(place, 1, 0.72, color="#f1f3f5", zorder=0)
        axes.barh(place, left, 0.72, color={"step": "#9aa3ad", "gate": REST, "end": KEPT}[kind])
        axes.barh(place, lost, 0.72, left=left, color=LOST)
        weight = "normal" if kind == "gate" else "bold"
        quiet = kind == "gate" and not lost
        style: dict[str, Any] = {"va": "center", "size": 9, "weight": weight}
        axes.text(-0.015, place, _short(label), ha="right", color=INK, **style)
        axes.text(1.015, place, text, ha="left", color=QUIET if quiet else INK, **style)
    axes.set_xlim(0, 1)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.axis("off")


def _legend(figure: Figure, y: float) -> None:
    left = 0.75 / WIDTH
    for colour, text in ((KEPT, "selected pairs"), (REST, "rejected pairs"), (BOUND, "threshold")):
        size = (0.02, 0.16) if colour is BOUND else (0.16, 0.16)
        height = figure.get_figheight()
        patch = Rectangle((left, y - size[1] / 2 / height), size[0] / WIDTH, size[1] / height, color=colour)
        patch.set_transform(figure.transFigure)
        figure.add_artist(patch)
        figure.text(left + (size[0] + 0.08) / WIDTH, y, text, size=9, color=INK, va="center_baseline")
        left += 1.45 / WIDTH


def _short(label: str) -> str:
    return label if len(label) <= 38 else f"{label[:37]}…"


def _draw_histogram(axes: Axes, histogram: Histogram) -> None:
    both = histogram.selected + histogram.rejected
    axes.stairs(both, histogram.edges, fill=True, color=REST)
    axes.stairs(histogram.selected, histogram.edges, fill=True, color=KEPT)
    top = float(both.max()) or 1.0
    axes.set_ylim(0, 1.18 * top)
    axes.set_xlim(histogram.edges[0], histogram.edges[-1])
    for bound in histogram.bounds:
        axes.axvline(bound, color=BOUND, linewidth=1.2)
        right = bound > (histogram.edges[0] + histogram.edges[-1]) / 2
        axes.annotate(
            f"{bound:.4g}", (bound, 1.12 * top), (-3 if right else 3, 0), textcoords="offset points",
            ha="right" if right else "left", va="center", size=8, color=BOUND,
        )  # fmt: skip
    axes.set_title(TITLES.get(histogram.score, histogram.score), size=9.5, color=INK, loc="left")
    if histogram.missing:
        axes.text(
            1,
            1.04,
            f"{histogram.missing:,} without",
            transform=axes.transAxes,
            ha="right",
            size=7.5,
            color=QUIET,
        )
    axes.tick_params(labelsize=8, colors=QUIET, length=2.5)
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#d0d4d9")
