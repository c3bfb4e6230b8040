"""Edited attention on fused kernels: Q' V = P (A V) + Q (b ⊙ V), with no attention map ever held in memory.

A is folded into the values of the source's attention P, b into those of the row's own attention Q (see
``wordbrush.edits.mix``). A row that needs only one of the two terms costs nothing extra: it takes part in the one
call of the whole batch, with the source's queries and keys in place of its own where the term is P's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wordbrush.backbones.base import AttentionCall, Layout
from wordbrush.edits.mix import TokenMix


@dataclass(frozen=True, eq=False)
class RowMatrices:
    """A matrix over tokens for some rows: ``rows`` (n,), ``matrices`` (n, 1, tokens, tokens)."""

    rows: Tensor
    matrices: Tensor

    def of(self, value: Tensor) -> Tensor:
        """Return the transformed values of these rows, (n, heads, tokens, channels)."""
        return self.matrices @ value.index_select(0, self.rows)


@dataclass(frozen=True, eq=False)
class ValueMix:
    """What one step does at every cross-attention site, as tensors on the device.

    Args:
        lenders: (rows,) the row each row attends as; None if every row attends as itself.
        scale: (rows, 1, tokens, 1) factors of the values, or None.
        moved: rows of the batch call whose values are transformed, or None.
        second: rows that attend as the source in a second call, added to the first, and its values; or None.
        source: (rows of ``second``,) the source's row, repeated.
    """

    lenders: Tensor | None = None
    scale: Tensor | None = None
    moved: RowMatrices | None = None
    second: RowMatrices | None = None
    source: Tensor | None = None

    @classmethod
    def injecting(cls, layout: Layout, device: torch.device) -> ValueMix:
        """Return the mix in which every target attends as the source: self-attention injection."""
        return cls(lenders=_lenders(layout, layout.targets).to(device))

    @classmethod
    def of(
        cls, mixes: Sequence[TokenMix], layout: Layout, *, device: torch.device, dtype: torch.dtype
    ) -> ValueMix:
        """Prepare one step's mixes, one per target."""
        borrowed = [bool(mix.from_source.any()) for mix in mixes]
        owned = [bool(mix.own.any()) for mix in mixes]
        rows = list(layout.targets)
        lending = [row for row, b, o in zip(rows, borrowed, owned, strict=True) if b and not o]
        twofold = [row for row, b, o in zip(rows, borrowed, owned, strict=True) if b and o]
        by_row = dict(zip(rows, mixes, strict=True))
        eye = np.eye(len(mixes[0].own))
        moving = [row for row in lending if not np.array_equal(by_row[row].from_source, eye)]

        def matrices(of_rows: list[int]) -> RowMatrices | None:
            if not of_rows:
                return None
            stack = np.stack([by_row[row].from_source for row in of_rows])[:, None]
            return RowMatrices(
                torch.tensor(of_rows, device=device), torch.tensor(stack, device=device, dtype=dtype)
            )

        scale = np.ones((layout.rows, len(mixes[0].own)))
        for row in set(rows) - set(lending):
            scale[row] = by_row[row].own
        scales = torch.tensor(scale[:, None, :, None], device=device, dtype=dtype)
        return cls(
            lenders=_lenders(layout, lending).to(device) if lending else None,
            scale=None if (scale == 1).all() else scales,
            moved=matrices(moving),
            second=matrices(twofold),
            source=torch.full((len(twofold),), layout.source, device=device) if twofold else None,
        )

    @property
    def is_identity(self) -> bool:
        """True if nothing would change."""
        return self.lenders is None and self.scale is None and self.moved is None and self.second is None

    def __call__(self, call: AttentionCall) -> Tensor:
        """Compute the edited attention of the whole batch: (rows, heads, queries, channels)."""
        value = call.value
        if self.scale is not None:
            value = value * self.scale
        if self.moved is not None:
            value = value.index_copy(0, self.moved.rows, self.moved.of(call.value))
        first = call.attending_as(self.lenders, value) if self.lenders is not None else call.with_value(value)
        if self.second is None or self.source is None:
            return first()
        return first().index_add(
            0, self.second.rows, call.attending_as(self.source, self.second.of(call.value))()
        )


def _lenders(layout: Layout, borrowing: Sequence[int]) -> Tensor:
    rows = torch.arange(layout.rows)
    rows[list(borrowing)] = layout.source
    return rows
