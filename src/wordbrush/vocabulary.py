"""Words that a small model was never shown: what they draw is chance, so they are named."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterable

from wordbrush.errors import InvalidInput, nearest

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


class UnknownWordWarning(UserWarning):
    """A prompt has words that the model was never shown."""


def check_words(words: object) -> None:
    """Raise ``InvalidInput`` unless ``words`` is a list of texts, or None."""
    if words is not None and (
        not isinstance(words, Collection)
        or isinstance(words, str)
        or not all(isinstance(one, str) for one in words)
    ):
        raise InvalidInput(f"words is a list of words, or none, not {words!r}")


def warn_of_unknown_words(prompts: Iterable[str], known: Collection[str] | None) -> None:
    """Warn of the words of ``prompts`` that are not ``known``, with the nearest that is; None knows all words."""
    if known is None:
        return
    words = (word for prompt in prompts for word in WORD.findall(prompt.lower()))
    unknown = dict.fromkeys(word for word in words if word not in known and not word.isdecimal())
    if unknown:
        drawn = "what that word draws" if len(unknown) == 1 else "what those words draw"
        named = ", ".join(f"{word!r}{nearest(word, known)}" for word in unknown)
        warnings.warn(
            f"this model was never shown {named}: {drawn} is chance",
            UnknownWordWarning,
            stacklevel=3,
        )
