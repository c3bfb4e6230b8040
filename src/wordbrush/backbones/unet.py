"""``UNet2DConditionModel`` networks with one text encoder: Stable Diffusion 1 and 2, LDM, storybook."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wordbrush.backbones.base import Backbone, Site, Text, uncompiled
from wordbrush.backbones.text import token_ids
from wordbrush.edits.prompt import Prompt, read_prompt
from wordbrush.errors import ModelError
from wordbrush.guidance import ClassifierFree, Distilled, Guidance

Place = Literal["down", "mid", "up"]


class UNetBackbone(Backbone):
    """A U-Net whose ``attn1`` layers attend to the image and whose ``attn2`` layers attend to the text.

    All keys of a cross site are text tokens, in the order of the prompt's tokens.
    """

    def __init__(self, network: nn.Module, text_encoder: nn.Module, tokenizer: Any) -> None:
        self.network = network
        self.text_encoder: Any = text_encoder
        self.tokenizer = tokenizer
        self._unet = uncompiled(network)
        self.latent_channels: int = self._unet.config.in_channels
        size = self._unet.config.sample_size
        if size is None:
            raise ModelError(
                "the U-Net's configuration has no sample_size, the latent size it was trained for: set it in its "
                "config.json, for instance to 64 for pictures of 512 pixels"
            )
        self.native_latent_size: tuple[int, int] = (size, size) if isinstance(size, int) else tuple(size)

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """All attention layers in the order of the forward pass.

        Raises:
            ModelError: none of them attends to text.
        """
        sites: list[Site] = []
        blocks: dict[str, int] = {}
        for place, factor, prefix, part in self._blocks():
            for name, module in part.named_modules():
                path, _, layer = f"{prefix}.{name}".rpartition(".")
                if layer in ("attn1", "attn2"):
                    kind = "cross" if getattr(module, "is_cross_attention", False) else "self"
                    block = blocks.setdefault(path, len(blocks))
                    sites.append(Site(len(sites), f"{path}.{layer}", kind, place, factor, module, block))
        if not any(site.kind == "cross" for site in sites):
            raise ModelError("this U-Net has no cross-attention layers that could be edited")
        return tuple(sites)

    @cached_property
    def text_length(self) -> int:
        """The number of tokens the text encoder reads, padding included."""
        return min(self.tokenizer.model_max_length, self.text_encoder.config.max_position_embeddings)

    def read(self, text: str) -> Prompt:
        """Tokenize a prompt.

        Raises:
            PromptTooLong: it does not fit the text encoder.
        """
        return read_prompt(text, self.tokenizer, length=self.text_length)

    def encode(self, prompts: Sequence[Prompt]) -> Text:
        """Return ``encoder_hidden_states`` (prompts, tokens, channels): the encoder's last hidden state."""
        return {
            "encoder_hidden_states": self.text_encoder(token_ids(prompts, self.tokenizer, self.text_encoder))[
                0
            ]
        }

    def guide(self, scale: float) -> Guidance:
        """Return what a guidance scale means: an input of the network if it was distilled as LCM is."""
        return Distilled(scale) if self._unet.config.time_cond_proj_dim is not None else ClassifierFree(scale)

    def predict(self, latents: Tensor, timestep: Tensor, text: Text) -> Tensor:
        """Return the network's raw prediction, (rows, C, h, w)."""
        return self._call(latents, timestep, text)

    def _call(self, latents: Tensor, timestep: Tensor, text: Text, **added: Any) -> Tensor:
        given = dict(text)
        scale = given.pop("guidance", None)
        if scale is not None:
            channels = self._unet.config.time_cond_proj_dim
            added["timestep_cond"] = _scale_embedding(scale, channels).to(latents.dtype)
        return self.network(latents, timestep, **given, **added, return_dict=False)[0]

    def _blocks(self) -> Iterator[tuple[Place, int, str, nn.Module]]:
        """Walk the blocks with the factor by which each has reduced the latents."""
        factor = 1
        for index, block in enumerate(self._unet.down_blocks):
            yield "down", factor, f"down_blocks.{index}", block
            factor *= 2 if getattr(block, "downsamplers", None) else 1
        if self._unet.mid_block is not None:
            yield "mid", factor, "mid_block", self._unet.mid_block
        for index, block in enumerate(self._unet.up_blocks):
            yield "up", factor, f"up_blocks.{index}", block
            factor //= 2 if getattr(block, "upsamplers", None) else 1


def _scale_embedding(scale: Tensor, channels: int) -> Tensor:
    """Return (rows, channels) sines and cosines of guidance scales (rows,), as LCM was distilled with."""
    rates = torch.exp(
        torch.arange(channels // 2, device=scale.device) * (-math.log(10000) / (channels // 2 - 1))
    )
    angles = (scale - 1)[:, None] * 1000 * rates
    return F.pad(torch.cat([angles.sin(), angles.cos()], dim=1), (0, channels % 2))
