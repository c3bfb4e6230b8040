"""Stable Diffusion 3 and 3.5: a transformer in which text and image attend to each other (arXiv:2403.03206).

Layout of a joint site: the image's positions first, then 77 of CLIP (two encoders side by side) and 256 of T5. A word
has tokens in both readings, and an edit of it acts on both. A pipeline may lack T5, the largest part of all: then there
are 256 zeros in its place, as in diffusers, and CLIP's reading is the only one. The first blocks of SD3.5 medium have a
second attention layer, of the image alone.

Defaults from public work: Shin et al. 2025 (arXiv:2508.07519, code SNU-VGILab/exploring-mmdit) let the target attend
as the source in all blocks and the first fifth of the steps, and found maps noisier the larger the network: they read
regions from the five blocks whose maps are clearest, found with a segmentation of generated pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wordbrush.backbones.base import Text
from wordbrush.backbones.text import read_alike, text_length, token_ids
from wordbrush.backbones.transformer import TransformerBackbone
from wordbrush.edits.prompt import Prompt, read_prompt

DEFAULTS = {"steps": 28, "guidance": 7.0, "scheduler": "flow", "until": 0.2, "self_attention": 0.2}
T5_LENGTH = 256
# (blocks, blocks with a second attention layer) → the five blocks with the clearest maps.
CLEAREST = {(24, 0): (4, 5, 7, 8, 9), (24, 13): (5, 7, 8, 9, 10), (38, 0): (16, 18, 20, 21, 24)}


class SD3Backbone(TransformerBackbone):
    """The transformer of Stable Diffusion 3.

    Args:
        parts: ``text_encoder``, ``text_encoder_2`` (CLIP), ``text_encoder_3`` (T5) and their tokenizers; T5 and its
            tokenizer may be None.
        factor: pixels per latent pixel.
    """

    text_first = False

    def __init__(self, network: nn.Module, parts: Mapping[str, Any], factor: int) -> None:
        super().__init__(network, {"transformer_blocks": {"attn": "joint", "attn2": "self"}})
        config = self.transformer.config
        self.map_blocks = CLEAREST.get((config.num_layers, len(config.dual_attention_layers)))
        self._encoders = (parts["text_encoder"], parts["text_encoder_2"])
        self._tokenizers = (parts["tokenizer"], parts["tokenizer_2"])
        self._t5, self._t5_tokenizer = parts["text_encoder_3"], parts["tokenizer_3"]
        self._zeros = config.joint_attention_dim

    def read(self, text: str) -> Prompt:
        """Tokenize a prompt for CLIP and, if it is there, for T5.

        Raises:
            PromptTooLong: it does not fit one of the encoders.
            ModelError: the two CLIP tokenizers cut it differently.
        """
        length = min(self._tokenizers[0].model_max_length, self._encoders[0].config.max_position_embeddings)
        clip = read_alike(text, self._tokenizers, length=length)
        if self._t5 is None:
            return Prompt.joined([clip, Prompt(text, (), T5_LENGTH)])
        return Prompt.joined(
            [clip, read_prompt(text, self._t5_tokenizer, length=text_length(self._t5_tokenizer, T5_LENGTH))]
        )

    def encode(self, prompts: Sequence[Prompt]) -> Text:
        """Return ``encoder_hidden_states`` (prompts, tokens, channels) and ``pooled_projections``."""
        clip = [prompt.sequences[0] for prompt in prompts]
        outputs = [
            encoder(token_ids(clip, tokenizer, encoder), output_hidden_states=True)
            for encoder, tokenizer in zip(self._encoders, self._tokenizers, strict=True)
        ]
        long = self._read_by_t5(prompts, outputs[0][0])
        short = torch.cat([output.hidden_states[-2].to(long) for output in outputs], dim=-1)
        short = F.pad(short, (0, long.shape[-1] - short.shape[-1]))
        return {
            "encoder_hidden_states": torch.cat([short, long], dim=1),
            "pooled_projections": torch.cat([output[0].to(long) for output in outputs], dim=-1),
        }

    def _read_by_t5(self, prompts: Sequence[Prompt], like: Tensor) -> Tensor:
        """Return T5's part of the text, (prompts, tokens, channels)."""
        if self._t5 is None:
            return like.new_zeros(len(prompts), T5_LENGTH, self._zeros)
        t5 = [prompt.sequences[1] for prompt in prompts]
        return self._t5(token_ids(t5, self._t5_tokenizer, self._t5))[0]

    def predict(self, latents: Tensor, timestep: Tensor, text: Text) -> Tensor:
        """Return the velocity, (rows, C, h, w)."""
        return self.network(latents, timestep=timestep.expand(len(latents)), **text, return_dict=False)[0]
