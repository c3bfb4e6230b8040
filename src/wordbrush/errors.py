"""The exceptions that wordbrush raises on purpose: every one carries a single sentence a user can act on."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WordbrushError(Exception):
    """Base class of all errors raised on purpose; the command line prints ``command`` and exits with status 2.

    Args:
        sentence: what was given, what was expected, and what to do, as a caller from Python would do it.
        command: the same for the command line, where that is done otherwise.
    """

    def __init__(self, sentence: str, *, command: str | None = None) -> None:
        super().__init__(sentence)
        self.command = command or sentence


class InvalidInput(WordbrushError, ValueError):
    """A prompt, word, number, size or tensor that cannot be used as given."""


class BadPicture(InvalidInput):
    """A picture or mask that cannot be read, or that cannot be edited at the size asked for."""


class UnknownWord(InvalidInput):
    """A word that does not occur in the prompt it was looked up in."""


class AmbiguousWord(InvalidInput):
    """A word that occurs more than once where exactly one occurrence is meant."""


class PromptTooLong(InvalidInput):
    """A prompt with more tokens than the text encoder reads."""


class ModelError(WordbrushError):
    """A model that is missing, unreadable, incomplete or of a class that cannot be edited."""


class OtherKind(ModelError):
    """A model that can be read, but is not of the kind that was asked for: an editor given to ``load``, or the like."""


class DataError(WordbrushError):
    """A data set, file of rows or run folder that is missing, malformed, damaged or made with other settings."""


class ControlError(WordbrushError, RuntimeError):
    """A model whose attention cannot be controlled now: nested control, caching hooks, a foreign backend."""


class EditNotApplied(WordbrushError, RuntimeError):
    """A planned edit did not reach every attention layer it was meant for."""


class TrainingError(WordbrushError, RuntimeError):
    """A training that cannot go on: a loss that is not finite, or too little memory; the last state is kept."""


def counted(number: int, thing: str) -> str:
    """Return ``"1 edit"`` or ``"3 edits"``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the known word closest to ``word``, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
