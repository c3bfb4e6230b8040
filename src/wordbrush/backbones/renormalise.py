"""Edited maps divided by their sums: what a layer returns stays as long as the network has learned it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wordbrush.backbones.base import AttentionCall, Mix


@dataclass(frozen=True, eq=False)
class Renormalised:
    """A mix whose maps are divided, for some targets, by what a mix of magnitudes makes of values of 1.

    That sum is one more attention call, over values that are all alike; no map is held in memory here either.

    Args:
        mix: of the whole batch.
        magnitude: of the edited branch alone.
        edited: the rows of that branch, the source first.
        targets: whose maps are divided, counted from 0.
    """

    mix: Mix
    magnitude: Mix
    edited: slice
    targets: Sequence[int]

    @property
    def is_identity(self) -> bool:
        """True if nothing would change."""
        return self.mix.is_identity

    @property
    def borrows(self) -> bool:
        """Whether some row attends as the source does."""
        return self.mix.borrows

    def __call__(self, call: AttentionCall) -> Tensor:
        """Compute the edited attention of the whole batch: (rows, heads, queries, channels)."""
        out = self.mix(call)
        sums = self.magnitude(call.on(self.edited, torch.ones_like(call.value[self.edited])))
        # Where nothing at all is attended to, 0 is divided by the least number that there is.
        least = torch.finfo(sums.dtype).tiny
        divided = out.clone() if out.requires_grad else out
        for target in self.targets:
            divided[self.edited.start + 1 + target].div_(sums[1 + target].clamp(min=least))
        return divided
