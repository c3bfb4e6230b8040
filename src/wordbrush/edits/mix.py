"""The algebra of attention edits: every edit is linear in the attention maps.

With P the source's attention map and Q the target's own, both (pixels, tokens), an edited map is

    Q' = P A + Q diag(b)        so that        Q' V = P (A V) + Q (b ⊙ V),

where A is (source tokens, target tokens) and b is (target tokens,). Edits compose by folding over the
identity A = 0, b = 1, and fused attention can compute both terms without ever holding a map.

Where words are turned up or down, the rows of Q' no longer sum to 1. A mix may ask for them to be divided by
P |A| 1 + Q |b|, what its own coefficients make of a map's sum of 1: with no coefficient below 0, that is their sum.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, eq=False)
class TokenMix:
    """One target's edited map at one step: ``from_source`` is A above, (L, L), and ``own`` is b, (L,).

    Args:
        renormalised: whether the rows of the edited map are divided by their sums of magnitudes.
    """

    from_source: np.ndarray
    own: np.ndarray
    renormalised: bool = False

    @classmethod
    def identity(cls, length: int) -> TokenMix:
        """Return the mix that leaves the target's own map as it is."""
        return cls(np.zeros((length, length)), np.ones(length))

    def transferred(self, transfer: np.ndarray, kept: np.ndarray, gate: np.ndarray) -> TokenMix:
        """Let tokens with gate g take the source's map: Q' = g (P M + k Q) + (1 - g) Q' so far.

        Args:
            transfer: M, (source tokens, target tokens).
            kept: k, (target tokens,): the share of its own map that a token keeps beside M.
            gate: g, (target tokens,), in [0, 1].
        """
        return replace(
            self,
            from_source=self.from_source * (1 - gate) + transfer * gate,
            own=self.own * (1 - gate) + kept * gate,
        )

    def scaled(self, strength: np.ndarray, gate: np.ndarray, *, renormalised: bool = False) -> TokenMix:
        """Multiply the maps of tokens with gate g by their strength, (target tokens,).

        Args:
            renormalised: have the edited maps divided by their sums, unless nothing is multiplied.
        """
        factor = 1 + gate * (strength - 1)
        changes = renormalised and bool((factor != 1).any())
        return TokenMix(self.from_source * factor, self.own * factor, self.renormalised or changes)

    @property
    def magnitude(self) -> TokenMix:
        """The mix of the magnitudes of its coefficients, which makes the sums of maps that sum to 1."""
        return TokenMix(np.abs(self.from_source), np.abs(self.own))

    @property
    def is_identity(self) -> bool:
        """True if the target's own attention is unchanged."""
        return not self.from_source.any() and bool((self.own == 1).all())
