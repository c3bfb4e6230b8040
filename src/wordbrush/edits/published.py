"""The published Prompt-to-Prompt, quirk by quirk, for comparison; ``docs/differences.md`` lists where ours differs.

    recipe = wb.published.stable("replace", cross_replace_steps=0.8, self_replace_steps=0.4)
    wb.edit(model, source, to=target, edits=recipe, seed=3)

Three notebooks were published, with different rules: ``stable`` (Stable Diffusion), ``ldm`` (latent diffusion) and
``nulltext`` (inverted pictures). Words are compared as they stand between single spaces, punctuation and case included;
every occurrence counts, and words that do not occur are ignored. Token positions are those of the padded 77.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from wordbrush.edits.mix import TokenMix
from wordbrush.edits.plan import Edit, Recipe
from wordbrush.edits.prompt import Prompt
from wordbrush.edits.self_attention import SelfAttention
from wordbrush.edits.window import DEFAULT_WORD, Clock, Fraction, Rounding, Schedule, Window
from wordbrush.errors import InvalidInput

Kind = Literal["replace", "refine", "reweight", "replace+reweight", "refine+reweight"]
Steps = Fraction | Mapping[str, Fraction]


def find(prompt: Prompt, word: str | int) -> tuple[int, ...]:
    """Return the token positions of all occurrences of a word between spaces, or of the word at a position.

    Tokens are counted off against the words by the length of their text, so double spaces shift what follows.
    """
    _check_tokens(prompt)
    words = prompt.text.split(" ")
    chosen = {word} if isinstance(word, int) else {i for i, other in enumerate(words) if other == word}
    found, current, length = [], 0, 0
    for position, token in enumerate(prompt.tokens[1:-1], start=1):
        if current in chosen:
            found.append(position)
        length += len(token.text.strip("#"))
        if current < len(words) and length >= len(words[current]):
            current, length = current + 1, 0
    return tuple(found)


def _check_tokens(prompt: Prompt) -> None:
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
    """
    old, new = source.text.split(" "), target.text.split(" ")
    if len(old) != len(new):
        raise InvalidInput(
            f"the published word swap needs equally many words, but {source.text!r} has {len(old)} and "
            f"{target.text!r} has {len(new)}"
        )
    swaps = [(find(source, k), find(target, k)) for k in range(len(new)) if old[k] != new[k]]
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


def refine_mapper(source: Prompt, target: Prompt) -> tuple[np.ndarray, np.ndarray]:
    """Return for every target token the source token it is aligned with (or -1), and 1 where it is aligned.

    Needleman-Wunsch over token ids with gap 0, match 1, mismatch -1; a repeated token is aligned with its earliest
    possible place. Padding is the identity in *target* positions, not shifted.
    """
    _check_tokens(source)
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


@dataclass(frozen=True)
class CrossSchedule:
    """``cross_replace_steps``: a table of nominal steps + 1 rows; words not in a mapping are always on."""

    steps: Steps

    def gates(self, target: Prompt, clock: Clock) -> np.ndarray:
        """Return the gates, (evaluations, tokens)."""
        mapping = self.steps if isinstance(self.steps, Mapping) else {DEFAULT_WORD: self.steps}
        gates = np.zeros((clock.evaluations, target.length))
        gates[self._rows(mapping.get(DEFAULT_WORD, 1.0), clock)] = 1.0
        for word, steps in mapping.items():
            columns = list(find(target, word)) if word != DEFAULT_WORD else []
            gates[:, columns] = 0.0
            gates[np.ix_(self._rows(steps, clock), columns)] = 1.0
        return gates

    def _rows(self, steps: Fraction, clock: Clock) -> list[int]:
        return list(Window.of(steps).steps(clock, Rounding.PUBLISHED_CROSS))

    def __str__(self) -> str:
        return f"{Schedule.of(self.steps)}, as int(f·(n + 1))"


@dataclass(frozen=True)
class Transfer:
    """The source's maps for the target's tokens, by the published rule of one kind of edit."""

    kind: Literal["replace", "refine", "reweight"]
    schedule: CrossSchedule
    words = ()

    def fold(self, mix: TokenMix, gate: np.ndarray, *, source: Prompt, target: Prompt) -> TokenMix:
        """Apply the edit on top of ``mix``."""
        if self.kind == "refine":
            mapper, aligned = refine_mapper(source, target)
            matrix = np.zeros((source.length, target.length))
            matrix[mapper, np.arange(target.length)] = aligned
            return mix.transferred(matrix, 1 - aligned, gate)
        matrix = replace_matrix(source, target) if self.kind == "replace" else np.eye(target.length)
        return mix.transferred(matrix, np.zeros(target.length), gate)

    def describe(self) -> str:
        """Say in one line what the edit does."""
        return f"published {self.kind}: tokens aligned by the published rule, steps {self.schedule}"


@dataclass(frozen=True)
class Equalizer:
    """Factors for all tokens of some words.

    Args:
        strengths: word → factor.
        prompt: the prompt whose token positions are used for every target; None for each target's own.
    """

    strengths: Mapping[str, float]
    schedule: CrossSchedule
    prompt: Prompt | None = None
    words = ()

    def factors(self, target: Prompt) -> np.ndarray:
        """Return the factor of every token, (tokens,)."""
        factors = np.ones(target.length)
        for word, strength in self.strengths.items():
            factors[list(find(self.prompt or target, word))] = strength
        return factors

    def fold(self, mix: TokenMix, gate: np.ndarray, *, source: Prompt, target: Prompt) -> TokenMix:
        """Apply the edit on top of ``mix``."""
        return mix.scaled(self.factors(target), gate)

    def describe(self) -> str:
        """Say in one line what the edit does."""
        factors = ", ".join(f"{word} × {strength:g}" for word, strength in self.strengths.items())
        return f"published re-weight: {factors}, steps {self.schedule}"


