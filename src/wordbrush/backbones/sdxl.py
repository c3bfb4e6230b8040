"""Stable Diffusion XL: a U-Net with two CLIP text encoders.

Layout: the encoders' penultimate hidden states are put side by side, so that one token position is one word in both;
all keys of a cross site are text, as in Stable Diffusion 1. The second encoder's pooled output and the size of the
picture condition the time embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wordbrush.backbones.base import Text
from wordbrush.backbones.text import read_alike, token_ids
from wordbrush.backbones.unet import UNetBackbone
from wordbrush.edits.prompt import Prompt

DEFAULTS = {"guidance": 5.0, "scheduler": "euler"}


class SDXLBackbone(UNetBackbone):
    """The U-Net of Stable Diffusion XL.

    Args:
        parts: ``text_encoder``, ``tokenizer``, ``text_encoder_2``, ``tokenizer_2`` and, if so configured,
            ``force_zeros_for_empty_prompt``: an empty negative prompt is then zeros, as the model was trained.
        factor: pixels per latent pixel.
    """

    def __init__(self, network: nn.Module, parts: Mapping[str, Any], factor: int) -> None:
        super().__init__(network, parts["text_encoder"], parts["tokenizer"])
        self._encoders = (parts["text_encoder"], parts["text_encoder_2"])
        self._tokenizers = (parts["tokenizer"], parts["tokenizer_2"])
        self._zeros = bool(parts.get("force_zeros_for_empty_prompt", True))
        self._factor = factor

    def read(self, text: str) -> Prompt:
        """Tokenize a prompt.

        Raises:
            PromptTooLong: it does not fit the text encoders.
            ModelError: the two tokenizers cut it differently.
        """
        return read_alike(text, self._tokenizers, length=self.text_length)

    def encode(self, prompts: Sequence[Prompt]) -> Text:
        """Return ``encoder_hidden_states`` (prompts, tokens, channels) and ``text_embeds`` (prompts, channels)."""
        outputs = [
            encoder(token_ids(prompts, tokenizer, encoder), output_hidden_states=True)
            for encoder, tokenizer in zip(self._encoders, self._tokenizers, strict=True)
        ]
        hidden = torch.cat([output.hidden_states[-2].to(outputs[-1][0].device) for output in outputs], dim=-1)
        pooled = outputs[-1][0]
        if self._zeros:
            kept = torch.tensor([bool(prompt.text) for prompt in prompts]).to(hidden)
            hidden, pooled = hidden * kept[:, None, None], pooled * kept[:, None]
        return {"encoder_hidden_states": hidden, "text_embeds": pooled}

    def predict(self, latents: Tensor, timestep: Tensor, text: Text) -> Tensor:
        """Return the network's raw prediction, (rows, C, h, w), of an uncropped picture."""
        height, width = (side * self._factor for side in latents.shape[-2:])
        sizes = torch.tensor([[height, width, 0, 0, height, width]]).to(latents).expand(len(latents), -1)
        given = {name: rows for name, rows in text.items() if name != "text_embeds"}
        added = {"text_embeds": text["text_embeds"], "time_ids": sizes}
        return self._call(latents, timestep, given, added_cond_kwargs=added)
