"""The fader: one word's attention turned up or down (arXiv:2208.01626, section 3.2, "attention re-weighting").

As published, the maps are multiplied and no more. A word turned up then makes what the layer returns longer than any
that the network has seen, and the picture falls apart before the word has its way; divided by its sums, the map takes
from the other words what it gives to this one, and stays a share of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from wordbrush.checks import is_number
from wordbrush.edits.mix import TokenMix
from wordbrush.edits.prompt import Prompt, WordLike, named
from wordbrush.edits.window import Scheduled, Until
from wordbrush.errors import InvalidInput


@dataclass(frozen=True)
class Reweight(Scheduled):
    """Multiply the attention maps of some target words.

    Args:
        strengths: word → factor. 1 changes nothing, 0 removes the word's attention, negative values are allowed;
            the paper uses [-2, 2]. All tokens of a word get the factor; factors of overlapping phrases multiply.
        until: the steps in which the factors act, as for ``Replace``.
        renormalise: False multiplies and no more, as published. True divides every row of the map by the sum of its
            magnitudes afterwards, at the cost of a second attention call. None is the model's default, which is False
            unless it says otherwise.

    Raises:
        InvalidInput: no words, a strength that is no finite number, another ``renormalise``, or a window that makes no
            sense.
    """

    strengths: Mapping[WordLike, float]
    until: Until = 1.0
    renormalise: bool | None = None

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
        if self.renormalise is not None and not isinstance(self.renormalise, bool):
            raise InvalidInput(f"renormalise is True, False or None, not {self.renormalise!r}")
        object.__setattr__(self, "strengths", dict(self.strengths))  # the caller's may change later

    def settled(self, *, renormalise: bool) -> Reweight:
        """Return the edit with ``renormalise`` where it leaves that open."""
        return self if self.renormalise is not None else replace(self, renormalise=renormalise)

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
        return mix.scaled(factors, gate, renormalised=bool(self.renormalise))

    def describe(self) -> str:
        """Say in one line what the edit does."""
        factors = ", ".join(f"{named(word)} × {strength:g}" for word, strength in self.strengths.items())
        summed = ", maps renormalised" if self.renormalise else ""
        return f"re-weight: {factors}{summed}, steps {self.schedule}"
