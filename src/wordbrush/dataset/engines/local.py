"""Units made one after the other, in this process."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from wordbrush.dataset.shards import Shard
from wordbrush.dataset.stage import UnitTask
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

    def run(self, task: UnitTask, units: Sequence[int]) -> Iterator[Shard]:
        """Make every unit, in order."""
        with _threads_restored():
            make = task.open(self.threads)
            for unit in units:
                yield make(unit)


@contextmanager
def _threads_restored() -> Iterator[None]:
    """Leave the caller's process as it was."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else None
    try:
        yield
    finally:
        if torch and before:
            torch.set_num_threads(before)
