"""Local blend: outside the region of some words the edited picture is held to the source (from the published code)."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeGuard

import numpy as np

from wordbrush.checks import is_number, is_whole
from wordbrush.edits.align import Relation, align
from wordbrush.edits.prompt import Prompt, WordLike, named
from wordbrush.edits.window import Clock, Window, from_fraction_on
from wordbrush.errors import AmbiguousWord, InvalidInput, UnknownWord

Words = WordLike | Sequence[WordLike]


class BlendRule(Protocol):
    """What the sampler needs to know of a blend."""

    @property
    def threshold(self) -> float:
        """Where a word's map, scaled to a maximum of 1, counts as the word's region."""
        ...

    @property
    def subtract_threshold(self) -> float:
        """The same for the words whose region is taken out again."""
        ...

    @property
    def pooled(self) -> bool | None:
        """Whether each map is widened by a 3 × 3 maximum first; it is if this is None."""
        ...

    @property
    def edited_maps(self) -> bool:
        """Whether targets are judged by their edited maps instead of their own."""
        ...

    @property
    def own_columns(self) -> bool:
        """Whether ``indicators`` has one column per target, each with that target's own choice of source words.

        Columns after those are of single words whose regions may change as well, in the rows of the targets alone.
        """
        ...

    @property
    def max_spread(self) -> float:
        """The largest mean of a map of maximum 1 that counts as a region, where every target has its own column."""
        ...

    @property
    def unpaired_threshold(self) -> float:
        """The threshold of a target with a column of its own that names words of one prompt alone.

        Their maps are widened as well, as by ``pooled``.
        """
        ...

    @property
    def carried(self) -> bool:
        """Whether schedulers that go on from latents of an earlier moment go on from blended ones."""
        ...

    def steps(self, clock: Clock) -> range:
        """Return the steps after which the pictures are blended."""
        ...

    def indicators(self, source: Prompt, targets: Sequence[Prompt]) -> np.ndarray:
        """Return 1 at the chosen words' tokens, (1 + targets, tokens, columns).

        One column, or a second one with words to subtract; or one column per target, and more for single words.
        """
        ...

    def describe(self) -> str:
        """Say in one line what it does."""
        ...


BlendChoice = BlendRule | Literal["auto", "none"]


@dataclass(frozen=True)
class Blend:
    """Let the picture change only where the source's or the target's words attend.

    Args:
        source: words of the source prompt; empty for the targets' alone, as for what is added.
        target: words of the target prompts, each looked up in those that contain it; or one list per target. Empty for
            the source's alone, as for what is deleted.
        threshold: in [0, 1), relative to the map's maximum; the region is where the map is above it.
        start: the fraction of the run before which nothing is blended.
        subtract: words, of any of the prompts, whose region must not change even so.
        subtract_threshold: their threshold.
        pooled: widen each map by a 3 × 3 maximum first, as published.
    """

    source: Words
    target: Words | Sequence[Sequence[WordLike]]
    threshold: float = 0.3
    start: float = 0.2
    subtract: Words = ()
    subtract_threshold: float = 0.3
    pooled: bool = True
    edited_maps = False
    own_columns = False
    max_spread = 1.0
    unpaired_threshold = 0.0
    carried = True

    def __post_init__(self) -> None:
        Window.of((self.start, 1.0))
        _check_threshold(self.threshold)
        _check_threshold(self.subtract_threshold)

    def steps(self, clock: Clock) -> range:
        """Return the steps after which the pictures are blended."""
        return from_fraction_on(self.start, clock)

    def indicators(self, source: Prompt, targets: Sequence[Prompt]) -> np.ndarray:
        """Return 1 at the chosen words' tokens, (1 + targets, tokens, 1), or 2 columns with words to subtract.

        Raises:
            UnknownWord: a word occurs in none of the prompts it is meant for, or a target has none of those that are
                named for it.
            InvalidInput: neither the source's words nor a target's are named.
        """
        prompts = (source, *targets)
        columns = [_mark(prompts, _chosen(self.source, self.target, source, targets))]
        if subtract := _listed(self.subtract):
            columns.append(_mark(prompts, _where_found(subtract, prompts)))
        return np.stack(columns, axis=-1)

    def describe(self) -> str:
        """Say in one line what it does."""
        either = _told(self.source, self.target)
        text = f"blend: may change where {either} attends above {self.threshold:g}"
        if _listed(self.subtract):
            text += f", except where {_told(self.subtract)} does above {self.subtract_threshold:g}"
        return f"{text}, from {self.start:g} of the steps on"


@dataclass(frozen=True)
class AutoBlend:
    """Let the picture change only where the changed words attend, if that is a part of it and not the whole.

    The words are those that were swapped, added or deleted, without articles, prepositions and punctuation. A subject,
    its colour or a companion acts in a region, and the rest is held to the source; a style, a time of day or a whole
    place acts everywhere, and then nothing is held. Which of the two it is, the maps decide when blending begins, also
    of the words that are turned up or down beside them.

    Args:
        threshold: in [0, 1), relative to the map's maximum; the region is where the map is above it.
        start: the fraction of the run before which nothing is blended.
        max_spread: the largest mean, in (0, 1], of a map of maximum 1 that counts as a region: a word of which all
            of the picture has much has none.
        pooled: widen each map by a 3 × 3 maximum first, as published; a region of more than its words keeps less.
        unedited: targets, counted from 0, that are left alone.
        weighted: for each target, words that are turned up or down as well; empty for none at all.
        unpaired_threshold: the threshold, in [0, 1), of a target whose words were added alone or deleted alone. One
            prompt shows how far they reach, not two, so their maps are widened by a 3 × 3 maximum, too.
        stop: the fraction of the run after which nothing is blended any more. By then all is in its place, and the
            last steps close the seams.
        source: words of the source prompt to go by, instead of those that were deleted or swapped; as for ``Blend``,
            none of them where only ``target`` is given. They too may act everywhere, unless ``max_spread`` is 1.
        target: words of the target prompts, as for ``Blend``.

    The numbers are those that kept most beside the edit, and the edit itself, on storybook.

    Raises:
        InvalidInput: a number out of its range.
    """

    threshold: float = 0.45
    start: float = 0.4
    max_spread: float = 0.48
    pooled: bool = False
    unedited: tuple[int, ...] = ()
    weighted: tuple[tuple[WordLike, ...], ...] = ()
    unpaired_threshold: float = 0.2
    stop: float = 0.9
    source: Words | None = None
    target: Words | Sequence[Sequence[WordLike]] | None = None
    edited_maps = False
    own_columns = True
    subtract_threshold = 1.0
    carried = True

    def __post_init__(self) -> None:
        Window.of((self.start, 1.0))
        if not is_number(self.stop) or not self.start <= self.stop <= 1:
            raise InvalidInput(
                f"an automatic blend stops after it starts, at {self.start!r}, and at 1 at the latest, "
                f"not at {self.stop!r}: give another start or stop"
            )
        _check_threshold(self.threshold)
        _check_threshold(self.unpaired_threshold)
        if not is_number(self.max_spread) or not 0 < self.max_spread <= 1:
            raise InvalidInput(f"max_spread is a number in (0, 1], not {self.max_spread!r}")

    def steps(self, clock: Clock) -> range:
        """Return the steps after which the pictures are blended."""
        return from_fraction_on(self.start, clock, self.stop)

    def indicators(self, source: Prompt, targets: Sequence[Prompt]) -> np.ndarray:
        """Return 1 at the tokens of changed words, (1 + targets, tokens, columns): column i is of target i.

        The columns after those are of weighted words that are not among them: each has one per target at most.

        Raises:
            UnknownWord: a word that is named occurs in none of the prompts it is meant for.
            InvalidInput: words are named, but none for some target.
        """
        marks = np.zeros((1 + len(targets), source.length, len(targets)))
        for number, (before, after) in enumerate(self._followed(source, targets)):
            if number not in self.unedited:
                marks[0, before, number] = 1.0
                marks[1 + number, after, number] = 1.0
        beside = [
            self._beside(marks[..., number], number, target) if self.weighted else []
            for number, target in enumerate(targets)
        ]
        more = np.zeros((*marks.shape[:2], max(map(len, beside), default=0)))
        for number, words in enumerate(beside):
            for column, tokens in enumerate(words):
                more[1 + number, tokens, column] = 1.0
        return np.concatenate([marks, more], axis=-1)

    def describe(self) -> str:
        """Say in one line what it does."""
        named = _told(*(one for one in (self.source, self.target) if one is not None))
        words = f"{named} attends" if named else "the changed words attend"
        return (
            f"blend: may change where {words} above {self.threshold:g} (words added or deleted "
            f"alone: {self.unpaired_threshold:g}), from {self.start:g} to {self.stop:g} of the steps, or everywhere if "
            "they attend to all of it"
        )

    def _followed(self, source: Prompt, targets: Sequence[Prompt]) -> list[tuple[list[int], list[int]]]:
        """Return the tokens of every target's words, those of the source and its own."""
        if self.source is not None or self.target is not None:
            found = _chosen(self.source or (), self.target or (), source, targets)
            before, *after = [[token for tokens in words for token in tokens] for words in found]
            return [(before, own) for own in after]
        changed = [
            [match for match in align(source, target) if match.relation is not Relation.SAME]
            for target in targets
        ]
        return [
            (
                _telling(source, [token for match in matches for token in match.source]),
                _telling(target, [token for match in matches for token in match.target]),
            )
            for target, matches in zip(targets, changed, strict=True)
        ]

    def _beside(self, marks: np.ndarray, number: int, target: Prompt) -> list[list[int]]:
        """Return the tokens of every weighted word of a target that has marks, unless they are marked already."""
        if not marks.any():
            return []
        words = [list(target.find(word)) for word in self.weighted[number] if target.has(word)]
        return [tokens for tokens in words if not marks[1 + number, tokens].all()]


