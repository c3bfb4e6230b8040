"""Threads and device of torch: sums in another order are rounded differently, so the bytes depend on both."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable


@runtime_checkable
class Computing(Protocol):
    """A stage, or a writer, that may compute with torch."""

    def computes_on(self, found: str) -> str | None:
        """Return the kind of device that it computes on, or None if it does not compute.

        Args:
            found: the kind of device that it has unless it was told another one.
        """
        ...


def found_device() -> str:
    """Return the kind of device that models go to in this process: ``"cuda"`` or ``"cpu"``."""
    from wordbrush.models import as_device

    return as_device(None).type


@contextmanager
def threads_restored() -> Iterator[None]:
    """Leave the caller's number of threads as it was."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else None
    try:
        yield
    finally:
        if torch and before:
            torch.set_num_threads(before)
