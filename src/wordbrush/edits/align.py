"""Which source words the words of a target prompt correspond to, and the transfer matrix that follows.

The alignment is a longest common subsequence of words (punctuation marks count as words). What stands between two
matches on both sides is a swap, on one side only an addition or a deletion. Among equally long subsequences the one
with the fewest swaps of unequally many words is preferred, then the fewest gaps, then the earliest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from itertools import pairwise

import numpy as np

from wordbrush.edits.prompt import Prompt

# A word swapped for a phrase: up to this many words share its map, a longer phrase is a swap and an addition.
PHRASE_WORDS = 3

# What can follow on what between two matches; a swap of unequally many words is a swap and something more.
FOLLOWING = {
    "match": ("match", "swap", "add", "delete"),
    "swap": ("match", "swap", "swap+add", "swap+delete"),
    "add": ("match", "add"),
    "delete": ("match", "delete"),
    "swap+add": ("match", "swap+add"),
    "swap+delete": ("match", "swap+delete"),
}
ACTIONS = tuple(FOLLOWING)
# How many words of the source and of the target each uses up.
STRIDE = {
    "match": (1, 1),
    "swap": (1, 1),
    "add": (0, 1),
    "delete": (1, 0),
    "swap+add": (0, 1),
    "swap+delete": (1, 0),
}


class Relation(Enum):
    """What happened to some words between the source prompt and the target prompt."""

    SAME = "same"
    SWAPPED = "swapped"
    ADDED = "added"
    DELETED = "deleted"


@dataclass(frozen=True)
class Match:
    """Token positions of the source and of the target that correspond to each other."""

    relation: Relation
    source: tuple[int, ...]
    target: tuple[int, ...]


@lru_cache(maxsize=256)
def align(source: Prompt, target: Prompt) -> tuple[Match, ...]:
    """Relate every token of both prompts; padding after the texts is the same padding, shifted.

    Where one prompt has more padding than the other, the rest of it corresponds to nothing. Prompts that are read by
    several tokenizers are related reading by reading.
    """
    if source.sequences:
        return tuple(_by_sequence(source.sequences, target.sequences))
    anchors = [(-1, -1), *_anchors(source, target), (len(source.units), len(target.units))]
    matches: list[Match] = []
    for (i, j), (next_i, next_j) in pairwise(anchors):
        if i >= 0:
            matches.append(Match(Relation.SAME, source.units[i].tokens, target.units[j].tokens))
        gone = [unit.tokens for unit in source.units[i + 1 : next_i]]
        new = [unit.tokens for unit in target.units[j + 1 : next_j]]
        matches.extend(_between(gone, new))
    used, filled = len(source.tokens), len(target.tokens)
    for offset in range(min(source.length - used, target.length - filled)):
        matches.append(Match(Relation.SAME, (used + offset,), (filled + offset,)))
    return tuple(matches)


def transfer(source: Prompt, target: Prompt, *, swaps: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return M, (source tokens, target tokens), and the kept share k, (target tokens,), of an alignment.

    Corresponding words take the source's map token by token; S tokens for T other ones give each of them
    1/T of the sum of the S maps, which keeps the total. Every other token keeps its own map.

    Args:
        swaps: whether swapped words take the map of the word they replace, or keep their own.
    """
    matrix = np.zeros((source.length, target.length))
    kept = np.ones(target.length)
    for match in align(source, target):
        if match.relation is Relation.SAME or (swaps and match.relation is Relation.SWAPPED):
            kept[list(match.target)] = 0.0
            if len(match.source) == len(match.target):
                matrix[match.source, match.target] = 1.0
            else:
                matrix[np.ix_(match.source, match.target)] = 1.0 / len(match.target)
    return matrix, kept


def _by_sequence(source: Sequence[Prompt], target: Sequence[Prompt]) -> Iterator[Match]:
    """Relate the readings one by one, at the positions they have in the whole."""
    before = after = 0
    for old, new in zip(source, target, strict=True):
        for match in align(old, new):
            yield Match(
                match.relation,
                tuple(before + token for token in match.source),
                tuple(after + token for token in match.target),
            )
        before, after = before + old.length, after + new.length


