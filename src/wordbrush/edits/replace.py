"""Word swap: the target's words take the attention maps of the words they replace (arXiv:2208.01626, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wordbrush.edits.align import transfer
from wordbrush.edits.mix import TokenMix
from wordbrush.edits.prompt import Prompt
from wordbrush.edits.window import Scheduled, Until


@dataclass(frozen=True)
class Replace(Scheduled):
    """Kept and swapped words attend where the source's words do; added words keep their own maps.

    Args:
        until: the steps in which the source's maps are used: a fraction of the run, a pair (start, stop), or a
            mapping from words of the target to either. The others follow its ``"default_"``, or are held in all
            steps, as published, if it has none.
    """

    until: Until = 0.8

    def fold(self, mix: TokenMix, gate: np.ndarray, *, source: Prompt, target: Prompt) -> TokenMix:
        """Apply the edit on top of ``mix``."""
        return mix.transferred(*transfer(source, target, swaps=True), gate)

    def describe(self) -> str:
        """Say in one line what the edit does."""
        return f"replace: kept and swapped words attend as in the source, steps {self.schedule}"
