"""Z-Image and Z-Image-Turbo: image and text in one sequence (arXiv:2511.22699).

Layout of a joint site: the picture in patches, padded to a multiple of 32 positions, and then the text, padded to one
too. This padding is learned and attended to; what makes all rows of a batch equally long is masked. Qwen3 reads the
prompt inside of its chat template, all of which the network sees. Before the joint blocks, two blocks refine the
picture by itself (numbers 0 and 1 here) and two the text, which have no part in editing.

The scale of guidance is that of the other families: what diffusers' pipeline of this model calls g is g + 1 here.

Which blocks and steps: nothing is published for this network, so the defaults are those found for its relatives
(``wordbrush.backbones.sd3``): the first fifth of the steps, all blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from wordbrush.backbones.base import Kind, Text
from wordbrush.backbones.text import framed_ids
from wordbrush.backbones.transformer import TransformerBackbone
from wordbrush.edits.prompt import Prompt, read_framed
from wordbrush.errors import ModelError

# Those of Turbo, which was distilled to need no guidance; nothing in a configuration says which of the two it is.
DEFAULTS = {"steps": 9, "guidance": None, "scheduler": "flow", "until": 0.2, "self_attention": 0.2}
LENGTH = 512
# The side of the latents of the 1024 × 1024 pictures it was trained for, which its configuration does not say.
NATIVE_SIDE = 128
PATCH = 2
# Stands for the prompt while the chat template is read.
PLACE = "{prompt}"


class ZImageBackbone(TransformerBackbone):
    """The transformer of Z-Image.

    Args:
        parts: ``text_encoder`` (Qwen3) and ``tokenizer``.
        factor: pixels per latent pixel.
    """

    even_levels = True
    text_first = False
    grain = 32

    def __init__(self, network: nn.Module, parts: Mapping[str, Any], factor: int) -> None:
        stacks: Mapping[str, Mapping[str, Kind]] = {
            "noise_refiner": {"attention": "self"},
            "layers": {"attention": "joint"},
        }
        super().__init__(network, stacks, side=NATIVE_SIDE, patch=PATCH)
        self._encoder, self._tokenizer = parts["text_encoder"], parts["tokenizer"]

    def read(self, text: str) -> Prompt:
        """Tokenize a prompt inside of the chat template.

        Raises:
            PromptTooLong: both together have more tokens than the model was trained with.
        """
        before, after = self._template
        return read_framed(text, self._tokenizer, before=before, after=after, length=LENGTH)

    def encode(self, prompts: Sequence[Prompt]) -> Text:
        """Return ``hidden`` (prompts, tokens, channels) and ``mask`` (prompts, tokens)."""
        ids, mask = framed_ids(prompts, self._tokenizer.pad_token_id, self._encoder)
        outputs = self._encoder(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        hidden = outputs.hidden_states[-2]
        return {"hidden": hidden, "mask": mask.bool().to(hidden.device)}

    def predict(self, latents: Tensor, timestep: Tensor, text: Text) -> Tensor:
        """Return the velocity, (rows, C, h, w)."""
        time = ((1000 - timestep) / 1000).expand(len(latents))  # it counts from noise to picture
        captions = [hidden[mask] for hidden, mask in zip(text["hidden"], text["mask"], strict=True)]
        pictures = list(latents[:, :, None])  # one frame each
        return -torch.stack(self.network(pictures, time, captions, return_dict=False)[0])[:, :, 0]

    @cached_property
    def _template(self) -> tuple[str, str]:
        """What stands before and after the prompt.

        Raises:
            ModelError: the tokenizer has no chat template.
        """
        if not self._tokenizer.chat_template:
            raise ModelError(
                "the tokenizer of this model has no chat template, but Z-Image reads prompts in one"
            )
        framed = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": PLACE}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=True,
        )
        before, _, after = framed.partition(PLACE)
        return before, after
