"""Edited attention where text and image attend to each other in one call: the joint attention of MM-DiT networks.

An image query's map has text columns and image columns. Word edits act on the text columns, self-attention injection
on the image columns, so with A and b as in ``wordbrush.edits.mix`` and w = 1 where the image columns are the source's,

    Q' V = P [A V_text ; w V_image] + Q [b ⊙ V_text ; (1 - w) V_image],

again on fused kernels and without a map in memory. Text queries keep their own attention: their maps say what the
words take from the picture and from each other, which Prompt-to-Prompt has no part in, and taking the source's there
shifts what the words mean (arXiv:2508.07519, sections 3 and 4, measured it on SD3 and FLUX.1).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from wordbrush.backbones.base import AttentionCall, Layout, text_and_image
from wordbrush.edits.mix import TokenMix


@dataclass(frozen=True, eq=False)
class Moved:
    """Source attention for some rows of the batch: ``rows`` (n,) attend as ``lenders`` (n,).

    ``matrices``, (n, 1, text, text), are applied to their text values, and ``image``, (n, 1, 1, 1), to the image's.
    """

    rows: Tensor
    lenders: Tensor
    matrices: Tensor
    image: Tensor

    def like(self, value: Tensor) -> Moved:
        """Return the same on the device and in the dtype of ``value``."""
        return Moved(
            self.rows.to(value.device),
            self.lenders.to(value.device),
            self.matrices.to(value),
            self.image.to(value),
        )


@dataclass(frozen=True, eq=False)
class JointMix:
    """What one step does at every joint site.

    Args:
        pixels: positions of the image, padding included; all others are text.
        text_first: whether these come before the image's.
        lenders: (rows,) the row each row's image attends as in the one call of the batch; None if all as themselves.
        scale: (rows, 1, text, 1) factors of the text values; where the longest text of a batch has fewer positions,
            the first ones count, here and in matrices.
        image: (rows, 1, 1, 1) factors of the image values: 0 where the image columns come from the second call.
        moved: rows of the first call whose text values are transformed, as their lenders' attention is not their own.
        second: rows that attend as the source too, in a call whose result is added.
    """

    pixels: int = 0
    text_first: bool = True
    lenders: Tensor | None = None
    scale: Tensor | None = None
    image: Tensor | None = None
    moved: Moved | None = None
    second: Moved | None = None
    _placed: dict[tuple[torch.device, torch.dtype], JointMix] = field(
        default_factory=dict, init=False, repr=False
    )

    @classmethod
    def of(
        cls,
        mixes: Sequence[TokenMix],
        cond: Collection[int],
        everywhere: Collection[int],
        *,
        layout: Layout,
        pixels: int,
        text_first: bool,
    ) -> JointMix:
        """Prepare one step.

        Args:
            mixes: one per target; none if no words are edited.
            cond: targets, counted from 0, whose image columns are the source's, in the conditional branch.
            everywhere: those of which it is so in every branch, there as in that branch's row of the source.
            layout: which row of the batch is what.
            pixels: positions of the image.
            text_first: whether the text's come before them.
        """
        words = dict(zip(layout.targets, mixes, strict=True)) if mixes else {}
        sources = {layout.targets[target]: layout.source for target in cond}
        for branch in layout.branches if everywhere else ():
            first = layout.rows_of(branch).start
            sources |= {first + 1 + target: first for target in everywhere}
        idle = TokenMix.identity(layout.text)
        touched = sorted(row for row in {*words, *sources} if row in sources or not words[row].is_identity)
        if not touched:
            return cls()
        by_row = {row: words.get(row, idle) for row in touched}
        borrowed = [row for row in touched if row in sources or by_row[row].from_source.any()]
        lent = [row for row in borrowed if row in sources and not by_row[row].own.any()]
        twofold = [row for row in borrowed if row not in lent]

        def moved(rows: list[int]) -> Moved | None:
            if not rows:
                return None
            stack = np.stack([by_row[row].from_source for row in rows])[:, None]
            lenders = torch.tensor([sources.get(row, layout.source) for row in rows])
            image = torch.tensor([float(row in sources) for row in rows]).view(-1, 1, 1, 1)
            return Moved(torch.tensor(rows), lenders, torch.tensor(stack), image)

        scale, image = np.ones((layout.rows, 1, layout.text, 1)), np.ones((layout.rows, 1, 1, 1))
        lenders = torch.arange(layout.rows)
        for row in touched:
            if row in lent:
                lenders[row] = sources[row]
            else:
                scale[row, 0, :, 0] = by_row[row].own
                image[row] = row not in sources
        return cls(
            pixels,
            text_first,
            lenders=lenders if lent else None,
            scale=torch.tensor(scale),
            image=torch.tensor(image),
            moved=moved(lent),
            second=moved(twofold),
        )

    @property
    def is_identity(self) -> bool:
        """True if nothing would change."""
        return self.scale is None

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

    def _like(self, value: Tensor) -> JointMix:
        return replace(
            self,
            lenders=None if self.lenders is None else self.lenders.to(value.device),
            scale=None if self.scale is None else self.scale.to(value),
            image=None if self.image is None else self.image.to(value),
            moved=self.moved and self.moved.like(value),
            second=self.second and self.second.like(value),
        )

    def _compute(self, call: AttentionCall) -> Tensor:
        assert self.scale is not None
        assert self.image is not None
        positions = call.key.shape[2]
        where_text, where_image = text_and_image(positions, self.pixels, text_first=self.text_first)
        words, picture = call.value[:, :, where_text], call.value[:, :, where_image]
        if call.mask is not None:
            words = words.masked_fill(~call.mask[..., where_text].transpose(-1, -2), 0)
        text = words.shape[2]
        looking = call.of_queries(where_image)
        own = words * self.scale[:, :, :text]
        if self.moved is not None:
            own[self.moved.rows] = self.moved.matrices[:, :, :text, :text] @ words[self.moved.rows]
        value = self._joined(own, picture * self.image)
        first = (
            looking.with_value(value) if self.lenders is None else looking.attending_as(self.lenders, value)
        )
        image = first()
        if self.second is not None:
            rows = self.second.rows
            matrices = self.second.matrices[:, :, :text, :text]
            value = self._joined(matrices @ words[rows], picture[rows] * self.second.image)
            image = image.clone() if image.requires_grad else image
            image[rows] += looking.attending_as(self.second.lenders, value)()
        return self._joined(call.of_queries(where_text)(), image)

    def _joined(self, text: Tensor, image: Tensor) -> Tensor:
        return torch.cat([text, image] if self.text_first else [image, text], dim=2)
