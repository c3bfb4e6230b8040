"""Averaged weights, which editors are used with."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def keep_at(update: int, decay: float) -> float:
    """Return the share of the old average that the n-th update keeps, n from 1: min(decay, (1 + n)/(10 + n))."""
    return min(decay, (1 + update) / (10 + update))


class Average:
    """An exponential moving average with the published warm-up.

    Args:
        parameters: what is averaged, by name; the average begins as a copy of them.
        decay: where ``keep_at`` ends.
    """

    def __init__(self, parameters: Mapping[str, Tensor], *, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.values = {name: parameter.detach().clone() for name, parameter in parameters.items()}

    @torch.no_grad()
    def update(self, parameters: Mapping[str, Tensor]) -> None:
        """Move the average towards ``parameters``."""
        self.updates += 1
        share = 1.0 - keep_at(self.updates, self.decay)
        for name, parameter in parameters.items():
            self.values[name].lerp_(parameter.detach(), share)
