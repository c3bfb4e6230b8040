"""The tab Data: the pairs of a data set, what its thresholds keep, and what they would keep if they stood elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path

import numpy as np

from wordbrush.dataset import run
from wordbrush.dataset.charts import TITLES
from wordbrush.dataset.funnel import funnel, percent
from wordbrush.dataset.query import columns, connection, shards
from wordbrush.dataset.records import SCORES
from wordbrush.dataset.report import examples_grid, gates_table
from wordbrush.dataset.rules import Best, Keep, Rule, Where, published
from wordbrush.dataset.select import select
from wordbrush.dataset.selection import Selection
from wordbrush.dataset.statistics import Histogram, histograms, read_examples
from wordbrush.errors import DataError, InvalidInput
from wordbrush.studio.view import hint

DEEP = 3
"""Data sets are looked for in folders so far below the root."""

MOST = 200
"""Data sets that are listed."""

SELECTED = "selected"
PAGE = 8
"""Pairs that are shown at once."""

POSITIONS = 20
"""A slider of a threshold has at least so many, and less than ten times as many; what lies between them is typed."""

Bounds = tuple[float | None, float | None]


@dataclass(frozen=True, eq=False)
class Sieve:
    """An opened data set and the thresholds as they stand.

    Args:
        bounds: score → at least and at most, None for no bound.
        best: pairs kept per triplet, best direction first; 0 for all.
        note: what of the data set's own selection was left out, in words.
    """

    folder: Path
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    best: int = 0
    note: str = ""

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The thresholds as the rules of a selection."""
        keeps = [
            Keep(score, low, high)
            for score, (low, high) in self.bounds.items()
            if low is not None or high is not None
        ]
        return (*keeps, *([Best("clip_direction", k=self.best)] if self.best else []))

    def moved(self, score: str, side: str, value: float | None) -> Sieve:
        """Return the sieve with one threshold elsewhere; ``side`` is ``"least"`` or ``"most"``.

        Raises:
            InvalidInput: there is no such score or side.
        """
        if score not in SCORES or side not in ("least", "most"):
            raise InvalidInput(f"there is no threshold {side!r} of {score!r}")
        least, most = self.bounds.get(score, (None, None))
        now = (value, most) if side == "least" else (least, value)
        return replace(self, bounds={**self.bounds, score: now})

    def select(self) -> Selection:
        """Judge every pair."""
        return select(self.folder, "studio", rules=self.rules)

    @property
    def python(self) -> str:
        """The same selection as a program, after which ``wordbrush data export`` writes it out."""
        names = sorted({type(rule).__name__ for rule in self.rules})
        imports = [f"from wordbrush.dataset.rules import {', '.join(names)}"] if names else []
        rules = "".join(f"    {rule!r},\n" for rule in self.rules)
        return "\n".join(
            [
                "from pathlib import Path",
                "",
                *imports,
                "from wordbrush.dataset.select import select",
                "",
                f"folder = Path({str(self.folder)!r})",
                f"rules = [\n{rules}]",
                'select(folder, "studio", rules=rules).write(folder / "selection")',
            ]
        )


def data_sets(root: Path) -> list[str]:
    """Return the folders at or below ``root`` that hold pairs, by their names from there."""
    found = [str(folder.relative_to(root)) for folder in _folders(root, DEEP) if _has_pairs(folder)]
    return sorted(found)[:MOST]


def _folders(folder: Path, deep: int) -> Iterator[Path]:
    yield folder
    try:
        below = [one for one in folder.iterdir() if one.is_dir() and not one.name.startswith(".")]
    except OSError:
        return
    for one in below if deep else []:
        yield from _folders(one, deep - 1)


def _has_pairs(folder: Path) -> bool:
    return next((folder / "pairs").glob("*.parquet"), None) is not None


def inside(root: Path | None, name: str) -> Path:
    """Return the folder ``name`` below ``root``, links followed.

    Raises:
        InvalidInput: it is elsewhere, or nothing may be opened at all.
        DataError: it is not there.
    """
    if root is None:
        raise InvalidInput("this studio opens no data sets: start it with --data DIR")
    folder = (root / name.strip()).resolve()
    if not folder.is_relative_to(root.resolve()):
        raise InvalidInput(f"{name!r} is outside of {root}, below which this studio opens data sets")
    if not folder.is_dir():
        raise DataError(f"there is no folder {name!r} in {root}")
    return folder


def opened(folder: Path) -> Sieve:
    """Return a data set with the thresholds of its last selection, else those it was made with, else the published.

    Raises:
        DataError: it holds no pairs, or a file cannot be read.
    """
    files = shards(folder, "pairs")
    with connection() as database:
        there = [score for score in SCORES if score in columns(database, files)]
    rules, note = _own_rules(folder, there)
    bounds = {rule.score: (rule.at_least, rule.at_most) for rule in rules if isinstance(rule, Keep)}
    best = next((rule.k for rule in rules if isinstance(rule, Best)), 0)
    return Sieve(folder, bounds, best, note)


