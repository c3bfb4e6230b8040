"""How many records each stage of a run had, kept and rejected, and at which gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wordbrush.dataset.query import connection, names, shards
from wordbrush.dataset.selection import GateCount, Selection

STAGES = ("captions", "triplets")
"""The stages before the pairs, whose verdict is the selection's."""


@dataclass(frozen=True)
class Step:
    """One stage: its records, those it kept, and what its gates rejected, in order.

    Args:
        name: ``captions``, ``triplets`` or ``pairs``.
    """

    name: str
    records: int
    kept: int
    gates: tuple[GateCount, ...]

    @property
    def survivors(self) -> list[int]:
        """The records left after each gate."""
        left, after = self.records, []
        for gate in self.gates:
            left -= gate.rejected
            after.append(left)
        return after


def funnel(folder: Path, selection: Selection) -> tuple[Step, ...]:
    """Return the steps of a run; stages that it does not have are left out.

    Raises:
        DataError: a shard cannot be read.
    """
    steps = []
    for name in STAGES:
        if (Path(folder) / name).is_dir():
            steps.append(_stage(name, shards(Path(folder), name)))
    return (*steps, Step("pairs", selection.pairs, selection.selected, selection.counts))


def _stage(name: str, files: Sequence[Path]) -> Step:
    with connection() as database:
        rows = database.execute(
            "SELECT CASE WHEN kept THEN NULL ELSE split_part(coalesce(reason, 'rejected'), ':', 1) END AS gate, "
            "count(*) AS n FROM read_parquet(?, union_by_name = true) GROUP BY gate ORDER BY n DESC, gate",
            [names(files)],
        ).fetchall()
    gates = tuple(GateCount(gate, rejected) for gate, rejected in rows if gate is not None)
    kept = sum(number for gate, number in rows if gate is None)
    return Step(name, kept + sum(gate.rejected for gate in gates), kept, gates)


def percent(part: int, whole: int) -> str:
    """Return a share as text, with one digit where it is small: ``"37 %"``, ``"1.4 %"``, ``"–"`` of nothing."""
    if not whole:
        return "–"
    share = 100 * part / whole
    return f"{share:.0f} %" if share in (0, 100) or 10 <= share < 99.5 else f"{share:.1f} %"
