"""The fader: one word's attention turned up or down (arXiv:2208.01626, section 3.2, "attention re-weighting")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from wordbrush.checks import is_number
from wordbrush.edits.mix import TokenMix
from wordbrush.edits.prompt import Prompt, WordLike, named
from wordbrush.edits.window import Scheduled, Until
from wordbrush.errors import InvalidInput


@dataclass(frozen=True)
class Reweight(Scheduled):
    """Multiply the attention maps of some target words; the maps are not renormalised.

    Args:
        strengths: word → factor. 1 changes nothing, 0 removes the word's attention, negative values are allowed;
            the paper uses [-2, 2]. All tokens of a word get the factor; factors of overlapping phrases multiply.
        until: the steps in which the factors act, as for ``Replace``.
    """

    strengths: Mapping[WordLike, float]
    until: Until = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.strengths, Mapping) or not self.strengths:
            raise InvalidInput(
                f'Reweight needs words and factors, as in {{"snow": 2.0}}, not {self.strengths!r}'
            )
        for word, strength in self.strengths.items():
            if not is_number(strength):
                raise InvalidInput(
                    f"the strength of {named(word)!r} must be a finite number, not {strength!r}"
                )
        object.__setattr__(self, "strengths", dict(self.strengths))  # the caller's may change later

    @property
    def words(self) -> tuple[WordLike, ...]:
        """The words this edit names; each must occur in at least one of its targets."""
        return (*self.strengths, *super().words)

    def fold(self, mix: TokenMix, gate: np.ndarray, *, source: Prompt, target: Prompt) -> TokenMix:
        """Apply the edit on top of ``mix``."""
        factors = np.ones(target.length)
        for word, strength in self.strengths.items():
            if target.has(word):
                factors[list(target.find(word))] *= strength
        return mix.scaled(factors, gate)

    def describe(self) -> str:
        """Say in one line what the edit does."""
        factors = ", ".join(f"{named(word)} × {strength:g}" for word, strength in self.strengths.items())
        return f"re-weight: {factors}, steps {self.schedule}"
