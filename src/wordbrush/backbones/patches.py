"""Latents as a sequence of 2 × 2 patches, as FLUX.1 and Qwen-Image take them."""

from __future__ import annotations

from torch import Tensor


def pack(latents: Tensor) -> Tensor:
    """Return (n, C, h, w) latents as a sequence of 2 × 2 patches, (n, h/2 · w/2, 4 C)."""
    patches = latents.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))  # n, C, h/2, 2, w/2, 2
    return patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpack(sequence: Tensor, height: int, width: int) -> Tensor:
    """Return a sequence of 2 × 2 patches, (n, h/2 · w/2, 4 C), as (n, C, h, w) latents."""
    patches = sequence.unflatten(1, (height // 2, width // 2)).unflatten(3, (-1, 2, 2))
    return patches.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
