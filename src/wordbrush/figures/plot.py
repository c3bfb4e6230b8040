"""Curves in two measures, drawn with what a page has: lines, dots, intervals and the text of the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from wordbrush.evaluation.chart import COLOURS, GRID
from wordbrush.figures.caption import Run, quiet
from wordbrush.figures.grid import GAP, SIZE
from wordbrush.figures.layout import INK, Page, text_height, text_width

DOT = 0.035  # radius
AIR = 0.06  # share of the range that is left free around the points
TICKS = 6


@dataclass(frozen=True)
class Dot:
    """A point with its intervals, (low, high), and what is written beside it."""

    x: float
    y: float
    x_interval: tuple[float, float]
    y_interval: tuple[float, float]
    mark: str = ""


@dataclass(frozen=True)
class Line:
    """Points that belong together, in their order."""

    label: str
    dots: Sequence[Dot]


@dataclass(frozen=True)
class _Axis:
    """Values from ``low`` to ``high`` on a page from ``start`` to ``end``, in inches."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def over(cls, intervals: Sequence[tuple[float, float]], start: float, end: float) -> _Axis:
        low, high = min(low for low, _ in intervals), max(high for _, high in intervals)
        room = AIR * (high - low) or 0.5  # of a single value, half a unit on both sides
        return cls(low - room, high + room, start, end)

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        values = MaxNLocator(TICKS, steps=[1, 2, 2.5, 5, 10]).tick_values(self.low, self.high)
        return [float(value) for value in values if self.low <= value <= self.high]


def plot(
    page: Page, lines: Sequence[Line], y: float, *, across: str, up: str, width: float, height: float
) -> float:
    """Place curves with their axes at the page's left and their names at the right; return the bottom edge."""
    left = 0.55
    dots = [dot for line in lines for dot in line.dots]
    xs = _Axis.over([dot.x_interval for dot in dots], left, left + width)
    ys = _Axis.over([dot.y_interval for dot in dots], y + height, y)
    bottom = _frame(page, xs, ys, across, up)
    legend = y
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        _curve(page, line, xs, ys, colour)
        start, middle = left + width + 0.15, legend + text_height("x", SIZE + 1) / 2
        page.line([(start, middle), (start + 0.25, middle)], colour=colour, line=1.4)
        legend += page.text(line.label, start + 0.32, legend, size=SIZE + 1, width=1.6) + GAP
    return bottom


def _frame(page: Page, xs: _Axis, ys: _Axis, across: str, up: str) -> float:
    """Draw grid, numbers and names of the axes; return the bottom edge."""
    bottom, line = ys.start, text_height("x", SIZE)
    for value in xs.ticks():
        page.line([(xs(value), ys.end), (xs(value), bottom)], colour=GRID)
        page.text(quiet(f"{value:g}"), xs(value), bottom + 0.04, size=SIZE, align="center")
    for value in ys.ticks():
        page.line([(xs.start, ys(value)), (xs.end, ys(value))], colour=GRID)
        page.text(quiet(f"{value:g}"), xs.start - 0.05, ys(value) - line / 2, size=SIZE, align="right")
    page.line([(xs.start, ys.end), (xs.start, bottom), (xs.end, bottom)], colour=INK)
    page.text(up, 0, (ys.start + ys.end) / 2, size=SIZE + 1, upright=False)
    name = bottom + line + 0.08
    return name + page.text(across, (xs.start + xs.end) / 2, name, size=SIZE + 1, align="center")


def _curve(page: Page, line: Line, xs: _Axis, ys: _Axis, colour: str) -> None:
    places = [(xs(dot.x), ys(dot.y)) for dot in line.dots]
    if len(places) > 1:
        page.line(places, colour=colour, line=1.4)
    for dot, (x, y) in zip(line.dots, places, strict=True):
        page.line([(xs(dot.x_interval[0]), y), (xs(dot.x_interval[1]), y)], colour=f"{colour}70")
        page.line([(x, ys(dot.y_interval[0])), (x, ys(dot.y_interval[1]))], colour=f"{colour}70")
        page.box(x - DOT, y - DOT, 2 * DOT, 2 * DOT, edge=None, fill=colour, rounded=DOT)
        if dot.mark:
            mark = [Run(dot.mark, "roman", colour)]
            beside = x + 1.5 * DOT if x + 2 * DOT + text_width(mark, SIZE - 1.5) <= xs.end else x - 0.2
            page.text(mark, beside, y - text_height("x", SIZE - 1.5) - 0.01, size=SIZE - 1.5)
