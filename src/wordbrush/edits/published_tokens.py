"""How the published code finds a word's tokens, and which tokens of two prompts it takes for each other."""

from __future__ import annotations

import numpy as np

from wordbrush.checks import is_whole
from wordbrush.edits.prompt import Prompt
from wordbrush.errors import InvalidInput


def find(prompt: Prompt, word: str | int) -> tuple[int, ...]:
    """Return the token positions of all occurrences of a word between spaces, or of the word at a position.

    Tokens are counted off against the words by the length of their text, so double spaces shift what follows.
    """
    check_tokens(prompt)
    words = prompt.text.split(" ")
    chosen = {word} if is_whole(word) else {i for i, other in enumerate(words) if other == word}
    found, current, length = [], 0, 0
    for position, token in enumerate(prompt.tokens[1:-1], start=1):
        if current in chosen:
            found.append(position)
        length += len(token.text.strip("#"))
        if current < len(words) and length >= len(words[current]):
            current, length = current + 1, 0
    return tuple(found)


def check_tokens(prompt: Prompt) -> None:
    """Refuse prompts that the published code could not have counted off."""
    if prompt.sequences or not prompt.tokens or prompt.tokens[0].end > prompt.tokens[0].start:
        raise InvalidInput(
            "the published recipes count tokens as CLIP and BERT make them, with one before the first word: use "
            "Replace, Refine or Reweight with this model"
        )


def replace_matrix(source: Prompt, target: Prompt) -> np.ndarray:
    """Return the transfer matrix (source tokens, target tokens) of a word swap.

    Words are compared by position. After the last swapped word the matrix is the identity in *target* positions: if
    the swap changed the number of tokens, all later words take the map of a neighbour.

    Raises:
        InvalidInput: the prompts have different numbers of words, or no tokens are counted off for a swapped one, as
            where spaces are doubled.
    """
    old, new = source.text.split(" "), target.text.split(" ")
    if len(old) != len(new):
        raise InvalidInput(
            f"the published word swap needs equally many words, but {source.text!r} has {len(old)} and "
            f"{target.text!r} has {len(new)}"
        )
    swapped = [k for k in range(len(new)) if old[k] != new[k]]
    swaps = [(_counted_off(source, k), _counted_off(target, k)) for k in swapped]
    matrix = np.zeros((source.length, target.length))
    i = j = 0
    while i < source.length and j < target.length:
        if not swaps:
            matrix[j, j] = 1.0
            i, j = i + 1, j + 1
        elif swaps[0][0][0] == i:
            olds, news = swaps.pop(0)
            same = len(olds) == len(news)
            matrix[np.ix_(olds, news)] = np.eye(len(olds)) if same else 1.0 / len(news)
            i, j = i + len(olds), j + len(news)
        else:
            matrix[i, j] = 1.0
            i, j = i + 1, j + 1
    return matrix


def _counted_off(prompt: Prompt, position: int) -> tuple[int, ...]:
    """Return the tokens of the word at a position. Raises ``InvalidInput`` if there are none."""
    found = find(prompt, position)
    if not found:
        raise InvalidInput(
            f"the published word swap counts words off between single spaces and finds no token for the word "
            f"{prompt.text.split(' ')[position]!r} in {prompt.text!r}: take out doubled and outer spaces and odd "
            "characters, or use Replace"
        )
    return found


def refine_mapper(source: Prompt, target: Prompt) -> tuple[np.ndarray, np.ndarray]:
    """Return for every target token the source token it is aligned with (or -1), and 1 where it is aligned.

    Needleman-Wunsch over token ids with gap 0, match 1, mismatch -1; a repeated token is aligned with its earliest
    possible place. Padding is the identity in *target* positions, not shifted.
    """
    check_tokens(source)
    old, new = ([token.id for token in prompt.tokens] for prompt in (source, target))
    score = np.zeros((len(old) + 1, len(new) + 1), dtype=int)
    for i, a in enumerate(old, 1):
        for j, b in enumerate(new, 1):
            score[i, j] = max(score[i, j - 1], score[i - 1, j], score[i - 1, j - 1] + (1 if a == b else -1))
    mapper, aligned = np.arange(target.length), np.ones(target.length)
    i, j = len(old), len(new)
    while j > 0:
        if i == 0 or score[i, j] == score[i, j - 1]:
            j -= 1
            mapper[j], aligned[j] = -1, 0.0
        elif score[i, j] == score[i - 1, j]:
            i -= 1
        else:
            i, j = i - 1, j - 1
            mapper[j] = i
    return mapper, aligned
