"""Edited maps divided by their sums: what a layer returns stays as long as the network has learned it.

A sum is what attention makes of values of 1, one more attention call for each of the maps that are mixed; no map is
held in memory here either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from wordbrush.backbones.base import AttentionCall, Mix
from wordbrush.backbones.values import selector
from wordbrush.edits.mix import TokenMix


@dataclass(frozen=True, eq=False)
class Renormalised:
    """A mix whose maps are divided, for some rows, by their sums of magnitudes.

    Args:
        mix: of the whole batch.
        sums: an attention call of the whole batch → the sums of ``rows``, (rows, heads, queries, channels), the same
            in all channels.
        rows: whose maps are divided.
    """

    mix: Mix
    sums: Callable[[AttentionCall], Tensor]
    rows: Sequence[int]

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
        # Where nothing at all is attended to, 0 is divided by the least number that there is.
        sums = self.sums(call).clamp(min=torch.finfo(out.dtype).tiny)
        divided = out.clone() if out.requires_grad else out
        for row, total in zip(self.rows, sums, strict=True):
            divided[row].div_(total)
        return divided


@dataclass(frozen=True, eq=False)
class CrossSums:
    """Sums of maps over text: P |A| 1 + Q |b|, as in ``wordbrush.edits.mix``, of rows that need both or one.

    The values are the same at every call, and are laid out for attention once.

    Args:
        rows: n rows of the batch.
        source: the row whose attention is P.
        borrowed: (n, 1, tokens, 1), what P's columns count for: |A| 1; None if nothing, but not both of them.
        own: (n, 1, tokens, 1), what Q's count for: |b|; None if nothing.
    """

    rows: slice | Tensor
    source: int
    borrowed: Tensor | None
    own: Tensor | None
    _laid_out: dict[object, tuple[Tensor | None, Tensor | None]] = field(
        default_factory=dict, init=False, repr=False
    )

    @classmethod
    def of(cls, rows: Sequence[int], mixes: Sequence[TokenMix], source: int) -> CrossSums:
        """Return the sums of the maps of ``rows``, each of which is edited by the mix at its place."""

        borrowed, own = (
            torch.tensor(np.abs(np.stack(weights)))[:, None, :, None]
            for weights in (
                [np.abs(mix.from_source).sum(axis=1) for mix in mixes],
                [mix.own for mix in mixes],
            )
        )
        if not borrowed.any():
            return cls(selector(rows), source, None, own)
        return cls(selector(rows), source, borrowed, own if own.any() else None)

    def __call__(self, call: AttentionCall) -> Tensor:
        """Return (n, heads, queries, channels)."""
        value = call.value
        layout = (value.device, value.dtype, value.shape[1], value.shape[3])
        if layout not in self._laid_out:
            self._laid_out[layout] = (_values(self.borrowed, value), _values(self.own, value))
        borrowed, own = self._laid_out[layout]
        if borrowed is None:
            assert own is not None
            return call.on(self.rows, own)()
        lent = call.attending_as_row(self.source, borrowed)()
        return lent if own is None else lent + call.on(self.rows, own)()


def _values(columns: Tensor | None, value: Tensor) -> Tensor | None:
    """Return (n, 1, tokens, 1) numbers in all channels, which fused kernels want contiguous, and in all heads."""
    if columns is None:
        return None
    return columns.to(value).repeat(1, 1, 1, value.shape[3]).expand(-1, value.shape[1], -1, -1)


@dataclass(frozen=True, eq=False)
class JointSums:
    """Sums of maps over text and image, by a mix of magnitudes of the edited branch alone.

    Args:
        magnitude: what is done there to values.
        edited: the rows of that branch, the source first.
        targets: whose sums are asked for, counted from 0.
    """

    magnitude: Mix
    edited: slice
    targets: Sequence[int]

    def __call__(self, call: AttentionCall) -> Tensor:
        """Return (targets, heads, queries, channels)."""
        sums = self.magnitude(call.on(self.edited, torch.ones_like(call.value[self.edited])))
        return sums[[1 + target for target in self.targets]]
