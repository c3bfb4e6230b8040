"""The published way of control, for comparison: every attention map is built, edited in place and stored.

Written from the description of the method, as a diffusers attention processor: softmax maps of all heads, the edit on
the conditional half, running sums of every map up to 32 x 32, values multiplied afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

STORED = 32**2  # pixels of the largest maps that are stored
INJECTED = 16**2  # pixels of the largest self-attention that is replaced


class Control:
    """A word swap in all steps: all targets attend as the source does, by cross- and by self-attention."""

    def __init__(self, mapper: Tensor) -> None:
        """``mapper`` is (tokens of the source, tokens of the target)."""
        self.mapper = mapper
        self.sums: dict[int, Tensor] = {}

    def edit(self, maps: Tensor, site: int, *, cross: bool, heads: int) -> None:
        """Edit the conditional half of ``maps``, (2 x samples x heads, pixels, keys), in place."""
        conditional = maps[maps.shape[0] // 2 :]
        if maps.shape[1] <= STORED:
            self.sums[site] = self.sums[site] + conditional if site in self.sums else conditional.clone()
        samples = conditional.view(-1, heads, *maps.shape[1:])
        if cross:
            samples[1:] = torch.einsum("hps,st->hpt", samples[0], self.mapper.to(maps))
        elif maps.shape[1] <= INJECTED:
            samples[1:] = samples[0]


class Processor:
    """The attention of one layer with its maps in the open."""

    def __init__(self, control: Control, site: int) -> None:
        self.control = control
        self.site = site

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        """Attend as ``attn`` does, with the edited maps."""
        cross = encoder_hidden_states is not None
        context = encoder_hidden_states if cross else hidden_states
        if attention_mask is not None:
            attention_mask = attn.prepare_attention_mask(attention_mask, context.shape[1], context.shape[0])
        query, key, value = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        query, key, value = (attn.head_to_batch_dim(part) for part in (query, key, value))
        maps = attn.get_attention_scores(query, key, attention_mask)
        self.control.edit(maps, self.site, cross=cross, heads=attn.heads)
        return attn.to_out[1](attn.to_out[0](attn.batch_to_head_dim(torch.bmm(maps, value))))


@contextmanager
def published_control(unet: Any, mapper: Tensor) -> Iterator[None]:
    """Put ``unet`` under published-style control; its own processors come back afterwards."""
    own = dict(unet.attn_processors)
    control = Control(mapper)
    unet.set_attn_processor({name: Processor(control, site) for site, name in enumerate(own)})
    try:
        yield
    finally:
        unet.set_attn_processor(own)