def _anchors(source: Prompt, target: Prompt) -> list[tuple[int, int]]:
    """Return the index pairs of the units that are the same in both prompts.

    Tokens at the ends that cover no characters, a template's or those a tokenizer adds, are the same where they are
    equal; a long template would only make the search for the rest slow.
    """
    a, b = _keys(source), _keys(target)
    shortest = min(len(a), len(b))
    added = [_cover_nothing(source), _cover_nothing(target)]
    first = 0
    while first < shortest and a[first] == b[first] and all(one[first] for one in added):
        first += 1
    last = 0
    while last < shortest - first and a[-1 - last] == b[-1 - last] and all(one[-1 - last] for one in added):
        last += 1
    between = _common(a[first : len(a) - last], b[first : len(b) - last])
    return [
        *((i, i) for i in range(first)),
        *((first + i, first + j) for i, j in between),
        *((len(a) - i, len(b) - i) for i in range(last, 0, -1)),
    ]


def _cover_nothing(prompt: Prompt) -> list[bool]:
    """Tell for every unit whether its tokens cover no characters."""
    tokens = prompt.tokens
    return [all(tokens[i].end <= tokens[i].start for i in unit.tokens) for unit in prompt.units]


def _keys(prompt: Prompt) -> list[tuple[int, ...]]:
    return [tuple(prompt.tokens[i].id for i in unit.tokens) for unit in prompt.units]


def _between(gone: list[tuple[int, ...]], new: list[tuple[int, ...]]) -> Iterator[Match]:
    """Relate the words between two matches, in order."""
    if len(new) > PHRASE_WORDS * len(gone):
        swapped, added = new[: len(gone)], new[len(gone) :]
    else:
        swapped, added = new, []
    if not swapped:
        yield from (Match(Relation.DELETED, tokens, ()) for tokens in gone)
    else:
        pairs = min(len(gone), len(swapped))
        for k in range(pairs):
            yield Match(Relation.SWAPPED, _part(gone, k, pairs), _part(swapped, k, pairs))
    yield from (Match(Relation.ADDED, (), tokens) for tokens in added)


def _part(words: list[tuple[int, ...]], index: int, parts: int) -> tuple[int, ...]:
    """Return the tokens of part ``index`` of ``words`` cut into ``parts`` runs of nearly equal length."""
    run = words[index * len(words) // parts : (index + 1) * len(words) // parts]
    return tuple(token for tokens in run for token in tokens)


def _common(a: list[tuple[int, ...]], b: list[tuple[int, ...]]) -> list[tuple[int, int]]:
    """Return the index pairs of the preferred longest common subsequence of ``a`` and ``b``.

    The prompts are walked from left to right, one action at a time; ``best`` is the score of what can still follow.
    """
    gap, uneven = 1, 1 + len(a) + len(b)
    match = uneven * uneven
    best = np.zeros((len(FOLLOWING), len(a) + 2, len(b) + 2), dtype=np.int64)
    best[:, len(a) + 1, :] = best[:, :, len(b) + 1] = -(match**2)  # beyond the end of a prompt

    def choices(last: str, i: int, j: int) -> Iterator[tuple[int, str]]:
        for action in FOLLOWING[last]:
            if action == "match" and not (i < len(a) and j < len(b) and a[i] == b[j]):
                continue
            down, right = STRIDE[action]
            gain = (
                match if action == "match" else 0 if action == last else -(gap if last == "match" else uneven)
            )
            yield int(best[ACTIONS.index(action), i + down, j + right]) + gain, action

    for i in range(len(a), -1, -1):
        for j in range(len(b), -1, -1):
            if (i, j) != (len(a), len(b)):
                for number, last in enumerate(ACTIONS):
                    best[number, i, j] = max((score for score, _ in choices(last, i, j)), default=-(match**2))

    pairs, last, i, j = [], "match", 0, 0
    while (i, j) != (len(a), len(b)):
        _, last = max(choices(last, i, j), key=lambda choice: choice[0])
        if last == "match":
            pairs.append((i, j))
        i, j = i + STRIDE[last][0], j + STRIDE[last][1]
    return pairs
