"""Edited attention on fused kernels: Q' V = P (A V) + Q (b ⊙ V), with no attention map ever held in memory.

A is folded into the values of the source's attention P, b into those of the row's own attention Q (see
``wordbrush.edits.mix``). A row that needs only one of the two terms costs nothing extra: it takes part in the one
call of the whole batch, with the source's queries and keys in place of its own where the term is P's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from wordbrush.backbones.base import AttentionCall, Layout
from wordbrush.edits.mix import TokenMix


@dataclass(frozen=True, eq=False)
class RowMatrices:
    """A matrix over tokens for some rows of the batch: ``rows`` selects n of them, (n, 1, tokens, tokens)."""

    rows: slice | Tensor
    matrices: Tensor

    def of(self, value: Tensor) -> Tensor:
        """Return the transformed values of these rows, (n, heads, tokens, channels)."""
        return self.matrices @ value[self.rows]

    def like(self, value: Tensor) -> RowMatrices:
        """Return the same on the device and in the dtype of ``value``."""
        rows = self.rows if isinstance(self.rows, slice) else self.rows.to(value.device)
        return RowMatrices(rows, self.matrices.to(value))


@dataclass(frozen=True, eq=False)
class ValueMix:
    """What one step does at every site of a kind.

    It follows the values of a call in device and dtype, which autocast, offloading and layerwise casting make differ
    from those of the weights.

    Args:
        lenders: (rows,) the row each row attends as; None if every row attends as itself.
        scale: (rows, 1, tokens, 1) factors of the values, or None.
        moved: rows of the batch call whose values are transformed, or None.
        second: rows that attend as the source too, in a call whose result is added; or None.
        source: the row of the source.
    """

    lenders: Tensor | None = None
    scale: Tensor | None = None
    moved: RowMatrices | None = None
    second: RowMatrices | None = None
    source: int = 0
    _placed: dict[tuple[torch.device, torch.dtype], ValueMix] = field(
        default_factory=dict, init=False, repr=False
    )

    @classmethod
    def injecting(cls, layout: Layout, cond: Collection[int], everywhere: Collection[int]) -> ValueMix:
        """Return the mix in which targets, counted from 0, attend as the source: self-attention injection.

        Args:
            cond: those that do in the conditional branch only.
            everywhere: those that do in every branch, there as that branch's row of the source.
        """
        if not cond and not everywhere:
            return cls()
        lenders = _lenders(layout, [layout.targets[target] for target in cond])
        for branch in layout.branches if everywhere else ():
            first = layout.rows_of(branch).start
            lenders[[first + 1 + target for target in everywhere]] = first
        return cls(lenders=lenders)

    @classmethod
    def of(cls, mixes: Sequence[TokenMix], layout: Layout) -> ValueMix:
        """Prepare one step's mixes, one per target."""
        by_row = dict(zip(layout.targets, mixes, strict=True))
        borrowing = [row for row, mix in by_row.items() if mix.from_source.any()]
        lending = [row for row in borrowing if not by_row[row].own.any()]
        twofold = [row for row in borrowing if by_row[row].own.any()]
        identity = np.eye(len(mixes[0].own))
        moving = [row for row in lending if not np.array_equal(by_row[row].from_source, identity)]

        def matrices(rows: list[int]) -> RowMatrices | None:
            if not rows:
                return None
            stack = np.stack([by_row[row].from_source for row in rows])[:, None]
            return RowMatrices(selector(rows), torch.tensor(stack))

        scale = np.ones((layout.rows, 1, len(identity), 1))
        for row in by_row.keys() - set(lending):
            scale[row, 0, :, 0] = by_row[row].own
        return cls(
            lenders=_lenders(layout, lending) if lending else None,
            scale=None if (scale == 1).all() else torch.tensor(scale),
            moved=matrices(moving),
            second=matrices(twofold),
            source=layout.source,
        )

    @property
    def is_identity(self) -> bool:
        """True if nothing would change."""
        return self.lenders is None and self.scale is None and self.moved is None and self.second is None

    @property
    def borrows(self) -> bool:
        """Whether some row attends as the source does."""
        return self.lenders is not None or self.second is not None

    def __call__(self, call: AttentionCall) -> Tensor:
        """Compute the edited attention of the whole batch: (rows, heads, queries, channels)."""
        place = (call.value.device, call.value.dtype)
        if place not in self._placed:
            self._placed[place] = self._like(call.value)
        return self._placed[place]._compute(call)

    def _like(self, value: Tensor) -> ValueMix:
        return replace(
            self,
            lenders=None if self.lenders is None else self.lenders.to(value.device),
            scale=None if self.scale is None else self.scale.to(value),
            moved=self.moved and self.moved.like(value),
            second=self.second and self.second.like(value),
        )

    def _compute(self, call: AttentionCall) -> Tensor:
        value = call.value
        if self.scale is not None:
            value = value * self.scale
        if self.moved is not None:
            value = value.clone()
            value[self.moved.rows] = self.moved.of(call.value)
        first = call.attending_as(self.lenders, value) if self.lenders is not None else call.with_value(value)
        out = first()
        if self.second is not None:
            out = out.clone() if out.requires_grad else out
            added = call.attending_as_row(self.source, self.second.of(call.value))()
            if isinstance(self.second.rows, slice):
                out[self.second.rows].add_(added)  # += would write the sum once more to where it stands
            else:
                out.index_add_(0, self.second.rows, added)
        return out


def _lenders(layout: Layout, borrowing: Sequence[int]) -> Tensor:
    rows = torch.arange(layout.rows)
    rows[list(borrowing)] = layout.source
    return rows


def selector(rows: Sequence[int]) -> slice | Tensor:
    """Return what selects ``rows``, as a slice (a view, no copy) where they follow each other."""
    if list(rows) == list(range(rows[0], rows[-1] + 1)):
        return slice(rows[0], rows[-1] + 1)
    return torch.tensor(rows)
