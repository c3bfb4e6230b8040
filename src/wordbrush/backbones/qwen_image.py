"""Qwen-Image: text and image attend to each other in double blocks (arXiv:2508.02324).

Layout of a joint site: the tokens of the batch's longest text, padding masked, and then the picture in patches of 2 × 2
latent pixels. Qwen2.5-VL reads the prompt inside of a template, of which the network does not see the first 34 tokens,
a system prompt; what follows the prompt it sees.

Which blocks and steps: nothing is published for this network, so the defaults are those found for its relatives
(``wordbrush.backbones.sd3``): the first fifth of the steps, all blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from wordbrush.backbones.base import Kind, Text, uncompiled
from wordbrush.backbones.patches import pack, unpack
from wordbrush.backbones.text import framed_ids
from wordbrush.backbones.transformer import TransformerBackbone
from wordbrush.edits.prompt import Prompt, read_framed
from wordbrush.guidance import Guidance, Renormalised

DEFAULTS = {"steps": 50, "guidance": 4.0, "scheduler": "flow", "until": 0.2, "self_attention": 0.2}
LENGTH = 512
# The side of the latents of the 1024 × 1024 pictures that diffusers makes of it, which its configuration does not say.
NATIVE_SIDE = 128
# The words that the network was trained under, and how many of their tokens it does not see.
BEFORE = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial "
    "relationships of the objects and background:<|im_end|>\n<|im_start|>user\n"
)
AFTER = "<|im_end|>\n<|im_start|>assistant\n"
UNSEEN = 34


class QwenImageBackbone(TransformerBackbone):
    """The transformer of Qwen-Image.

    Args:
        parts: ``text_encoder`` (Qwen2.5-VL) and ``tokenizer``.
        factor: pixels per latent pixel.
    """

    even_levels = True

    def __init__(self, network: nn.Module, parts: Mapping[str, Any], factor: int) -> None:
        config = uncompiled(network).config
        layers: Mapping[str, Kind] = {"attn": "joint"}
        super().__init__(
            network,
            {"transformer_blocks": layers},
            channels=config.in_channels // config.patch_size**2,
            side=NATIVE_SIDE,
        )
        self._encoder, self._tokenizer = parts["text_encoder"], parts["tokenizer"]

    def read(self, text: str) -> Prompt:
        """Tokenize a prompt inside of the template.

        Raises:
            PromptTooLong: it has more tokens than diffusers' pipeline takes.
        """
        head = slice(0, UNSEEN)
        return read_framed(text, self._tokenizer, before=BEFORE, after=AFTER, head=head, length=LENGTH)

    def encode(self, prompts: Sequence[Prompt]) -> Text:
        """Return ``encoder_hidden_states`` (prompts, tokens, channels) and ``encoder_hidden_states_mask``."""
        ids, mask = framed_ids(prompts, self._tokenizer.pad_token_id, self._encoder)
        outputs = self._encoder(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        hidden = outputs.hidden_states[-1][:, UNSEEN:]
        seen = mask[:, UNSEEN:].to(hidden.device)
        return {"encoder_hidden_states": hidden * seen[..., None], "encoder_hidden_states_mask": seen}

    def guide(self, scale: float) -> Guidance:
        """Return guidance that keeps the length of every patch, as this model is sampled."""
        return Renormalised(scale, per="patch")

    def predict(self, latents: Tensor, timestep: Tensor, text: Text) -> Tensor:
        """Return the velocity, (rows, C, h, w)."""
        rows, _, height, width = latents.shape
        mask = text["encoder_hidden_states_mask"]
        prediction = self.network(
            pack(latents),
            timestep=timestep.expand(rows).to(latents.dtype) / 1000,
            encoder_hidden_states=text["encoder_hidden_states"],
            encoder_hidden_states_mask=None if mask.all() else mask,  # kernels are faster without one
            img_shapes=[[(1, height // self.patch, width // self.patch)]] * rows,
            return_dict=False,
        )[0]
        return unpack(prediction, height, width)
