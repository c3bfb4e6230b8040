"""The network that a picture was inverted with, known again by a sample of its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from wordbrush.backbones.base import uncompiled
from wordbrush.errors import InvalidInput

if TYPE_CHECKING:
    from wordbrush.models import Model

# How many values of every tensor of weights are compared: gigabytes are known by some thousand numbers.
SAMPLES = 4
# How far they may be off, relative to their norm: what adapters leave behind when they are taken out again.
TOLERANCE = 8 * torch.finfo(torch.float32).eps


@dataclass(frozen=True)
class Network:
    """What a network is recognised by.

    Args:
        model: what the model was loaded as.
        kind: the class of the network.
        dtype: what it computed in, as ``"float32"``.
        weights: the first and the last value of every tensor of weights, and some between, in float32.
    """

    model: str
    kind: str
    dtype: str
    weights: tuple[float, ...]

    @classmethod
    @torch.no_grad()
    def of(cls, model: Model) -> Network:
        """Take the sample from a model."""
        network = uncompiled(model.unet)
        tensors = [one.detach().flatten() for one in network.parameters() if one.is_floating_point()]
        values = [
            one[[number * (len(one) - 1) // (SAMPLES - 1) for number in range(SAMPLES)]].float()
            for one in tensors
        ]
        dtype = str(model.dtype).removeprefix("torch.")
        return cls(model.name, type(network).__name__, dtype, tuple(torch.cat(values).tolist()))

    def check(self, model: Model) -> None:
        """Raise ``InvalidInput`` if a model is known to have another network; its dtype may be another."""
        now = Network.of(model)
        if now.kind == self.kind and len(now.weights) == len(self.weights) and self._same(now):
            return
        if now.model == self.model:
            raise InvalidInput(
                f"the picture was inverted with other weights of {self.model} than it has now: invert it again"
            )
        raise InvalidInput(
            f"the picture was inverted with {self.model} ({self.kind}), not with {now.model} ({now.kind}): invert it "
            "again"
        )

    def _same(self, other: Network) -> bool:
        a, b = (torch.tensor(one.weights, dtype=torch.float64) for one in (self, other))
        precision = max(torch.finfo(getattr(torch, one.dtype)).eps for one in (self, other))
        allowed = TOLERANCE if self.dtype == other.dtype else max(TOLERANCE, precision)
        return bool((a - b).norm() <= allowed * b.norm())