FUNCTION_WORDS = frozenset({
    "a", "an", "the", "of", "on", "in", "at", "by", "to", "from", "with", "and", "or", "for", "near", "under",
})  # fmt: skip
"""Words that act nowhere in particular."""


def _telling(prompt: Prompt, tokens: Sequence[int]) -> list[int]:
    """Return those of ``tokens`` that belong to words which say something."""
    telling = {token for word in prompt.words if _says_something(word.text) for token in word.tokens}
    return [token for token in tokens if token in telling]


def _says_something(word: str) -> bool:
    """Tell words from punctuation and from words that act nowhere: letters, digits and pictographs have a meaning."""
    kinds = {unicodedata.category(character) for character in word}
    return any(kind[0] in "LN" or kind == "So" for kind in kinds) and word.casefold() not in FUNCTION_WORDS


def followed(rule: BlendRule, source: Prompt, targets: Sequence[Prompt]) -> list[tuple[list[str], list[str]]]:
    """Return the words whose regions may change, for every target: those of the source and its own."""
    marks = rule.indicators(source, targets)
    words: list[tuple[list[str], list[str]]] = []
    for number, target in enumerate(targets):
        columns = [number, *range(len(targets), marks.shape[-1])] if rule.own_columns else [0]
        own = marks[..., columns].max(axis=-1)
        words.append((_marked(source, own[0]), _marked(target, own[1 + number])))
    return words


