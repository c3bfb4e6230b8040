"""PixArt-α and PixArt-Σ: a transformer of self-attention over patches and cross-attention to T5.

Layout: all keys of a cross site are T5 tokens, of which padding is masked. Prompts are read in lower case, as the
model was trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from wordbrush.backbones.base import Text
from wordbrush.backbones.text import lowered, text_length, token_ids, token_mask
from wordbrush.backbones.transformer import TransformerBackbone
from wordbrush.edits.prompt import Prompt, read_prompt

DEFAULTS = {"steps": 20, "guidance": 4.5, "scheduler": "dpm++"}
# Tokens that α and Σ were trained with; they differ in whether the size of the picture is an input.
ALPHA_LENGTH, SIGMA_LENGTH = 120, 300


class PixArtBackbone(TransformerBackbone):
    """The transformer of PixArt.

    Args:
        parts: ``text_encoder`` (T5), ``tokenizer``, and ``_class_name``, the class of pipeline it was saved as.
        factor: pixels per latent pixel.
    """

    def __init__(self, network: nn.Module, parts: Mapping[str, Any], factor: int) -> None:
        super().__init__(network, {"transformer_blocks": {"attn1": "self", "attn2": "cross"}})
        self._encoder, self._tokenizer = parts["text_encoder"], parts["tokenizer"]
        self._length = SIGMA_LENGTH if parts.get("_class_name") == "PixArtSigmaPipeline" else ALPHA_LENGTH
        self._factor = factor

    def read(self, text: str) -> Prompt:
        """Tokenize a prompt in lower case.

        Raises:
            PromptTooLong: it has more tokens than the model was trained with.
        """
        prompt = read_prompt(
            lowered(text), self._tokenizer, length=text_length(self._tokenizer, self._length)
        )
        return replace(prompt, text=text)

    def encode(self, prompts: Sequence[Prompt]) -> Text:
        """Return ``encoder_hidden_states`` (prompts, tokens, channels) and ``encoder_attention_mask``."""
        mask = token_mask(prompts, self._encoder)
        hidden = self._encoder(token_ids(prompts, self._tokenizer, self._encoder), attention_mask=mask)[0]
        return {"encoder_hidden_states": hidden, "encoder_attention_mask": mask.to(hidden.device)}

    def predict(self, latents: Tensor, timestep: Tensor, text: Text) -> Tensor:
        """Return the predicted noise, (rows, C, h, w), without the variance that some of these networks learned."""
        rows = len(latents)
        added: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}
        if self.transformer.use_additional_conditions:
            height, width = (side * self._factor for side in latents.shape[-2:])
            added["resolution"] = torch.tensor([[height, width]]).to(latents).expand(rows, -1)
            added["aspect_ratio"] = torch.tensor([[height / width]]).to(latents).expand(rows, -1)
        prediction = self.network(
            latents, timestep=timestep.expand(rows), **text, added_cond_kwargs=added, return_dict=False
        )[0]
        return prediction[:, : self.latent_channels]
