"""The algebra of attention edits: every edit is linear in the attention maps.

With P the source's attention map and Q the target's own, both (pixels, tokens), an edited map is

    Q' = P A + Q diag(b)        so that        Q' V = P (A V) + Q (b ⊙ V),

where A is (source tokens, target tokens) and b is (target tokens,). Edits compose by folding over the
identity A = 0, b = 1, and fused attention can compute both terms without ever holding a map.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class TokenMix:
    """One target's edited map at one step: ``from_source`` is A above, (L, L), and ``own`` is b, (L,)."""

    from_source: np.ndarray
    own: np.ndarray

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
        return TokenMix(
            self.from_source * (1 - gate) + transfer * gate,
            self.own * (1 - gate) + kept * gate,
        )

    def scaled(self, strength: np.ndarray, gate: np.ndarray) -> TokenMix:
        """Multiply the maps of tokens with gate g by their strength, (target tokens,), without renormalising."""
        factor = 1 + gate * (strength - 1)
        return TokenMix(self.from_source * factor, self.own * factor)

    @property
    def is_identity(self) -> bool:
        """True if the target's own attention is unchanged."""
        return not self.from_source.any() and bool((self.own == 1).all())
