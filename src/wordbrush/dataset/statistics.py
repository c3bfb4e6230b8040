"""Numbers and examples for the report, counted in the database: the pictures of millions of pairs are never read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wordbrush.dataset.formats.picture import Picture
from wordbrush.dataset.query import columns, connection, drafted, names, quoted, shards
from wordbrush.dataset.records import SCORES
from wordbrush.dataset.rules import Keep
from wordbrush.dataset.selection import Selection

BINS = 48
TAILS = (0.001, 0.999)
"""The quantiles that a histogram spans; what lies outside is counted in the outermost bins."""


@dataclass(frozen=True, eq=False)
class Histogram:
    """How a score is distributed over the pairs that have it.

    Args:
        edges: (bins + 1,), ascending.
        selected, rejected: (bins,), pairs in each bin.
        bounds: the thresholds of the selection.
        missing: pairs without the score, given up as drafts included.
    """

    score: str
    edges: np.ndarray
    selected: np.ndarray
    rejected: np.ndarray
    bounds: tuple[float, ...]
    missing: int


@dataclass(frozen=True, eq=False)
class Example:
    """A pair to look at.

    Args:
        reason: why it was rejected; None if it was selected.
        pictures: before and after; None if the candidate was given up before.
        scores: those it has.
    """

    key: str
    before: str
    instruction: str
    after: str
    reason: str | None
    pictures: tuple[Picture, Picture] | None
    scores: dict[str, float]


def histograms(folder: Path, selection: Selection) -> list[Histogram]:
    """Return a histogram of every score that any pair has; those of drafts that were given up do not count.

    Raises:
        DataError: a shard cannot be read.
    """
    files = shards(Path(folder), "pairs")
    found = []
    with connection() as database:
        database.register("verdicts", selection.verdicts)
        known = columns(database, files)
        for score in (name for name in SCORES if name in known):
            value = f"{quoted(score)}::DOUBLE"
            pairs = (
                f"(SELECT key, CASE WHEN isnan({value}) OR {drafted(known)} THEN NULL ELSE {value} END AS value "
                "FROM read_parquet(?, union_by_name = true))"
            )
            row = database.execute(
                f"SELECT quantile_cont(value, {list(TAILS)}), count(*) - count(value) FROM {pairs}",
                [names(files)],
            ).fetchone()
            assert row is not None
            if row[0] is None:
                continue
            bounds = _bounds(selection, score)
            low, high = _span([*row[0], *bounds], bounds)
            counts = np.zeros((2, BINS), dtype=np.int64)
            for kept, place, count in database.execute(
                f"SELECT v.kept, greatest(0, least({BINS - 1}, floor((p.value - ?) / ? * {BINS})))::INTEGER AS place, "
                f"count(*) FROM {pairs} p JOIN verdicts v USING (key) WHERE p.value IS NOT NULL GROUP BY v.kept, place",
                [low, high - low, names(files)],
            ).fetchall():
                counts[int(kept), place] = count
            edges = np.linspace(low, high, BINS + 1)
            found.append(Histogram(score, edges, counts[1], counts[0], bounds, row[1]))
    return found


def _bounds(selection: Selection, score: str) -> tuple[float, ...]:
    return tuple(
        bound
        for rule in selection.rules
        if isinstance(rule, Keep) and rule.score == score
        for bound in (rule.at_least, rule.at_most)
        if bound is not None
    )


def _span(values: Sequence[float], bounds: Sequence[float]) -> tuple[float, float]:
    """Return limits around the values, never equal; the first bound is the border of two bins."""
    low, high = min(values), max(values)
    margin = 0.02 * (high - low) or 0.01 * (abs(high) or 1.0)
    low, high = low - margin, high + margin
    if not bounds:
        return low, high
    width = (high - low) / (BINS - 1)
    start = bounds[0] - math.ceil((bounds[0] - low) / width) * width
    return start, start + BINS * width


def examples(folder: Path, selection: Selection, *, kept: int = 6, per_gate: int = 2) -> list[Example]:
    """Return selected pairs, and rejected ones of every gate; at most one of a triplet among the same ones.

    Keys are checksums, so taking them in order is a fair draw, and always the same one.

    Raises:
        DataError: a shard cannot be read, or a picture does not decode.
    """
    with connection() as database:
        database.register("verdicts", selection.verdicts)
        chosen = database.execute(
            "WITH one AS (SELECT gate, min(key) AS key FROM verdicts GROUP BY gate, triplet_key), "
            "ranked AS (SELECT key, gate, row_number() OVER (PARTITION BY gate ORDER BY key) AS place FROM one) "
            "SELECT key FROM ranked WHERE place <= CASE WHEN gate IS NULL THEN ? ELSE ? END",
            [kept, per_gate],
        ).fetchall()
    found = read_examples(folder, selection, [row[0] for row in chosen])
    order = {count.gate: place for place, count in enumerate(selection.counts)}
    return sorted(found, key=lambda one: order.get((one.reason or "").partition(":")[0], -1))


def read_examples(folder: Path, selection: Selection, keys: Sequence[str]) -> list[Example]:
    """Return the pairs with these keys, sorted by key.

    Raises:
        DataError: a shard cannot be read, or a picture does not decode.
    """
    files = shards(Path(folder), "pairs")
    with connection() as database:
        database.register("verdicts", selection.verdicts)
        scores = [name for name in SCORES if name in columns(database, files)]
        rows = database.execute(
            "SELECT p.key, p.before, p.instruction, p.after, v.reason, p.before_image.bytes, p.after_image.bytes, "
            f"{', '.join(['p.filename', *(f'p.{quoted(name)}' for name in scores)])} "
            "FROM read_parquet(?, union_by_name = true, filename = true) p JOIN verdicts v USING (key) "
            "WHERE list_contains(?, p.key) ORDER BY p.key",
            [names(files), list(keys)],
        ).fetchall()
    return [_example(row[:8], dict(zip(scores, row[8:], strict=True))) for row in rows]


def _example(row: Sequence[object], scores: dict[str, float | None]) -> Example:
    key, before, instruction, after, reason, first, second, file = row
    pictures = None
    if isinstance(first, bytes) and isinstance(second, bytes):
        where = f"{file}, pair {key!r}"
        pictures = Picture.decode(first, where), Picture.decode(second, where)
    known = {name: value for name, value in scores.items() if value is not None and math.isfinite(value)}
    return Example(
        str(key),
        str(before),
        str(instruction),
        str(after),
        None if reason is None else str(reason),
        pictures,
        known,
    )