def _marked(prompt: Prompt, marks: np.ndarray) -> list[str]:
    """Return the words of a prompt that have a marked token."""
    return [word.text for word in prompt.words if marks[list(word.tokens)].any()]


def _check_threshold(threshold: object) -> None:
    if not is_number(threshold) or not 0 <= threshold < 1:
        raise InvalidInput(f"a blend threshold is a number in [0, 1), not {threshold!r}")


def _is_per_target(words: object) -> TypeGuard[Sequence[Sequence[WordLike]]]:
    return isinstance(words, Sequence) and bool(words) and all(isinstance(word, list) for word in words)


def _told(*groups: Words | Sequence[Sequence[WordLike]]) -> str:
    """Return words as a plan names them, each once."""
    lists = [words for group in groups for words in (group if _is_per_target(group) else [group])]
    return " or ".join(dict.fromkeys(named(word) for words in lists for word in _listed(words)))  # pyright: ignore


def _listed(words: Words) -> list[WordLike]:
    return list(words) if isinstance(words, list | tuple) and not _is_occurrence(words) else [words]  # pyright: ignore


def _is_occurrence(words: Sequence[object]) -> bool:
    """Tell a single word given as (text, occurrence) from a list of words."""
    return isinstance(words, tuple) and len(words) == 2 and isinstance(words[0], str) and is_whole(words[1])


