"""When an edit acts: windows of steps, and the only place where a fraction becomes a step number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from wordbrush.checks import is_number
from wordbrush.edits.prompt import Prompt, WordLike, named
from wordbrush.errors import InvalidInput

DEFAULT_WORD = "default_"
Fraction = float | tuple[float, float]
Until = Fraction | Mapping[WordLike, Fraction]


class Rounding(Enum):
    """How a fraction of the run becomes step numbers."""

    EXACT = "step i of n is inside if start <= i/n < stop"
    PUBLISHED_CROSS = "int(f·(n + 1)), n the nominal number of steps"
    PUBLISHED_SELF = "int(f·n), n the nominal number of steps"
    PUBLISHED_PAIRS = "step i of n is inside if i/(n - 1) < stop, as where InstructPix2Pix's pairs are made"


@dataclass(frozen=True)
class Clock:
    """The steps of one run: ``nominal`` as asked for, ``evaluations`` as the scheduler makes them.

    They differ for schedulers that evaluate the network more than once in some steps: 50 nominal steps of PNDM
    are 51 evaluations. A step in this package is one evaluation.
    """

    nominal: int
    evaluations: int


@dataclass(frozen=True)
class Window:
    """A part of the run, as fractions of it in [0, 1]: from ``start`` up to but not including ``stop``."""

    start: float = 0.0
    stop: float = 1.0

    def __post_init__(self) -> None:
        _check_window(self.start, self.stop, given=(self.start, self.stop))

    @classmethod
    def of(cls, value: Fraction | Window) -> Window:
        """Read ``0.8`` (from the beginning until 0.8) or ``(0.2, 0.8)``.

        Raises:
            InvalidInput: a number outside [0, 1], or a stop before the start.
        """
        if isinstance(value, Window):
            return value
        pair = value if isinstance(value, tuple | list) else (0.0, value)
        if len(pair) != 2:
            raise InvalidInput(
                f"a window of steps is a fraction such as 0.8 or a pair (start, stop), not {value!r}",
                command=f"a window of steps is a fraction such as 0.8 or a stretch such as 0.2:0.8, not {value!r}",
            )
        _check_window(*pair, given=value)
        return cls(*pair)

    def steps(self, clock: Clock, rounding: Rounding = Rounding.EXACT) -> range:
        """Return the steps (network evaluations, counted from 0) inside the window.

        Raises:
            InvalidInput: the window is not empty, but too narrow to hold any of the steps.
        """
        if rounding is Rounding.EXACT:
            # The tolerance makes 0.1 + 0.2 mean 0.3.
            first, end = (math.ceil(f * clock.evaluations - 1e-9) for f in (self.start, self.stop))
            if first == end and self.start < self.stop:
                raise InvalidInput(
                    f"the window {self} holds none of the {clock.evaluations} steps: widen it, or take more steps"
                )
        elif rounding is Rounding.PUBLISHED_PAIRS:
            first, end = (math.ceil(f * (clock.evaluations - 1) - 1e-9) for f in (self.start, self.stop))
        else:
            n = clock.nominal + (rounding is Rounding.PUBLISHED_CROSS)
            first, end = int(self.start * n), int(self.stop * n)
        return range(min(first, clock.evaluations), min(end, clock.evaluations))

    def __str__(self) -> str:
        return f"{self.start:g} to {self.stop:g}" if self.start < self.stop else "none"


def _check_window(start: object, stop: object, *, given: object) -> None:
    """Raise ``InvalidInput``, with what was ``given``, unless 0 <= start <= stop <= 1."""
    if not (is_number(start) and is_number(stop) and 0 <= start <= 1 and 0 <= stop <= 1):
        raise InvalidInput(
            f"a window of steps is a fraction such as 0.8 or a pair (start, stop) within 0 and 1, not {given!r}",
            command=f"a window of steps is a fraction such as 0.8 or a stretch such as 0.2:0.8, within 0 and 1, "
            f"not {given!r}",
        )
    if start > stop:
        raise InvalidInput(
            f"a window of steps starts before it stops, but in {given!r} the start comes after the stop: did you mean "
            f"{(stop, start)!r}?"
        )


def from_fraction_on(start: float, clock: Clock, stop: float = 1.0) -> range:
    """Return the steps from a fraction of the run on, to another one; at least one, of short runs the last."""
    first = min(math.ceil(start * clock.evaluations - 1e-9), clock.evaluations - 1)
    return range(first, max(math.ceil(stop * clock.evaluations - 1e-9), first + 1))


@dataclass(frozen=True)
class Schedule:
    """A window for every target token: one for all of them, and others for some words."""

    default: Window
    words: tuple[tuple[WordLike, Window], ...] = ()

    @classmethod
    def of(cls, until: Until | Schedule) -> Schedule:
        """Read a fraction, a pair, or a mapping word → either; words not in a mapping follow its ``"default_"``.

        A mapping without ``"default_"`` leaves the other words active all the time, as published: an edit knows no
        model. What ``wordbrush.edit`` infers with ``until=`` does, and has them follow that of the model.

        Raises:
            InvalidInput: a window that makes no sense, or a list, which elsewhere has one entry for each target.
        """
        if isinstance(until, Schedule):
            return until
        if not isinstance(until, Mapping):
            return cls(_written(until))
        words = tuple((word, _written(value)) for word, value in until.items() if word != DEFAULT_WORD)
        return cls(_written(until.get(DEFAULT_WORD, 1.0)), words)

    @property
    def named(self) -> tuple[WordLike, ...]:
        """The words that have a window of their own."""
        return tuple(word for word, _ in self.words)

    def windows(self, target: Prompt) -> list[Window]:
        """Return the window of every token of a target; absent words are skipped."""
        windows = [self.default] * target.length
        for word, window in self.words:
            for token in target.find(word) if target.has(word) else ():
                windows[token] = window
        return windows

    def gates(self, target: Prompt, clock: Clock) -> np.ndarray:
        """Return 1 where an edit acts and 0 elsewhere, shape (evaluations, tokens); absent words are skipped."""
        gates = np.zeros((clock.evaluations, target.length))
        gates[list(self.default.steps(clock))] = 1.0
        for word, window in self.words:
            if target.has(word):
                columns = list(target.find(word))
                gates[:, columns] = 0.0
                gates[np.ix_(list(window.steps(clock)), columns)] = 1.0
        return gates

    def __str__(self) -> str:
        words = "".join(f", {named(word)}: {window}" for word, window in self.words)
        return f"{self.default}{words}"


def _written(value: Fraction) -> Window:
    """Read a fraction or a pair as ``until`` has them."""
    if isinstance(value, list):
        raise InvalidInput(
            f"until is a fraction such as 0.8 or a pair (start, stop), and {value!r} is a list: write a tuple for a "
            "window, as (0.2, 0.8)"
        )
    return Window.of(value)


def covers(later: Sequence[Schedule], earlier: Schedule, target: Prompt) -> bool:
    """Tell whether ``earlier`` acts on some token of a target, and always where one of ``later`` acts too."""
    windows = earlier.windows(target)
    acting = [(token, window) for token, window in enumerate(windows) if window.start < window.stop]
    others = [schedule.windows(target) for schedule in later]
    return bool(acting) and all(
        _is_covered(window, [windows[token] for windows in others]) for token, window in acting
    )


def _is_covered(window: Window, others: Sequence[Window]) -> bool:
    """Tell whether some other window is on at every moment of ``window``: at its start, and where another one ends."""
    moments = [window.start, *(one.stop for one in others if window.start <= one.stop < window.stop)]
    return all(any(one.start <= moment < one.stop for one in others) for moment in moments)


def with_default(until: Until, default: Fraction) -> Until:
    """Let the words that a mapping does not name follow ``default``, unless it says itself what they follow."""
    return {DEFAULT_WORD: default, **until} if isinstance(until, Mapping) else until


def only_of(until: Until, target: Prompt) -> Until:
    """Leave out of a mapping the words that ``target`` does not have."""
    if not isinstance(until, Mapping):
        return until
    return {word: window for word, window in until.items() if word == DEFAULT_WORD or target.has(word)}


class Scheduled:
    """What edits have that act in some steps, which ``until`` says for all words, or for some and the rest."""

    until: Until

    def __post_init__(self) -> None:
        Schedule.of(self.until)
        if isinstance(self.until, Mapping):  # the caller's may change later
            object.__setattr__(self, "until", dict(self.until))

    @property
    def schedule(self) -> Schedule:
        """When the edit acts on each token."""
        return Schedule.of(self.until)

    @property
    def words(self) -> tuple[WordLike, ...]:
        """The words this edit names; each must occur in at least one of its targets."""
        return self.schedule.named
