"""The published Prompt-to-Prompt, quirk by quirk, for comparison; ``docs/differences.md`` lists where ours differs.

    recipe = wb.published.stable("replace", cross_replace_steps=0.8, self_replace_steps=0.4)
    wb.edit(model, source, to=target, edits=recipe, seed=3)

Three notebooks were published, with different rules: ``stable`` (Stable Diffusion), ``ldm`` (latent diffusion) and
``nulltext`` (inverted pictures). Words are compared as they stand between single spaces, punctuation and case included;
every occurrence counts, and words that do not occur are ignored. Token positions are those of the padded 77; those of
re-weighted words are looked up in one prompt, and used for every target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from wordbrush.checks import is_number
from wordbrush.edits.mix import TokenMix
from wordbrush.edits.plan import Edits, Recipe
from wordbrush.edits.prompt import Prompt
from wordbrush.edits.published_tokens import check_tokens, find, refine_mapper, replace_matrix
from wordbrush.edits.self_attention import SelfAttention
from wordbrush.edits.window import DEFAULT_WORD, Clock, Fraction, Rounding, Schedule, Window
from wordbrush.errors import InvalidInput, nearest

Kind = Literal["replace", "refine", "reweight", "replace+reweight", "refine+reweight"]
Steps = Fraction | Mapping[str, Fraction]


@dataclass(frozen=True)
class CrossSchedule:
    """``cross_replace_steps``: a table of nominal steps + 1 rows; words not in a mapping are always on."""

    steps: Steps

    def __post_init__(self) -> None:
        for steps in self.steps.values() if isinstance(self.steps, Mapping) else (self.steps,):
            Window.of(steps)

    def gates(self, target: Prompt, clock: Clock) -> np.ndarray:
        """Return the gates, (evaluations, tokens)."""
        mapping = self._mapping
        gates = np.zeros((clock.evaluations, target.length))
        gates[self._rows(mapping.get(DEFAULT_WORD, 1.0), clock)] = 1.0
        for word, steps in mapping.items():
            columns = list(find(target, word)) if word != DEFAULT_WORD else []
            gates[:, columns] = 0.0
            gates[np.ix_(self._rows(steps, clock), columns)] = 1.0
        return gates

    @property
    def _mapping(self) -> Mapping[str, Fraction]:
        return self.steps if isinstance(self.steps, Mapping) else {DEFAULT_WORD: self.steps}

    def _rows(self, steps: Fraction, clock: Clock) -> list[int]:
        return list(Window.of(steps).steps(clock, Rounding.PUBLISHED_CROSS))

    def __str__(self) -> str:
        windows = {word: Window.of(steps) for word, steps in self._mapping.items()}
        rest = windows.pop(DEFAULT_WORD, Window())
        return f"{Schedule(rest, tuple(windows.items()))}, as int(f·(n + 1))"


@dataclass(frozen=True)
class Transfer:
    """The source's maps for the target's tokens, by the published rule of one kind of edit."""

    kind: Literal["replace", "refine", "reweight"]
    schedule: CrossSchedule
    words = ()

    def fold(self, mix: TokenMix, gate: np.ndarray, *, source: Prompt, target: Prompt) -> TokenMix:
        """Apply the edit on top of ``mix``."""
        return mix.transferred(*self.matrix(source, target), gate)

    def matrix(self, source: Prompt, target: Prompt) -> tuple[np.ndarray, np.ndarray]:
        """Return what ``TokenMix.transferred`` takes: M, (source tokens, target tokens), and k, (target tokens,).

        Raises:
            InvalidInput: prompts that the published code cannot relate.
        """
        if self.kind == "refine":
            mapper, aligned = refine_mapper(source, target)
            matrix = np.zeros((source.length, target.length))
            matrix[mapper, np.arange(target.length)] = aligned
            return matrix, 1 - aligned
        check_tokens(source)
        matrix = replace_matrix(source, target) if self.kind == "replace" else np.eye(target.length)
        return matrix, np.zeros(target.length)

    def describe(self) -> str:
        """Say in one line what the edit does."""
        return f"published {self.kind}: tokens aligned by the published rule, steps {self.schedule}"


@dataclass(frozen=True)
class Equalizer:
    """Factors for all tokens of some words.

    Args:
        strengths: word → factor.
        prompt: the one in which the words are looked up; their token positions there are used for every target.
    """

    strengths: Mapping[str, float]
    schedule: CrossSchedule
    prompt: Prompt
    words = ()

    def factors(self, target: Prompt) -> np.ndarray:
        """Return the factor of every token, (tokens,)."""
        factors = np.ones(target.length)
        for word, strength in self.strengths.items():
            factors[list(find(self.prompt, word))] = strength
        return factors

    def fold(self, mix: TokenMix, gate: np.ndarray, *, source: Prompt, target: Prompt) -> TokenMix:
        """Apply the edit on top of ``mix``."""
        return mix.scaled(self.factors(target), gate)

    def describe(self) -> str:
        """Say in one line what the edit does."""
        factors = ", ".join(f"{word} × {strength:g}" for word, strength in self.strengths.items())
        return f"published re-weight: {factors}, steps {self.schedule}"


@dataclass(frozen=True)
class Chain:
    """The edits of a notebook: a transfer, and for some kinds a re-weighting after it.

    Args:
        transfer: the source's maps for the targets' tokens.
        strengths: word → factor, one mapping for each target or a single one for all; empty for no re-weighting.
        prompt: the number of the prompt in which the words of ``strengths`` are looked up for every target, counted
            from 0, which is the source.
    """

    transfer: Transfer
    strengths: tuple[Mapping[str, float], ...]
    prompt: int

    def __call__(self, source: Prompt, targets: Sequence[Prompt]) -> Edits:
        """Return the edits of these prompts.

        Raises:
            InvalidInput: prompts that the published code cannot relate, or another number of mappings than of targets.
        """
        for target in targets:
            self.transfer.matrix(source, target)
        if len(self.strengths) not in (0, 1, len(targets)):
            raise InvalidInput(
                f"equalizer lists {len(self.strengths)} mappings but there are {len(targets)} targets: give one for "
                "each, or a single one for all"
            )
        weighted = self.equalizers(source, targets)
        per_target = [[self.transfer, one] for one in weighted] or [[self.transfer]]
        return per_target if len(per_target) > 1 else per_target[0]

    def equalizers(self, source: Prompt, targets: Sequence[Prompt]) -> list[Equalizer]:
        """Return one re-weighting for every mapping of factors."""
        counted = (source, *targets)[self.prompt]
        return [Equalizer(one, self.transfer.schedule, counted) for one in self.strengths]


@dataclass(frozen=True)
class LocalBlend:
    """The published local blend: judged by the *edited* maps of the targets.

    The recipe that it is given to fills in None as its notebook has it; elsewhere None is as in ``stable``.

    Args:
        words: for every prompt, source first, a word or a list of words.
        threshold: relative to the map's maximum.
        start: the fraction of the run before which nothing is blended: ``int(start·n)`` steps. None for 0, and for 0.2
            in ``nulltext``.
        pooled: whether each map is widened by a 3 × 3 maximum first. None for True, and for False in ``ldm``, whose
            notebook computes the maximum and then does not use it.
        subtract: as ``words``, for regions that are taken out again; empty for none.
        subtract_threshold: their threshold.

    Raises:
        InvalidInput: no list of words, or a number out of its range.
    """

    words: Sequence[str | Sequence[str]]
    threshold: float = 0.3
    start: float | None = None
    pooled: bool | None = None
    subtract: Sequence[str | Sequence[str]] = ()
    subtract_threshold: float = 0.3
    edited_maps = True
    own_columns = False
    max_spread = 1.0
    unpaired_threshold = 0.0
    carried = False  # PNDM loses what was blended after its first evaluation

    def __post_init__(self) -> None:
        for words in (self.words, self.subtract):
            if isinstance(words, str) or not isinstance(words, Sequence):
                raise InvalidInput(
                    f"the words of a published blend are a list with those of every prompt, as in ['cat', 'dog'], not "
                    f"{words!r}"
                )
        for threshold in (self.threshold, self.subtract_threshold):
            if not is_number(threshold):
                raise InvalidInput(f"a blend threshold is a number in [0, 1), not {threshold!r}")
        if self.start is not None:
            Window.of((self.start, 1.0))

    def steps(self, clock: Clock) -> range:
        """Return the steps after which the pictures are blended."""
        return range(int((self.start or 0.0) * clock.nominal), clock.evaluations)

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
    """The Stable Diffusion notebook: self-attention up to 16², and a blend from the first step.

    ``"replace+reweight"`` and ``"refine+reweight"`` chain a re-weighting after the other edit, whose own windows are
    then ignored: those given here count for both. The words of ``equalizer`` are looked up in the first target, and
    their token positions there are used for all targets.

    Raises:
        InvalidInput: an unknown kind, a number out of its range, or an equalizer that is missing, of no use, or no
            mapping of words to numbers.
    """
    chain = _chain(kind, cross_replace_steps, _one(equalizer), prompt=1)
    return Recipe(chain, _self_attention(self_replace_steps, 16), _blend(local_blend, start=0.0, pooled=True))


def ldm(
    kind: Kind,
    *,
    cross_replace_steps: Steps = 0.8,
    self_replace_steps: Fraction = 0.2,
    equalizer: Sequence[Mapping[str, float]] | None = None,
    local_blend: LocalBlend | None = None,
) -> Recipe:
    """The latent-diffusion notebook: one mapping of factors per target, and maps of the blend that are not widened.

    A single mapping in the list is for all targets. Words are looked up in the source, and their token positions there
    are used for all targets. The rest is as in ``stable``, errors too.
    """
    if equalizer is not None and (
        isinstance(equalizer, str | Mapping) or not isinstance(equalizer, Sequence)
    ):
        raise InvalidInput(f"here equalizer is a list of mappings, one per target: [{equalizer!r}]")
    chain = _chain(kind, cross_replace_steps, tuple(equalizer or ()), prompt=0)
    return Recipe(
        chain, _self_attention(self_replace_steps, 16), _blend(local_blend, start=0.0, pooled=False)
    )


def nulltext(
    kind: Kind,
    *,
    cross_replace_steps: Steps = 0.8,
    self_replace_steps: Fraction = 0.5,
    equalizer: Mapping[str, float] | None = None,
    local_blend: LocalBlend | None = None,
) -> Recipe:
    """The null-text notebook: self-attention up to 32², and a blend after a fifth of the run; else as ``stable``."""
    chain = _chain(kind, cross_replace_steps, _one(equalizer), prompt=1)
    return Recipe(chain, _self_attention(self_replace_steps, 32), _blend(local_blend, start=0.2, pooled=True))


def _one(equalizer: Mapping[str, float] | None) -> tuple[Mapping[str, float], ...]:
    return () if equalizer is None else (equalizer,)


def _chain(kind: str, steps: Steps, equalizers: Sequence[Mapping[str, float]], *, prompt: int) -> Chain:
    if kind not in get_args(Kind):
        raise InvalidInput(
            f"there is no published edit {kind!r}{nearest(str(kind), get_args(Kind))}; there are "
            f"{', '.join(get_args(Kind))}"
        )
    weighted = kind.endswith("reweight")
    if weighted != bool(equalizers):
        raise InvalidInput(
            f"{kind!r} {'needs' if weighted else 'does not take'} an equalizer: {{word: factor}}"
        )
    for equalizer in equalizers:
        if not isinstance(equalizer, Mapping) or not equalizer or not all(map(is_number, equalizer.values())):
            raise InvalidInput(
                f"an equalizer maps words to finite numbers, as in {{'snow': 2.0}}, not {equalizer!r}"
            )
    first = kind.partition("+")[0]
    transfer = Transfer(first, CrossSchedule(steps))  # pyright: ignore[reportArgumentType]
    return Chain(transfer, tuple(dict(equalizer) for equalizer in equalizers), prompt)


def _self_attention(steps: Fraction, side: int) -> SelfAttention:
    return SelfAttention(steps, max_pixels=side**2, rounding=Rounding.PUBLISHED_SELF)


def _blend(given: LocalBlend | None, *, start: float, pooled: bool) -> LocalBlend | None:
    """Return the blend with what it leaves open as the notebook has it."""
    if given is None:
        return None
    if not isinstance(given, LocalBlend):
        raise InvalidInput(f"local_blend is a wordbrush.published.LocalBlend, not {given!r}")
    return replace(
        given,
        start=start if given.start is None else given.start,
        pooled=pooled if given.pooled is None else given.pooled,
    )
