"""Long work for several people on one model: one at a time, first come first served, with progress, and stoppable."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from wordbrush.errors import WordbrushError

WORKER = "wordbrush-studio"
"""The name of every thread that does work."""


class Stopped(Exception):
    """Raised inside work that is no longer wanted."""


class TooMany(WordbrushError):
    """More people wait than the studio lets in."""


@dataclass(frozen=True)
class Waiting:
    """The work has not begun: so many others come first."""

    before: int


@dataclass(frozen=True)
class Step:
    """One step is done; ``seen`` is what ``Report.seen`` was given before it, or None."""

    step: int
    steps: int
    seen: Any = None


@dataclass(frozen=True)
class Done:
    """The work is done."""

    value: Any


Update = Waiting | Step | Done


class Report:
    """What work tells of itself; each call also raises ``Stopped`` as soon as the work is not wanted any more."""

    def __init__(self, stop: threading.Event, tell: Callable[[Update], None]) -> None:
        self._stop = stop
        self._tell = tell
        self._seen: Any = None

    def seen(self, value: Any) -> None:
        """Keep something to show with the next step."""
        self._check()
        self._seen = value

    def progress(self, step: int, steps: int) -> None:
        """Say that ``step`` of ``steps`` steps are done."""
        self._check()
        self._tell(Step(step, steps, self._seen))

    def _check(self) -> None:
        if self._stop.is_set():
            raise Stopped


class Turns:
    """Lets one piece of work run at a time, in the order in which they came.

    Args:
        most: how many may wait.
    """

    def __init__(self, most: int = 16) -> None:
        self._most = most
        self._line: deque[object] = deque()
        self._moved = threading.Condition()

    @contextmanager
    def turn(self, stop: threading.Event, waiting: Callable[[int], None]) -> Iterator[None]:
        """Wait for the turn, telling ``waiting`` whenever the number of those before changes.

        Raises:
            TooMany: the line is full.
            Stopped: ``stop`` was set meanwhile.
        """
        ticket = object()
        with self._moved:
            if len(self._line) > self._most:
                raise TooMany(f"{len(self._line)} others are waiting already: try again in a while")
            self._line.append(ticket)
        try:
            self._wait(ticket, stop, waiting)
            yield
        finally:
            with self._moved:
                self._line.remove(ticket)
                self._moved.notify_all()

    def wake(self) -> None:
        """Let those who wait look at whether they are still wanted."""
        with self._moved:
            self._moved.notify_all()

    def _wait(self, ticket: object, stop: threading.Event, waiting: Callable[[int], None]) -> None:
        told = None
        with self._moved:
            while (before := self._line.index(ticket)) or stop.is_set():
                if stop.is_set():
                    raise Stopped
                if before != told:
                    waiting(before)
                    told = before
                self._moved.wait()


def stream(work: Callable[[Report], Any], turns: Turns, stop: threading.Event) -> Iterator[Update]:
    """Do ``work`` in a thread of its own and yield what happens, at last ``Done`` with what it returned.

    Steps that come faster than they are taken are left out. When the iterator is closed early, or ``stop`` is set and
    ``turns`` woken, the work ends at its next report.

    Raises:
        Stopped: ``stop`` was set.
        Exception: whatever ``work`` raised.
    """
    updates: SimpleQueue[Update | BaseException] = SimpleQueue()

    def body() -> None:
        try:
            with turns.turn(stop, lambda before: updates.put(Waiting(before))):
                updates.put(Done(work(Report(stop, updates.put))))
        except BaseException as error:  # raised again where the iterator is read
            updates.put(error)

    threading.Thread(target=body, name=WORKER, daemon=True).start()
    try:
        while True:
            update = _latest(updates)
            if isinstance(update, BaseException):
                raise update
            yield update
            if isinstance(update, Done):
                return
    finally:
        stop.set()
        turns.wake()


def _latest(updates: SimpleQueue[Any]) -> Any:
    """Return the newest update, waiting for one if there is none."""
    update = updates.get()
    while True:
        try:
            update = updates.get_nowait()
        except Empty:
            return update
