"""Lumina-Image 2.0: text and image in one sequence (arXiv:2503.21758).

Layout of a joint site: every row's tokens of Gemma, its picture in patches directly behind them, and padding at the end
of rows whose texts are shorter. The tokens begin with a system prompt, which a negative prompt does not have; its words
are not the prompt's. Before the joint blocks, two blocks refine the picture by itself (numbers 0 and 1 here) and two
the text, which have no part in editing.

Which blocks and steps: nothing is published for this network, so the defaults are those found for its relatives
(``wordbrush.backbones.sd3``): the first fifth of the steps, all blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wordbrush.backbones.base import Text
from wordbrush.backbones.flow import set_flow_timesteps
from wordbrush.backbones.text import framed_ids
from wordbrush.backbones.transformer import TransformerBackbone
from wordbrush.edits.prompt import Prompt, read_framed
from wordbrush.guidance import Guidance, Renormalised

DEFAULTS = {"steps": 30, "guidance": 4.0, "scheduler": "flow", "until": 0.2, "self_attention": 0.2}
LENGTH = 256
# The words that the network was trained under.
SYSTEM = (
    "You are an assistant designed to generate superior images with the superior degree of image-text alignment based "
    "on textual prompts or user prompts. <Prompt Start> "
)


class Lumina2Backbone(TransformerBackbone):
    """The transformer of Lumina-Image 2.0.

    Args:
        parts: ``text_encoder`` (Gemma 2) and ``tokenizer``.
        factor: pixels per latent pixel.
    """

    ragged = True

    def __init__(self, network: nn.Module, parts: Mapping[str, Any], factor: int) -> None:
        super().__init__(network, {"noise_refiner": {"attn": "self"}, "layers": {"attn": "joint"}})
        self._encoder, self._tokenizer = parts["text_encoder"], parts["tokenizer"]

    def read(self, text: str) -> Prompt:
        """Tokenize a prompt behind the system prompt.

        Raises:
            PromptTooLong: both together have more tokens than the model was trained with.
        """
        return read_framed(text, self._tokenizer, before=SYSTEM, length=LENGTH)

    def read_negative(self, text: str) -> Prompt:
        """Tokenize a prompt to be guided away from, which has no system prompt.

        Raises:
            PromptTooLong: it has more tokens than the model was trained with.
        """
        return read_framed(text, self._tokenizer, length=LENGTH)

    def encode(self, prompts: Sequence[Prompt]) -> Text:
        """Return ``encoder_hidden_states`` (prompts, tokens, channels) and ``encoder_attention_mask``."""
        ids, mask = framed_ids(prompts, self._tokenizer.pad_token_id, self._encoder)
        outputs = self._encoder(ids, attention_mask=mask, output_hidden_states=True)
        hidden = outputs.hidden_states[-2]
        return {"encoder_hidden_states": hidden, "encoder_attention_mask": mask.to(hidden.device)}

    def guide(self, scale: float) -> Guidance:
        """Return guidance that keeps the length of every row of latent pixels, as this model is sampled."""
        return Renormalised(scale, per="row")

    def schedule(
        self, scheduler: Any, steps: int, latent_size: tuple[int, int], device: torch.device | None = None
    ) -> None:
        """Set the timesteps, at even noise levels."""
        # diffusers' pipeline takes the channels for the size of the picture where a scheduler asks for that.
        set_flow_timesteps(scheduler, steps, self.latent_channels, device, even=True)

    def predict(self, latents: Tensor, timestep: Tensor, text: Text) -> Tensor:
        """Return the velocity, (rows, C, h, w)."""
        time = (1 - timestep / 1000).expand(len(latents))  # it counts from noise to picture
        return -self.network(latents, timestep=time, **text, return_dict=False)[0]
