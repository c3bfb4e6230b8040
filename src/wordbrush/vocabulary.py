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


def unknown_words(prompts: Iterable[str], known: Collection[str] | None) -> str | None:
    """Return a sentence that names the words of ``prompts`` that are not ``known``, with the nearest that is.

    None if there are none, or if ``known`` is None, as of a model that does not say what it was shown.
    """
    if known is None:
        return None
    words = (word for prompt in prompts for word in WORD.findall(prompt.lower()))
    unknown = dict.fromkeys(word for word in words if word not in known and not word.isdecimal())
    if not unknown:
        return None
    drawn = "what that word draws" if len(unknown) == 1 else "what those words draw"
    named = ", ".join(f"{word!r}{nearest(word, known)}" for word in unknown)
    return f"this model was never shown {named}: {drawn} is chance"


def warn_of_unknown_words(prompts: Iterable[str], known: Collection[str] | None) -> None:
    """Warn with the sentence of ``unknown_words``, if there is one."""
    if sentence := unknown_words(prompts, known):
        warnings.warn(sentence, UnknownWordWarning, stacklevel=3)
