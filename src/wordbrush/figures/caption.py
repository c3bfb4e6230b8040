"""Captions as runs of styled text: prompts in italics and quotation marks, what changed in bold colour."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

ACCENT = "#b3261e"
QUIET = "#6e6e6e"


@dataclass(frozen=True)
class Run:
    """Text of one style: ``roman``, ``italic``, ``bold``, ``bold italic`` or ``math`` (TeX); ``colour`` None is ink."""

    text: str
    style: str = "roman"
    colour: str | None = None
    struck: bool = False


Text = str | Sequence[Run]


def plain(text: Text) -> list[Run]:
    """Return ``text`` as runs."""
    return [Run(text)] if isinstance(text, str) else list(text)


def quiet(text: str) -> list[Run]:
    """Return a secondary label, in grey."""
    return [Run(text, "roman", QUIET)]


def math(tex: str, colour: str | None = None) -> list[Run]:
    """Return a formula."""
    return [Run(tex, "math", colour)]


def prompt(text: str, marks: dict[str, str] | None = None) -> list[Run]:
    """Return a prompt in italics and quotation marks; words in ``marks`` stand out, followed by their mark.

    ``prompt("a house in the snow", {"snow": "↓"})`` is the way a fader's word is shown.
    """
    runs = [Run("“", "italic")]
    words = text.split(" ")
    for number, word in enumerate(words):
        space = " " if number + 1 < len(words) else ""
        if marks and word in marks:
            runs += [Run(word, "bold italic", ACCENT), Run(marks[word], "bold", ACCENT), Run(space, "italic")]
        else:
            runs.append(Run(word + space, "italic"))
    return [*runs, Run("”", "italic")]


def changed(source: str, target: str, *, shorten: bool = False, strike: bool = False) -> list[Run]:
    """Return the target prompt with every word that is not in the source's place standing out.

    ``shorten`` puts an ellipsis for an unchanged beginning, as the paper's captions do; ``strike`` shows the words that
    were replaced, struck out.
    """
    old, new = source.split(" "), target.split(" ")
    parts: list[Run] = []
    opcodes = difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes()
    for number, (tag, a0, a1, b0, b1) in enumerate(opcodes):
        if tag == "equal":
            known = shorten and number == 0 and len(opcodes) > 1 and b1 > 1
            parts.append(Run("…" if known else " ".join(new[b0:b1]), "italic"))
            continue
        if strike and a1 > a0:
            parts.append(Run(" ".join(old[a0:a1]), "italic", QUIET, struck=True))
        if b1 > b0:
            parts.append(Run(" ".join(new[b0:b1]), "bold italic", ACCENT))
    runs = [Run("“", "italic")]
    for number, part in enumerate(parts):
        runs += [part, Run(" ", "italic")] if number + 1 < len(parts) else [part]
    return [*runs, Run("”", "italic")]


def instruction(text: str) -> list[Run]:
    """Return an instruction in quotation marks, standing out as what an edit was asked for."""
    return [Run(f"“{text}”", "bold italic", ACCENT)]


def swap(old: str, new: str) -> list[Run]:
    """Return ``old → new`` for the label of a row."""
    return [Run(old, "italic"), Run(" → "), Run(new, "bold italic", ACCENT)]
