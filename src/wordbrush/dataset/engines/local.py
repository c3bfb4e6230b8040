"""Units made one after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wordbrush.dataset.shards import Shard
from wordbrush.dataset.stage import UnitTask
from wordbrush.dataset.threads import found_device, threads_restored
from wordbrush.errors import InvalidInput


@dataclass(frozen=True)
class LocalEngine:
    """No other process, nothing to install.

    Args:
        threads: of torch while units are made; a part of what the bytes depend on. A GPU needs no more than one.

    Raises:
        InvalidInput: fewer than one thread.
    """

    threads: int = 1

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise InvalidInput(f"an engine computes with at least 1 thread, not {self.threads}")

    def device(self) -> str:
        """Return the kind of device that this process finds."""
        return found_device()

    def run(self, task: UnitTask, units: Sequence[int]) -> Iterator[Shard]:
        """Make every unit, in order."""
        with threads_restored():
            make = task.open(self.threads)
            for unit in units:
                yield make(unit)
