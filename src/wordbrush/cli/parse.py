"""From the text of an option to values, with errors that show the expected form. Pure functions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from wordbrush.edits.prompt import Word, WordLike, named
from wordbrush.errors import InvalidInput, nearest

if TYPE_CHECKING:
    from wordbrush.guidance import GuidedSteps
    from wordbrush.inversion.task import Method

Window = float | tuple[float, float]


class BadOption(InvalidInput):
    """The text of an option does not have the expected form."""


def parse_size(text: str | None) -> tuple[int, int] | None:
    """``"96x128"`` → (height, width) in pixels; ``"128"`` → a square; None stays None (the model's own size)."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,9})(?:[x×](\d{1,9}))?", text.strip().lower())
    if not match or not int(match[1]) or (match[2] and not int(match[2])):
        raise BadOption(
            f"--size {text!r} is not a size; expected HEIGHTxWIDTH in pixels, multiples of 8, such as 96x128"
        )
    height = int(match[1])
    return height, int(match[2] or height)


def parse_edited_size(text: str) -> str | tuple[int, int]:
    """``"native"`` → itself, as every name of a way to size; ``"96x128"`` → (height, width) in pixels."""
    from wordbrush.canvas import SIZES

    if text in SIZES:
        return text
    try:
        size = parse_size(text)
    except BadOption as error:
        raise BadOption(
            f"--size {text!r} is neither {', '.join(SIZES)} nor HEIGHTxWIDTH in pixels, multiples of 8, such as 96x128"
            f"{nearest(text, SIZES)}"
        ) from error
    assert size
    return size


def parse_scales(text: str | None, option: str) -> tuple[float, ...]:
    """``"5,7.5"`` → (5.0, 7.5); nothing → ()."""
    try:
        return tuple(float(number) for number in text.split(",")) if text is not None else ()
    except ValueError as error:
        raise BadOption(
            f"{option} {text!r} is no number; expected one such as 7.5, or several as 5,7.5,10"
        ) from error


def parse_window(text: str, option: str = "--until") -> Window:
    """``"0.8"`` → 0.8 (from the start up to 80 % of the steps); ``"0.2:0.8"`` → (0.2, 0.8)."""
    try:
        numbers = [float(part) for part in text.split(":")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise BadOption(
            f"{option} {text!r} is not a part of the steps; expected a fraction such as 0.8 or a range such as 0.2:0.8"
        )
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


def parse_guided(text: str | None) -> GuidedSteps | None:
    """``"0.2:0.8"`` → guidance in that part of the steps; ``"0:1/2"`` → in every second one; None stays None."""
    if text is None:
        return None
    from wordbrush.guidance import GuidedSteps

    window, slash, every = text.partition("/")
    if slash and not (every.isdecimal() and int(every)):
        raise BadOption(f"--guided {text!r} names no steps; expected START:STOP/EVERY, such as 0:0.8/2")
    return GuidedSteps(parse_window(window, "--guided"), int(every) if slash else 1)


def parse_word(text: str) -> WordLike:
    """``"dog"`` → that word; ``"dog#1"`` → its second occurrence, counted from 0; ``"dog#all"`` → all of them.

    ``"#2"`` → the third word of the prompt, whichever it is: 2, as Python has it.
    """
    word, mark, occurrence = text.strip().rpartition("#")
    if word.strip() and occurrence == "all":
        return Word(word, "all")
    if mark and occurrence.isdecimal():
        return (word, int(occurrence)) if word.strip() else int(occurrence)
    return text.strip()


def parse_until(texts: Sequence[str]) -> Window | dict[WordLike, Window] | None:
    """``["0.8"]`` → 0.8; ``["0.8", "lion=0.4"]`` → {"lion": 0.4, "default_": 0.8}; nothing → None (the default)."""
    from wordbrush.edits.window import DEFAULT_WORD

    rest: Window | None = None
    words: dict[WordLike, Window] = {}
    for text in texts:
        word, equals, window = text.rpartition("=")
        if equals:
            if not word.strip():
                raise BadOption(f"--until {text!r} names no word; expected WORD=FRACTION, such as lion=0.4")
            if parse_word(word) in words:
                raise BadOption(f"--until is given twice for {word!r}")
            words[parse_word(word)] = parse_window(window)
        elif rest is not None:
            raise BadOption(f"--until is given twice for all words; for a single word write WORD={text}")
        else:
            rest = parse_window(text)
    if words and rest is not None:
        words[DEFAULT_WORD] = rest
    return words or rest


def parse_weights(texts: Sequence[str]) -> dict[WordLike, tuple[float, ...]]:
    """``["snow=2"]`` → {"snow": (2.0,)}; ``["snow=0,1,2"]`` → several strengths, one picture for each."""
    weights: dict[WordLike, tuple[float, ...]] = {}
    for text in texts:
        word, equals, numbers = text.rpartition("=")
        try:
            strengths = tuple(float(number) for number in numbers.split(","))
        except ValueError:
            strengths = ()
        if not equals or not word.strip() or not strengths:
            raise BadOption(
                f"--weight {text!r} is not a weight; expected WORD=STRENGTH, such as snow=2 or snow=0,1,2"
            )
        if any(named(parse_word(word)).casefold() == named(other).casefold() for other in weights):
            raise BadOption(f"--weight is given twice for {word!r}; for several pictures write {word}=0,1,2")
        weights[parse_word(word)] = strengths
    counts = {len(strengths) for strengths in weights.values() if len(strengths) > 1}
    if len(counts) > 1:
        raise BadOption("--weight lists of different lengths; give every word one strength or equally many")
    return weights


def parse_blend(text: str | None) -> tuple[list[WordLike], list[WordLike]] | str | None:
    """``"cat:dog"`` → (["cat"], ["dog"]); several words with commas; ``"cat"`` means the word of both prompts.

    ``":hat"`` is the target's word alone, ``"hat:"`` the source's. ``"auto"`` and ``"none"`` are themselves; a word of
    that name is given as ``auto:auto``.
    """
    if text is None or text in ("auto", "none"):
        return text
    parts = [part.split(",") if part.strip() else [] for part in text.split(":")]
    if len(parts) not in (1, 2) or not any(parts) or not all(word.strip() for part in parts for word in part):
        raise BadOption(
            f"--blend {text!r} is not a pair of words; expected SOURCE:TARGET, such as cat:dog, or one of them, as :hat"
        )
    return [parse_word(word) for word in parts[0]], [parse_word(word) for word in parts[-1]]


def parse_settings(texts: Sequence[str], option: str = "--set") -> dict[str, str]:
    """``["batch=32"]`` → {"batch": "32"}; what a setting may be is known where it is used."""
    pairs = [text.partition("=") for text in texts]
    for text, (name, equals, _) in zip(texts, pairs, strict=True):
        if not equals or not name.strip():
            raise BadOption(f"{option} {text!r} is not a setting; expected NAME=VALUE")
    return {name.strip(): value.strip() for name, _, value in pairs}


def parse_method(name: str | None, settings: Sequence[str]) -> Method | None:
    """Return an inversion by its name with settings such as ``["skipped=0.2"]``; None stays None (the model's own)."""
    option = "--method-setting"
    values = parse_settings(settings, option)
    if name is None:
        if settings:
            raise BadOption(f"{option} {settings[0]} is a setting of --method: give that as well")
        return None
    if len(values) < len(settings):
        twice = next(one for one in values if sum(text.startswith(f"{one}=") for text in settings) > 1)
        raise BadOption(f"{option} is given twice for {twice}")
    from wordbrush.inversion.methods import method_of

    return method_of(name, values)


def slug(text: str, length: int = 60) -> str:
    """Return ``text`` as a file name: lower case, letters and digits of any script, hyphens for the rest.

    It has at most ``length`` bytes, the unit in which file systems limit names.
    """
    plain = unicodedata.normalize("NFC", text).casefold()
    name = re.sub(r"[\W_]+", "-", plain).strip("-")
    return name.encode()[:length].decode(errors="ignore").rstrip("-") or "untitled"
