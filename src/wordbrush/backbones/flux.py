"""FLUX.1 dev and schnell: text and image in one sequence, in double blocks and then in single ones.

Layout of a joint site: 512 (dev) or 256 (schnell) tokens of T5 first, then the picture in patches of 2 × 2 latent
pixels. CLIP reads the prompt too, but only its pooled output is used. Guidance is distilled into dev, which takes the
scale as an input, and into schnell, which takes none.

Defaults from public work: Shin et al. 2025 (arXiv:2508.07519, code SNU-VGILab/exploring-mmdit) let the target attend
as the source in the first fifth of the steps and read regions from the five blocks whose maps are clearest, all of
them double blocks. They warn that all blocks together can hold FLUX and few-step models too close to the source: give
``blocks=`` fewer of them then.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wordbrush.backbones.base import Kind, Text, uncompiled
from wordbrush.backbones.patches import pack, unpack
from wordbrush.backbones.text import text_length, token_ids
from wordbrush.backbones.transformer import TransformerBackbone
from wordbrush.edits.prompt import Prompt, read_prompt
from wordbrush.errors import InvalidInput
from wordbrush.guidance import Distilled, Guidance, Unguided

DEFAULTS = {"steps": 28, "guidance": 3.5, "scheduler": "flow", "until": 0.2, "self_attention": 0.2}
SCHNELL_DEFAULTS = {**DEFAULTS, "steps": 4, "guidance": None}
LENGTH, SCHNELL_LENGTH = 512, 256
# The side of the latents of the 1024 × 1024 pictures it was trained for, which its configuration does not say.
NATIVE_SIDE = 128
# Its configuration calls a packed patch of the latents a channel.
PATCH = 2
# (double blocks, single blocks) → the five blocks with the clearest maps.
CLEAREST = {(19, 38): (11, 12, 14, 17, 18)}


class FluxBackbone(TransformerBackbone):
    """The transformer of FLUX.1.

    Args:
        parts: ``text_encoder`` (CLIP), ``text_encoder_2`` (T5) and their tokenizers.
        factor: pixels per latent pixel.
    """

    even_levels = True

    def __init__(self, network: nn.Module, parts: Mapping[str, Any], factor: int) -> None:
        config = uncompiled(network).config
        layers: Mapping[str, Kind] = {"attn": "joint"}
        super().__init__(
            network,
            {"transformer_blocks": layers, "single_transformer_blocks": layers},
            channels=config.in_channels // PATCH**2,
            side=NATIVE_SIDE,
            patch=PATCH,
        )
        self.map_blocks = CLEAREST.get((config.num_layers, config.num_single_layers))
        self._guided: bool = config.guidance_embeds
        self._clip, self._clip_tokenizer = parts["text_encoder"], parts["tokenizer"]
        self._t5, self._t5_tokenizer = parts["text_encoder_2"], parts["tokenizer_2"]
        self._length = text_length(self._t5_tokenizer, LENGTH if self._guided else SCHNELL_LENGTH)

    def read(self, text: str) -> Prompt:
        """Tokenize a prompt for T5.

        Raises:
            PromptTooLong: it has more tokens than the model was trained with.
        """
        return read_prompt(text, self._t5_tokenizer, length=self._length)

    def encode(self, prompts: Sequence[Prompt]) -> Text:
        """Return ``encoder_hidden_states`` (prompts, tokens, channels) and ``pooled_projections``."""
        hidden = self._t5(token_ids(prompts, self._t5_tokenizer, self._t5))[0]
        pooled = self._clip(self._summarised(prompts)).pooler_output
        return {"encoder_hidden_states": hidden, "pooled_projections": pooled.to(hidden)}

    def guide(self, scale: float) -> Guidance:
        """Return the scale as an input of dev; schnell has no such input.

        Raises:
            InvalidInput: a scale for a network that was distilled to need none.
        """
        if self._guided:
            return Distilled(scale)
        if scale == 1:
            return Unguided()
        told = "this model was distilled to need no guidance: leave"
        raise InvalidInput(
            f"{told} guidance={scale:g} out, or give ClassifierFree({scale:g}) for an unconditional branch",
            command=f"{told} --guidance {scale:g} out",
        )

    def predict(self, latents: Tensor, timestep: Tensor, text: Text) -> Tensor:
        """Return the velocity, (rows, C, h, w)."""
        rows, _, height, width = latents.shape
        hidden = text["encoder_hidden_states"]
        given = dict(text)
        if (
            self._guided and "guidance" not in given
        ):  # another kind of guidance is combined with the usual scale
            given["guidance"] = torch.full((rows,), DEFAULTS["guidance"], device=latents.device)
        prediction = self.network(
            pack(latents),
            timestep=timestep.expand(rows).to(latents.dtype) / 1000,
            txt_ids=hidden.new_zeros(hidden.shape[1], 3),
            img_ids=_places(height // 2, width // 2).to(latents),
            **given,
            return_dict=False,
        )[0]
        return unpack(prediction, height, width)

    def _summarised(self, prompts: Sequence[Prompt]) -> Tensor:
        """Return CLIP's token ids; of a longer prompt it summarises the beginning, as in diffusers."""
        tokenizer = self._clip_tokenizer
        length = min(tokenizer.model_max_length, self._clip.config.max_position_embeddings)
        texts = [prompt.text for prompt in prompts]
        if long := [text for text in texts if len(tokenizer(text).input_ids) > length]:
            warnings.warn(
                f"CLIP summarises the first {length} tokens of {long[0][:60]!r}…; T5 reads all of it",
                stacklevel=2,
            )
        ids = tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        return ids.input_ids.to(next(self._clip.parameters()).device)


def _places(height: int, width: int) -> Tensor:
    """Return (height · width, 3) positions of the patches: nothing, row, column."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).flatten(0, 1)
