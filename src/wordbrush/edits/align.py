"""Which source words the words of a target prompt correspond to, and the transfer matrix that follows.

The alignment is a longest common subsequence of words (punctuation marks count as words). Among equally long
ones it prefers unbroken runs, then the earliest. What stands between two matches on both sides is a swap, on
one side only an addition or a deletion.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from itertools import pairwise

import numpy as np

from wordbrush.edits.prompt import Prompt

# A word swapped for a phrase: up to this many words share its map, a longer phrase is a swap and an addition.
PHRASE_WORDS = 3


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

    Where one prompt has more padding than the other, the rest of it corresponds to nothing.
    """
    anchors = [(-1, -1), *_common(_keys(source), _keys(target)), (len(source.units), len(target.units))]
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
    """Return the index pairs of the preferred longest common subsequence of ``a`` and ``b``."""
    match, run = 1 + len(a) + len(b), 1
    rows, columns = len(a) + 1, len(b) + 1
    # best[i, j, r]: the score of a[i:] against b[j:], r telling whether a[i-1] and b[j-1] were taken together.
    best = np.zeros((rows, columns, 2), dtype=np.int64)

    def together(i: int, j: int, running: int) -> int:
        same = a[i] == b[j]
        return int(best[i + 1, j + 1, 1]) + (match if same else 0) + (run if running else 0)

    for i in range(len(a) - 1, -1, -1):
        for j in range(len(b) - 1, -1, -1):
            apart = max(best[i + 1, j, 0], best[i, j + 1, 0])
            for running in (0, 1):
                best[i, j, running] = max(together(i, j, running), apart)

    pairs, i, j, running = [], 0, 0, 1
    while i < len(a) and j < len(b):
        if best[i, j, running] == together(i, j, running):
            if a[i] == b[j]:
                pairs.append((i, j))
            i, j, running = i + 1, j + 1, 1
        else:
            i, j = (i + 1, j) if best[i + 1, j, 0] >= best[i, j + 1, 0] else (i, j + 1)
            running = 0
    return pairs
