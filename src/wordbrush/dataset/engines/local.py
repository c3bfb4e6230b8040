"""Units made one after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wordbrush.dataset.shards import Shard
from wordbrush.dataset.stage import UnitTask


@dataclass(frozen=True)
class LocalEngine:
    """No other process, nothing to install: models use the cores or the GPU of this machine by themselves."""

    def run(self, task: UnitTask, units: Sequence[int]) -> Iterator[Shard]:
        """Make every unit, in order."""
        make = task.open()
        for unit in units:
            yield make(unit)
