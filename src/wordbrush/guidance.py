"""Guidance: which conditions the network is asked under, and how the answers are combined."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Protocol

from wordbrush.errors import InvalidInput

if TYPE_CHECKING:
    from torch import Tensor


class Guidance(Protocol):
    """Named branches, each a copy of the whole batch, and one way to combine their predictions."""

    @property
    def branches(self) -> tuple[str, ...]:
        """The names, in the order of the batch; attention is edited in the branch named ``"cond"``."""
        ...

    def combine(self, predictions: tuple[Tensor, ...]) -> Tensor:
        """Combine one prediction per branch, (samples, C, h, w) each."""
        ...


@dataclass(frozen=True)
class ClassifierFree:
    """Classifier-free guidance (arXiv:2207.12598): uncond + scale · (cond - uncond). It never switches itself off."""

    scale: float
    branches = ("uncond", "cond")

    def __post_init__(self) -> None:
        _check(self.scale)

    def combine(self, predictions: tuple[Tensor, ...]) -> Tensor:
        """Combine the unconditional and the conditional prediction, (samples, C, h, w) each."""
        uncond, cond = predictions
        return uncond + self.scale * (cond - uncond)


@dataclass(frozen=True)
class Unguided:
    """The conditional prediction alone, as with a scale of 1: for models that were distilled to need no guidance."""

    branches = ("cond",)
    scale = 1.0

    def combine(self, predictions: tuple[Tensor, ...]) -> Tensor:
        """Return the only prediction, (samples, C, h, w)."""
        (cond,) = predictions
        return cond


@dataclass(frozen=True)
class Distilled:
    """Guidance distilled into the network, which is told the scale (arXiv:2210.03142): FLUX.1-dev and LCM.

    It asks for one prediction, so there is no negative prompt.
    """

    scale: float
    branches = ("cond",)

    def __post_init__(self) -> None:
        _check(self.scale)

    def combine(self, predictions: tuple[Tensor, ...]) -> Tensor:
        """Return the only prediction, (samples, C, h, w)."""
        (cond,) = predictions
        return cond


def _check(scale: object) -> None:
    if isinstance(scale, bool) or not isinstance(scale, Real) or not math.isfinite(scale):
        raise InvalidInput(f"the guidance scale must be a finite number such as 7.5, not {scale!r}")
