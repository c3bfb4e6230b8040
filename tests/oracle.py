"""Prompt-to-Prompt written out: explicit softmax maps, edited as matrices, one plain loop. Slow and easy to check.

Nothing here uses the engine under test: attention processors compute every map in full, and a test describes its
edits as functions of the maps.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from wordbrush.models import Model

# (step, source map, own map) -> edited map, all (heads, pixels, tokens).
CrossEdit = Callable[[int, Tensor, Tensor], Tensor]
# (step, target counted from 0) -> whether the target attends to itself as the source.
SelfEdit = Callable[[int, int], bool]
# (step, latents, maps summed so far) -> latents; the maps are (samples, pixels, tokens) over the chosen layers.
AfterStep = Callable[[int, Tensor, Tensor], Tensor]


@dataclass
class Oracle:
    """One edit of a model.

    Args:
        prompts: source first.
        cross: one function per target.
        read_pixels: cross-attention maps of this many pixels are summed for ``after_step``.
        read_edited: sum the targets' edited maps instead of their own.
        self_everywhere: self-attention in the unconditional half too, there as its own row of the source.
    """

    model: Model
    prompts: Sequence[str]
    cross: Sequence[CrossEdit]
    self_attention: SelfEdit = lambda step, target: False
    after_step: AfterStep = lambda step, latents, maps: latents
    read_pixels: int = 0
    read_edited: bool = False
    self_everywhere: bool = False
    maps: Tensor | None = field(default=None, init=False)
    step: int = field(default=0, init=False)

    @torch.no_grad()
    def run(
        self, noise: Tensor, scheduler: Any, *, steps: int, guidance: float, negative: str = ""
    ) -> Tensor:
        """Return the final latents, (samples, C, h, w), from unit noise (1, C, h, w)."""
        unet: Any = copy.deepcopy(self.model.unet)
        for name, module in unet.named_modules():
            if name.rsplit(".", 1)[-1] in ("attn1", "attn2"):
                module.set_processor(_Explicit(self))
        samples = len(self.prompts)
        text = self._encode([negative] * samples + list(self.prompts))
        scheduler = type(scheduler).from_config(scheduler.config)
        scheduler.set_timesteps(steps)
        latents = noise.expand(samples, -1, -1, -1) * scheduler.init_noise_sigma
        for self.step, timestep in enumerate(scheduler.timesteps):
            inputs = scheduler.scale_model_input(latents, timestep)
            prediction = unet(torch.cat([inputs, inputs]), timestep, encoder_hidden_states=text).sample
            uncond, cond = prediction.chunk(2)
            combined = uncond + guidance * (cond - uncond)
            latents = scheduler.step(combined, timestep, latents).prev_sample
            latents = self.after_step(self.step, latents, self.maps if self.maps is not None else latents)
        return latents

    def edited(self, kind: str, maps: Tensor) -> Tensor:
        """Edit the (2 × samples, heads, pixels, keys) maps of one layer."""
        samples = len(self.prompts)
        maps = maps.clone()
        own = maps[samples:].clone()
        for row in range(1, samples):
            if kind == "cross":
                maps[samples + row] = self.cross[row - 1](self.step, own[0], own[row])
            elif self.self_attention(self.step, row - 1):
                maps[samples + row] = own[0]
                if self.self_everywhere:
                    maps[row] = maps[0]
        if kind == "cross" and maps.shape[2] == self.read_pixels:
            read = (maps[samples:] if self.read_edited else own).mean(dim=1)
            self.maps = read if self.maps is None else self.maps + read
        return maps

    def _encode(self, texts: Sequence[str]) -> Tensor:
        tokenizer, encoder = self.model.tokenizer, self.model.text_encoder
        length = self.model.backbone.read("").length
        ids = tokenizer(texts, padding="max_length", max_length=length, return_tensors="pt").input_ids
        return encoder(ids)[0]


class _Explicit:
    """An attention processor that holds the whole map."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any
    ):
        kind = "self" if encoder_hidden_states is None else "cross"
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            project.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for project in (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
        )
        maps = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(dim=-1)
        out = self._oracle.edited(kind, maps) @ value
        return attn.to_out[0](out.transpose(1, 2).flatten(2))
