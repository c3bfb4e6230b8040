"""From rows to what is read: curves with their intervals, and tables by kind of edit."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wordbrush.evaluation.rows import Row
from wordbrush.storybook.statistics import mean, share

SHARES = ("success", "kept")
"""Scores that are 0 or 1; they have Wilson's interval, all others a bootstrap one."""

ACROSS, UP = "clip_direction", "clip_image"
AXES = {ACROSS: "CLIP text-image direction similarity", UP: "CLIP image similarity"}
"""The scores of the published curves (arXiv:2211.09800, figure 8): how far the edit went, and what stayed."""

Interval = Mapping[str, float | int]
"""A mean or share with its 95 % interval: ``mean`` or ``share``, ``low``, ``high``, ``of``."""


@dataclass(frozen=True)
class Point:
    """One method at one setting, over all its examples.

    Args:
        at: the setting that varies along the curve; None for a curve of one point.
        edits: how many there are.
        failed: how many could not be made.
        unmeasured: how many of the edits some measure could not be taken of.
        scores: by name, over the examples that have it.
        forward_samples, seconds: means over the edits.
        memory: bytes, the most of all edits.
    """

    at: float | None
    edits: int
    failed: int
    unmeasured: int
    scores: Mapping[str, Interval]
    forward_samples: float
    seconds: float
    memory: int | None


@dataclass(frozen=True)
class Curve:
    """A method with all its settings but one, which grows from point to point."""

    method: str
    along: str
    settings: Mapping[str, Any]
    points: tuple[Point, ...]

    @property
    def label(self) -> str:
        """The method, and the model if it has one: its name, or the end of its path."""
        model = self.settings.get("model")
        return f"{self.method} ({'/'.join(Path(model).parts[-2:])})" if model else self.method

    @property
    def drawn(self) -> tuple[Point, ...]:
        """The points that have both scores of ``AXES``."""
        return tuple(point for point in self.points if AXES.keys() <= point.scores.keys())

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def curves(rows: Iterable[Row]) -> list[Curve]:
    """Put rows together as curves, in the order in which the methods first come."""
    found: dict[str, tuple[Row, dict[float | None, list[Row]]]] = {}
    for row in rows:
        rest = {name: value for name, value in row.settings.items() if name != row.along}
        # As JSON, since settings that were read from a file have lists where those of a method have tuples.
        key = json.dumps([row.method, rest], sort_keys=True, ensure_ascii=False)
        points = found.setdefault(key, (row, defaultdict(list)))[1]
        points[row.settings[row.along] if row.along else None].append(row)
    return [
        Curve(
            first.method,
            first.along,
            {name: value for name, value in first.settings.items() if name != first.along},
            tuple(_point(at, points[at]) for at in sorted(points, key=lambda at: at or 0.0)),
        )
        for first, points in found.values()
    ]


def by_kind(rows: Iterable[Row]) -> dict[str, list[Curve]]:
    """Return the curves of each kind of edit by itself, the kinds in the order in which they first come."""
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        kinds[row.kind].append(row)
    return {kind: curves(found) for kind, found in kinds.items()}


def _point(at: float | None, rows: Sequence[Row]) -> Point:
    made = [row for row in rows if row.failed is None]
    names = list(dict.fromkeys(name for row in made for name in row.scores))
    memory = [row.memory for row in made if row.memory is not None]
    return Point(
        at,
        edits=len(made),
        failed=len(rows) - len(made),
        unmeasured=sum(row.unmeasured is not None for row in made),
        scores={
            name: _interval(name, [row.scores[name] for row in made if name in row.scores]) for name in names
        },
        forward_samples=sum(row.forward_samples for row in made) / max(len(made), 1),
        seconds=sum(row.seconds for row in made) / max(len(made), 1),
        memory=max(memory, default=None),
    )


def _interval(name: str, values: Sequence[float]) -> Interval:
    return share([value == 1 for value in values]) if name in SHARES else mean(values)
