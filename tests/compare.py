"""How tests tell what an edit has moved."""

from __future__ import annotations

from torch import Tensor


def distance(a: Tensor, b: Tensor) -> float:
    """Return how far two tensors are apart, as a share of the second one's norm."""
    return float((a - b).norm() / b.norm())
