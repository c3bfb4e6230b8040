"""A page on which pictures, words, lines and boxes are placed in inches; PNG and PDF show the same layout.

Figures place things anywhere; the page measures what was placed, puts the same margin on all four sides and draws.
Coordinates: x to the right, y downwards, both in inches. Text sizes are in points (1/72 inch).
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import MathTextParser
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from PIL import Image, ImageFont

from wordbrush.figures.caption import Run, Text, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DPI = 300
MARGIN = 0.12
LEADING = 1.22  # line height in text sizes
FRAME = 1.2  # line width around a picture, in points

INK = "#1a1a1a"
RULE = "#c9c9c9"

FACES = {
    "roman": "STIXGeneral.ttf",
    "italic": "STIXGeneralItalic.ttf",
    "bold": "STIXGeneralBol.ttf",
    "bold italic": "STIXGeneralBolIta.ttf",
}
Align = Literal["left", "center", "right"]


@lru_cache
def face(style: str) -> Path:
    """Return the font file of a style; the fonts come with matplotlib."""
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / FACES[style]


@lru_cache
def _measure(style: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(face(style), 1000, layout_engine=ImageFont.Layout.BASIC)


def text_width(text: Text, size: float) -> float:
    """Return the width of ``text`` on one line, in inches."""
    return sum(_run_width(run) for run in plain(text)) * size / 72


def _run_width(run: Run) -> float:
    """Return the width of a run in text sizes."""
    if run.style == "math":
        return MathTextParser("path").parse(f"${run.text}$", dpi=72, prop=_font("math", 100)).width / 100
    return _measure(run.style).getlength(run.text) / 1000


def _font(style: str, size: float) -> FontProperties:
    if style == "math":
        return FontProperties(family="STIXGeneral", size=size, math_fontfamily="stix")
    return FontProperties(fname=face(style), size=size)


def wrap(text: Text, size: float, width: float | None) -> list[list[Run]]:
    """Break ``text`` at spaces into lines of at most ``width`` inches; a longer word stays whole."""
    lines: list[list[Run]] = [[]]
    room = 0.0
    for word in _words(text):
        spaced = [_space(lines[-1], word), *word]
        if lines[-1] and width is not None and room + text_width(spaced, size) > width:
            lines.append([])
        lines[-1] += spaced if lines[-1] else word
        room = text_width(lines[-1], size)
    return [_merge(line) for line in lines]


def balanced(text: Text, size: float, width: float) -> list[list[Run]]:
    """Break ``text`` into as few lines as ``wrap`` does, but of lengths as equal as possible."""
    fewest = len(wrap(text, size, width))
    low, high = 0.0, width
    while high - low > 0.005:
        middle = (low + high) / 2
        low, high = (low, middle) if len(wrap(text, size, middle)) <= fewest else (middle, high)
    return wrap(text, size, high)


def _space(line: list[Run], word: list[Run]) -> Run:
    """Return the space before ``word``: a part of its neighbours if both look the same, else a plain one."""
    same = bool(line) and replace(line[-1], text="") == replace(word[0], text="") and word[0].style != "math"
    return replace(word[0], text=" ") if same else Run(" ")


def _words(text: Text) -> list[list[Run]]:
    """Split runs at spaces: a word may consist of several runs, as a quotation mark and a bold word do."""
    words: list[list[Run]] = [[]]
    for run in plain(text):
        for number, piece in enumerate([run.text] if run.style == "math" else run.text.split(" ")):
            if number:
                words.append([])
            if piece:
                words[-1].append(replace(run, text=piece))
    return [word for word in words if word]


def _merge(line: list[Run]) -> list[Run]:
    """Join neighbours of one style, so that they are one piece of text in the PDF."""
    merged: list[Run] = []
    for run in line:
        last = merged[-1] if merged else None
        if last and replace(last, text="") == replace(run, text=""):
            merged[-1] = replace(last, text=last.text + run.text)
        else:
            merged.append(run)
    return merged


def text_height(text: Text, size: float, width: float | None = None) -> float:
    """Return the height of ``text`` wrapped to ``width``, in inches."""
    return len(wrap(text, size, width)) * size * LEADING / 72


@dataclass
class Page:
    """Things placed so far, and the box around them."""

    draw: list[Callable[[Axes, int], object]] = field(default_factory=list)
    left: float = np.inf
    top: float = np.inf
    right: float = -np.inf
    bottom: float = -np.inf

    def _add(self, draw: Callable[[Axes, int], object]) -> None:
        self.draw.append(draw)  # called with its place in the list: what comes later lies on top

    def _cover(self, x0: float, y0: float, x1: float, y1: float) -> None:
        self.left, self.right = min(self.left, x0, x1), max(self.right, x0, x1)
        self.top, self.bottom = min(self.top, y0, y1), max(self.bottom, y0, y1)

    def picture(
        self,
        image: Image.Image,
        x: float,
        y: float,
        *,
        width: float,
        height: float | None = None,
        edge: str | None = None,
    ) -> float:
        """Place ``image`` with its upper left corner at (x, y); return its height in inches."""
        height = width * image.height / image.width if height is None else height
        frame = FRAME / 72 if edge else 0.0
        if edge:
            self.box(x, y, width, height, edge=None, fill=edge, rounded=0)
        inside = (x + frame, x + width - frame, y + height - frame, y + frame)
        pixels = (max(1, round((width - 2 * frame) * DPI)), max(1, round((height - 2 * frame) * DPI)))
        data = np.asarray(image.convert("RGB").resize(pixels, Image.Resampling.LANCZOS))
        self._add(
            lambda axes, level: axes.imshow(
                data, extent=inside, interpolation="none", aspect="auto", zorder=level
            )
        )
        self._cover(x, y, x + width, y + height)
        return height

    def text(
        self,
        text: Text,
        x: float,
        y: float,
        *,
        size: float = 8,
        align: Align = "left",
        width: float | None = None,
        upright: bool = True,
    ) -> float:
        """Place ``text`` with its top at y and x at its left, middle or right; return its height in inches.

        ``width`` wraps it. With ``upright=False`` one line reads from bottom to top, centred on y, its left edge at x.
        """
        if not upright:
            return self._sideways(text, x, y, size)
        step = size * LEADING / 72
        lines = balanced(text, size, width) if align == "center" and width else wrap(text, size, width)
        for number, line in enumerate(lines):
            full = text_width(line, size)
            start = x - full * {"left": 0.0, "center": 0.5, "right": 1.0}[align]
            self._cover(start, y + number * step, start + full, y + (number + 1) * step)
            baseline = y + number * step + 0.95 * size / 72
            for run in line:
                self._run(run, start, baseline, size)
                start += text_width([run], size)
        return len(lines) * step

    def _run(self, run: Run, x: float, baseline: float, size: float, angle: float = 0) -> None:
        math = run.style == "math"
        text = f"${run.text}$" if math else run.text

        def draw(axes: Axes, level: int) -> None:
            axes.text(x, baseline, text, fontproperties=_font(run.style, size), color=run.colour or INK,
                      va="baseline", rotation=angle, rotation_mode="anchor", parse_math=math, zorder=level)  # fmt: skip

        self._add(draw)
        if run.struck:
            self.line([(x, baseline - 0.23 * size / 72), (x + text_width([run], size), baseline - 0.23 * size / 72)],
                      colour=run.colour or INK)  # fmt: skip

    def _sideways(self, text: Text, x: float, y: float, size: float) -> float:
        full = text_width(text, size)
        self._cover(x, y - full / 2, x + size * LEADING / 72, y + full / 2)
        start = y + full / 2
        for run in plain(text):
            self._run(run, x + 0.95 * size / 72, start, size, angle=90)
            start -= text_width([run], size)
        return full

    def line(self, points: Sequence[tuple[float, float]], *, colour: str = RULE, line: float = 0.6) -> None:
        """Draw a line through ``points``."""
        xs, ys = zip(*points, strict=True)
        self._add(lambda axes, level: axes.plot(xs, ys, color=colour, linewidth=line, zorder=level))
        self._cover(min(xs), min(ys), max(xs), max(ys))

    def arrow(
        self, start: tuple[float, float], end: tuple[float, float], *, colour: str = INK, line: float = 0.8
    ) -> None:
        """Draw an arrow from ``start`` to ``end``."""

        def draw(axes: Axes, level: int) -> None:
            axes.add_patch(
                FancyArrowPatch(
                    start,
                    end,
                    arrowstyle="-|>",
                    mutation_scale=6,
                    shrinkA=0,
                    shrinkB=0,
                    linewidth=line,
                    color=colour,
                    zorder=level,
                )
            )

        self._add(draw)
        self._cover(*start, *end)

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        edge: str | None = RULE,
        fill: str | None = None,
        line: float = 0.6,
        rounded: float = 0.04,
    ) -> None:
        """Draw a rectangle with its upper left corner at (x, y); ``rounded`` is the radius of its corners."""
        style = {"edgecolor": edge or "none", "facecolor": fill or "none", "linewidth": line if edge else 0}

        def draw(axes: Axes, level: int) -> None:
            if rounded:
                shape = f"round,pad=0,rounding_size={rounded}"
                axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=shape, zorder=level, **style))
            else:
                axes.add_patch(Rectangle((x, y), width, height, zorder=level, **style))

        self._add(draw)
        self._cover(x, y, x + width, y + height)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height with margins, in inches."""
        return self.right - self.left + 2 * MARGIN, self.bottom - self.top + 2 * MARGIN

    def render(self, settings: Mapping[str, Any]) -> dict[str, bytes]:
        """Return ``{"png": ..., "pdf": ...}``; ``settings`` go into both files' metadata as JSON."""
        width, height = (max(1, round(inches * DPI)) / DPI for inches in self.size)
        figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        for level, draw in enumerate(self.draw):
            draw(axes, level)
        left, top = self.left - MARGIN, self.top - MARGIN
        axes.set_xlim(left, left + width)
        axes.set_ylim(top + height, top)
        axes.axis("off")
        known = json.dumps(settings, ensure_ascii=False, default=str)
        metadata = {
            "png": {"Software": "wordbrush", "wordbrush": known},
            "pdf": {"Creator": "wordbrush", "Keywords": known, "CreationDate": None},
        }
        files = {}
        with matplotlib.rc_context({"pdf.fonttype": 42, "text.hinting": "none"}):
            for kind in ("png", "pdf"):
                buffer = io.BytesIO()
                figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata[kind])
                files[kind] = buffer.getvalue()
        return files

    def image(self) -> Image.Image:
        """Return the page as a picture."""
        return Image.open(io.BytesIO(self.render({})["png"])).convert("RGB")