def _chosen(
    of_source: Words,
    of_targets: Words | Sequence[Sequence[WordLike]],
    source: Prompt,
    targets: Sequence[Prompt],
) -> list[list[tuple[int, ...]]]:
    """Return the tokens of the words that a blend names, for every prompt.

    Raises:
        UnknownWord: a word occurs in none of the prompts it is meant for, or a target has none of those that are named
            for it.
        InvalidInput: neither the source's words nor a target's are named.
    """
    before = _listed(of_source)
    _check_found(before, [source], "source", targets)
    chosen = [[source.find(word) for word in before]]
    if _is_per_target(of_targets):
        if len(of_targets) != len(targets):
            raise InvalidInput(
                f"the blend lists words for {len(of_targets)} targets but there are {len(targets)}"
            )
        given = of_targets
        for target, words in zip(targets, given, strict=True):
            _check_found(words, [target], "target", [source])
            chosen.append([target.find(word) for word in words])
    else:
        given = [_listed(of_targets)] * len(targets)  # pyright: ignore[reportArgumentType]
        _check_found(given[0], targets, "target", [source])
        chosen += [[target.find(word) for word in given[0] if target.has(word)] for target in targets]
    for target, own, found in zip(targets, given, chosen[1:], strict=True):
        if own and not found:
            raise UnknownWord(f"the blend names no word of {target.text!r}")
        if not own and not chosen[0]:
            raise InvalidInput(f"the blend names no word of {source.text!r}, and none of {target.text!r}")
    return chosen


def _check_found(
    words: Sequence[WordLike],
    prompts: Sequence[Prompt],
    role: Literal["source", "target"],
    others: Sequence[Prompt],
) -> None:
    """Raise ``UnknownWord`` if one of ``words`` is in none of ``prompts``, with what to do if ``others`` have it."""
    for word in words:
        if any(prompt.has(word) for prompt in prompts):
            continue
        try:
            prompts[0].find(word)
        except UnknownWord as error:
            told = f"the blend's {role} word cannot be found: {error}"
            if is_whole(word) or not any(_occurs(word, prompt) for prompt in others):
                raise UnknownWord(told) from error
            one, python, command = (
                ("target", f"source=[], target={word!r}", f":{named(word)}")
                if role == "source"
                else ("source", f"source={word!r}, target=[]", f"{named(word)}:")
            )
            told += f"; a word of the {one} alone is given as"
            raise UnknownWord(f"{told} {python}", command=f"{told} {command}") from error


def _occurs(word: WordLike, prompt: Prompt) -> bool:
    try:
        return prompt.has(word)
    except AmbiguousWord:
        return True


def _where_found(words: Sequence[WordLike], prompts: Sequence[Prompt]) -> list[list[tuple[int, ...]]]:
    for word in words:
        if not any(prompt.has(word) for prompt in prompts):
            prompts[0].find(word)  # raises, naming the tokens
    return [[prompt.find(word) for word in words if prompt.has(word)] for prompt in prompts]


def _mark(prompts: Sequence[Prompt], chosen: Sequence[Sequence[tuple[int, ...]]]) -> np.ndarray:
    marks = np.zeros((len(prompts), prompts[0].length))
    for row, found in enumerate(chosen):
        for tokens in found:
            marks[row, list(tokens)] = 1.0
    return marks
