"""Refinement: words common to both prompts attend as in the source, all others on their own (arXiv:2208.01626, 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wordbrush.edits.align import transfer
from wordbrush.edits.mix import TokenMix
from wordbrush.edits.prompt import Prompt
from wordbrush.edits.window import Scheduled, Until


@dataclass(frozen=True)
class Refine(Scheduled):
    """Words found in both prompts take the source's maps; added and swapped words keep their own.

    Args:
        until: the steps in which the source's maps are used, as for ``Replace``.
    """

    until: Until = 0.8

    def fold(self, mix: TokenMix, gate: np.ndarray, *, source: Prompt, target: Prompt) -> TokenMix:
        """Apply the edit on top of ``mix``."""
        return mix.transferred(*transfer(source, target, swaps=False), gate)

    def describe(self) -> str:
        """Say in one line what the edit does."""
        return f"refine: words common to both prompts attend as in the source, steps {self.schedule}"
