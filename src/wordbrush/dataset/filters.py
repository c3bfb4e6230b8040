"""Filters of texts: small frozen objects that say why a text is not wanted, or nothing.

A filter's ``name`` is the gate under which its rejects are counted. Filters compose by standing in a sequence; the
first one that objects decides.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

from wordbrush.errors import DataError, InvalidInput

FUNCTION_WORDS = {
    "en": "a an the of in on at and with is are to by for from its under over near this that no not but as or it be do "
    "me you",
    "de": "der die das ein eine einer und mit im ist auf von dem den am zum zur nicht bei",
    "fr": "le la les un une des du et avec dans est sur au aux pour par qui en ce",
    "es": "el la los las un una y con en es de del al para por que su se",
    "it": "il lo la gli un una di e con in su è del della per che nel nella",
    "pt": "o a os as um uma e com em é de do da no na para por que",
    "nl": "de het een en met in op van is aan bij voor uit zijn naar",
    "pl": "i w na z do się jest nie to że przez od dla",
    "sv": "en ett och med i på är av för till som den det",
}
"""Words without which few sentences of a language are written; what two languages share counts for both."""

BLOCKED = (
    "bestiality", "bdsm", "beheaded", "beheading", "blowjob", "boobs", "braless", "cocaine", "corpse", "cumshot",
    "decapitated", "dildo", "dismembered", "erotic", "erotica", "fetish", "gangbang", "genitals", "gore", "handjob",
    "hentai", "heroin", "incest", "lingerie", "loli", "masturbating", "masturbation", "milf", "mutilated", "naked",
    "nazi", "nipples", "nsfw", "nude", "nudes", "nudity", "orgy", "penis", "porn", "pornographic", "pornography",
    "pornstar", "rape", "raped", "seductive", "sex", "sexual", "sexy", "shemale", "shota", "slut", "suicide",
    "swastika", "topless", "torture", "tortured", "upskirt", "vagina", "whore", "xxx",
)  # fmt: skip
"""Default of ``BlockedWords``: sexual and cruel content, and what a crawl of the web names it by."""

WORD = re.compile(r"\w+(?:['’]\w+)*")


class Filter(Protocol):
    """Anything with a name that can look at a text."""

    name: ClassVar[str]

    def __call__(self, text: str) -> str | None:
        """Return why ``text`` is rejected, or None."""
        ...


@dataclass(frozen=True)
class Length:
    """Texts of a sensible length.

    Args:
        words: the fewest and the most words, both allowed.
        characters: the most characters.
    """

    words: tuple[int, int] = (2, 60)
    characters: int = 400
    name: ClassVar[str] = "length"

    def __call__(self, text: str) -> str | None:
        fewest, most = self.words
        words = len(WORD.findall(text))
        if words < fewest:
            return f"{words} words, fewer than {fewest}"
        if words > most:
            return f"{words} words, more than {most}"
        if len(text) > self.characters:
            return f"{len(text)} characters, more than {self.characters}"
        return None


@dataclass(frozen=True)
class Language:
    """Texts in one language, by evidence in the text itself: no model, and short texts get the benefit of the doubt.

    A text is rejected if too many of its letters are not Latin, or if it has at least two function words of another
    language and more of those than of its own.

    Args:
        code: one of ``FUNCTION_WORDS``.
        latin: the least share of Latin letters, in [0, 1].
    """

    code: str = "en"
    latin: float = 0.9
    name: ClassVar[str] = "language"

    def __post_init__(self) -> None:
        if self.code not in FUNCTION_WORDS:
            raise InvalidInput(
                f"languages that can be told apart are {', '.join(FUNCTION_WORDS)}, not {self.code!r}"
            )

    def __call__(self, text: str) -> str | None:
        letters = [letter for letter in text if letter.isalpha()]
        if not letters:
            return "no letters"
        latin = sum(unicodedata.name(letter, "").startswith("LATIN") for letter in letters) / len(letters)
        if latin < self.latin:
            return f"{latin:.0%} of its letters are Latin, fewer than {self.latin:.0%}"
        words = text.casefold().split()
        found = {code: sum(word in known for word in words) for code, known in _FUNCTION_WORDS.items()}
        best = max(found, key=lambda code: (found[code], code == self.code))
        return f"reads as {best}" if found[best] > max(1, found[self.code]) else None


_FUNCTION_WORDS = {code: frozenset(words.split()) for code, words in FUNCTION_WORDS.items()}


@dataclass(frozen=True)
class BlockedWords:
    """Texts without certain words or phrases, whatever their case and spaces, and never as a part of a word.

    A word list is a coarse means: it knows no context. For data from the web, use a moderation model as well.
    """

    words: tuple[str, ...] = BLOCKED
    name: ClassVar[str] = "blocked"

    def __call__(self, text: str) -> str | None:
        found = self._known.search(_folded(text)) if self.words else None
        return f"the word{'s' if ' ' in found.group() else ''} {found.group()!r}" if found else None

    @cached_property
    def _known(self) -> re.Pattern[str]:
        anyone = "|".join(re.escape(_folded(word)) for word in self.words)
        # An apostrophe within a word is a part of it, as in ``WORD``; a hyphen is not.
        return re.compile(rf"(?<!\w)(?<!\w['’])(?:{anyone})(?!\w|['’]\w)")

    @classmethod
    def read(cls, path: Path) -> BlockedWords:
        """Return the filter of a file with one word or phrase a line; raises ``DataError`` if it cannot be read.

        Empty lines, and those that begin with ``#``, say nothing.
        """
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"the list of blocked words {path} cannot be read: {error}") from error
        return cls(tuple(line for line in lines if line and not line.startswith("#")))


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


@dataclass(frozen=True)
class Matching:
    """Texts without a match of a regular expression, for what a list of words cannot say (links, file names)."""

    pattern: str
    name: ClassVar[str] = "pattern"
    _compiled: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            compiled = re.compile(self.pattern, re.IGNORECASE)
        except re.error as error:
            raise InvalidInput(f"{self.pattern!r} is not a regular expression: {error}") from error
        object.__setattr__(self, "_compiled", compiled)

    def __call__(self, text: str) -> str | None:
        found = self._compiled.search(text)
        return f"{found.group()!r}" if found else None


DEFAULTS: tuple[Filter, ...] = (Length(), Language(), BlockedWords())
"""What captions pass through unless told otherwise."""


def first_objection(filters: Iterable[Filter], text: str) -> str | None:
    """Return ``"<gate>: <detail>"`` of the first filter that objects to ``text``, or None."""
    for one in filters:
        detail = one(text)
        if detail is not None:
            return f"{one.name}: {detail}"
    return None


KINDS = {one.name: one for one in (Length, Language, BlockedWords, Matching)}
"""The filters by their names."""


def settings(filters: Sequence[Any]) -> list[dict[str, Any]]:
    """Return names and settings of filters as JSON values, for fingerprints."""
    return [
        {"name": one.name, **{key: value for key, value in asdict(one).items() if not key.startswith("_")}}
        for one in filters
    ]


def from_settings(values: Iterable[Mapping[str, Any]]) -> tuple[Filter, ...]:
    """Return the filters that ``settings`` described.

    Raises:
        DataError: a filter that is none of ``KINDS``, or that cannot be made of its settings.
    """
    found = []
    for value in values:
        given: dict[str, Any] = {
            key: tuple(one) if isinstance(one, list) else one for key, one in value.items()
        }
        name = given.pop("name", None)
        if name not in KINDS:
            raise DataError(
                f"the captions passed a filter {name!r}, which cannot be made again: there are {', '.join(KINDS)}"
            )
        try:
            found.append(KINDS[name](**given))
        except (TypeError, InvalidInput) as error:
            raise DataError(f"the filter {name!r} cannot be made of {dict(value)}: {error}") from error
    return tuple(found)