def _own_rules(folder: Path, there: Sequence[str]) -> tuple[Sequence[Rule], str]:
    if (folder / f"{run.SELECTION}.json").exists():
        rules = run.read_selection(folder).rules
        conditions = [rule.condition for rule in rules if isinstance(rule, Where)]
        note = f"Its condition {conditions[0]!r} is left out: the studio runs no SQL." if conditions else ""
        return rules, note
    if (folder / "pairs" / "manifest.json").exists() and (gates := run.gates_of(folder)):
        return [Keep(score, at_least=least) for score, least in gates.items()], ""
    return [rule for rule in published(0.7) if set(rule.scores) <= set(there)], ""


def groups(selection: Selection) -> list[tuple[str, str]]:
    """Return what can be looked at as (label, gate): the selected pairs, and those that each gate rejected."""
    rejected = [(f"{one.gate}: {one.rejected:,}", one.gate) for one in selection.counts if one.rejected]
    return [(f"selected: {selection.selected:,}", SELECTED), *rejected]


def pairs_page(sieve: Sieve, selection: Selection, group: str, number: int) -> tuple[str, int]:
    """Return a page of a group's pairs as HTML, and how many pages there are; pages are counted from 1."""
    import pyarrow.compute as pc

    chosen = pc.field("kept") if group == SELECTED else pc.field("gate") == group
    keys = selection.verdicts.filter(chosen)["key"]
    pages = max(1, math.ceil(len(keys) / PAGE))
    start = (min(max(1, number), pages) - 1) * PAGE
    found = read_examples(sieve.folder, selection, keys.slice(start, PAGE).to_pylist())
    return examples_grid(found, "There are none."), pages


def summary(sieve: Sieve, selection: Selection) -> str:
    """Return how many pairs are left, and the funnel."""
    share = percent(selection.selected, selection.pairs)
    tiles = [
        (f"{selection.pairs:,}", "pairs"),
        (f"{selection.selected:,}", "selected"),
        (share, "of the pairs"),
    ]
    told = "".join(f"<div><b>{number}</b><span>{label}</span></div>" for number, label in tiles)
    table = gates_table(funnel(sieve.folder, selection))
    return (
        f'<div class="tiles" role="status">{told}</div>{hint(sieve.note)}'
        '<details class="funnel" open><summary>Every gate</summary>'
        f'<div class="wide" tabindex="0">{table}</div></details>'
    )


def charts(sieve: Sieve, selection: Selection) -> str:
    """Return a histogram of every score, each with its two thresholds to be moved."""
    found = histograms(sieve.folder, selection)
    drawn = "".join(_chart(one, sieve.bounds.get(one.score, (None, None))) for one in found)
    return f'<div class="charts">{drawn}</div>'


def _chart(histogram: Histogram, bounds: Bounds) -> str:
    low, high = float(histogram.edges[0]), float(histogram.edges[-1])
    step = 10.0 ** math.floor(math.log10((high - low) / POSITIONS))
    first, last = math.floor(low / step) * step, math.ceil(high / step) * step
    both = histogram.selected + histogram.rejected
    top = max(1, int(both.max()))
    title = TITLES.get(histogram.score, histogram.score)
    lines = "".join(
        f'<line x1="{place:.3f}" x2="{place:.3f}" y1="0" y2="100"/>'
        for place in (100 * (bound - first) / (last - first) for bound in bounds if bound is not None)
    )
    missing = f" · {histogram.missing:,} without" if histogram.missing else ""
    span = (first, last)
    return (
        f'<section class="chart"><h3>{escape(title)}<small>{missing}</small></h3>'
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="{escape(title)}: '
        f'{int(histogram.selected.sum()):,} selected, {int(histogram.rejected.sum()):,} rejected">'
        f'<path class="rest" d="{_outline(histogram, both, top, span)}"/>'
        f'<path class="kept" d="{_outline(histogram, histogram.selected, top, span)}"/>{lines}</svg>'
        + _slider(histogram.score, "least", "at least", bounds[0], first, last, step)
        + _slider(histogram.score, "most", "at most", bounds[1], first, last, step)
        + "</section>"
    )


def _outline(histogram: Histogram, counts: np.ndarray, top: int, span: tuple[float, float]) -> str:
    """Return the outline of bars as the data of an SVG path, in a square of 100 by 100."""
    places = 100 * (histogram.edges - span[0]) / (span[1] - span[0])
    steps = [
        f"V{100 - 100 * int(count) / top:.2f}H{places[number + 1]:.3f}" for number, count in enumerate(counts)
    ]
    return f"M{places[0]:.3f} 100{''.join(steps)}V100Z"


def _slider(
    score: str, side: str, label: str, bound: float | None, first: float, last: float, step: float
) -> str:
    free = first if side == "least" else last
    name = f"{escape(TITLES.get(score, score))}, {label}"
    return (
        f'<label><span>{label}</span><input type="range" data-score="{escape(score)}" data-side="{side}" '
        f'min="{first:.6g}" max="{last:.6g}" step="{step:.6g}" value="{free if bound is None else bound:.6g}" '
        f'aria-label="{name}"><input type="number" step="any" placeholder="–" '
        f'value="{"" if bound is None else f"{bound:.6g}"}" aria-label="{name}, typed; nothing for none"></label>'
    )