@dataclass(frozen=True)
class LocalBlend:
    """The published local blend: judged by the *edited* maps of the targets.

    Args:
        words: for every prompt, source first, a word or a list of words.
        threshold: relative to the map's maximum.
        start: the fraction of the run before which nothing is blended: ``int(start·n)`` steps.
        pooled: False repeats the slip of the LDM notebook, which computes the 3 × 3 maximum and then does not use it.
        subtract: as ``words``, for regions that are taken out again; empty for none.
        subtract_threshold: their threshold.
    """

    words: Sequence[str | Sequence[str]]
    threshold: float = 0.3
    start: float = 0.0
    pooled: bool = True
    subtract: Sequence[str | Sequence[str]] = ()
    subtract_threshold: float = 0.3
    edited_maps = True
    own_columns = False
    max_spread = 1.0
    unpaired_threshold = 0.0

    def steps(self, clock: Clock) -> range:
        """Return the steps after which the pictures are blended."""
        return range(int(self.start * clock.nominal), clock.evaluations)

    def indicators(self, source: Prompt, targets: Sequence[Prompt]) -> np.ndarray:
        """Return 1 at the chosen words' tokens, (1 + targets, tokens, 1 or 2)."""
        prompts = (source, *targets)
        chosen = [self.words, self.subtract] if self.subtract else [self.words]
        marks = np.zeros((len(prompts), source.length, len(chosen)))
        for column, per_prompt in enumerate(chosen):
            if len(per_prompt) != len(prompts):
                raise InvalidInput(f"the blend has words for {len(per_prompt)} of {len(prompts)} prompts")
            for row, (prompt, words) in enumerate(zip(prompts, per_prompt, strict=True)):
                for word in [words] if isinstance(words, str) else words:
                    marks[row, list(find(prompt, word)), column] = 1.0
        return marks

    def describe(self) -> str:
        """Say in one line what it does."""
        return f"published blend: may change where {list(self.words)} attend above {self.threshold:g}"


def stable(
    kind: Kind,
    *,
    cross_replace_steps: Steps = 0.8,
    self_replace_steps: Fraction = 0.4,
    equalizer: Mapping[str, float] | None = None,
    local_blend: LocalBlend | None = None,
) -> Recipe:
    """The Stable Diffusion notebook: self-attention up to 16², blend from the first step (``LocalBlend(start=0)``).

    ``"replace+reweight"`` and ``"refine+reweight"`` chain a re-weighting after the other edit, whose own windows are
    then ignored: those given here count for both.
    """
    edits = _edits(kind, cross_replace_steps, [equalizer])[0]
    return Recipe(edits, _self_attention(self_replace_steps, 16), local_blend)


def ldm(
    kind: Kind,
    *,
    cross_replace_steps: Steps = 0.8,
    self_replace_steps: Fraction = 0.2,
    equalizer: Sequence[Mapping[str, float]] | None = None,
    local_blend: LocalBlend | None = None,
) -> Recipe:
    """The latent-diffusion notebook: one mapping of factors per target, and ``LocalBlend(pooled=False)``."""
    if isinstance(equalizer, Mapping):
        raise InvalidInput(f"here equalizer is a list of mappings, one per target: [{dict(equalizer)!r}]")
    edits = _edits(kind, cross_replace_steps, list(equalizer or [None]))
    return Recipe(edits if equalizer else edits[0], _self_attention(self_replace_steps, 16), local_blend)


def nulltext(
    kind: Kind,
    *,
    cross_replace_steps: Steps = 0.8,
    self_replace_steps: Fraction = 0.5,
    equalizer: Mapping[str, float] | None = None,
    local_blend: LocalBlend | None = None,
) -> Recipe:
    """The null-text notebook: self-attention up to 32², blend after a fifth of the run, ``LocalBlend(start=0.2)``."""
    edits = _edits(kind, cross_replace_steps, [equalizer])[0]
    return Recipe(edits, _self_attention(self_replace_steps, 32), local_blend)


def _edits(
    kind: str, steps: Steps, equalizers: Sequence[Mapping[str, float] | None]
) -> tuple[tuple[Edit, ...], ...]:
    """Return the edits for every mapping of factors."""
    schedule = CrossSchedule(steps)
    first, _, chained = kind.partition("+")
    if first not in ("replace", "refine", "reweight") or chained not in ("", "reweight"):
        raise InvalidInput(f"there is no published edit {kind!r}; there are {', '.join(Kind.__args__)}")
    weighted = "reweight" in (first, chained)
    if weighted != all(equalizers):
        raise InvalidInput(
            f"{kind!r} {'needs' if weighted else 'does not take'} an equalizer: {{word: factor}}"
        )
    transfer = Transfer(first, schedule)  # pyright: ignore[reportArgumentType]
    return tuple((transfer, *((Equalizer(e, schedule),) if e else ())) for e in equalizers)


def _self_attention(steps: Fraction, side: int) -> SelfAttention:
    return SelfAttention(steps, max_pixels=side**2, rounding=Rounding.PUBLISHED_SELF)
