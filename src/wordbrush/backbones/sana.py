"""Sana: a transformer of linear self-attention over pixels and cross-attention to Gemma (arXiv:2410.10629).

Layout: all keys of a cross site are Gemma tokens, of which padding is masked. Linear attention has no map, so there is
no self-attention to be injected: only words are edited. Gemma reads prompts in lower case behind an instruction to
enhance them; of that the network sees the beginning-of-text token alone, as of a negative prompt, which has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from wordbrush.backbones.base import Text
from wordbrush.backbones.text import framed_ids, lowered
from wordbrush.backbones.transformer import TransformerBackbone
from wordbrush.edits.prompt import Prompt, check_text, read_framed

DEFAULTS = {"steps": 20, "guidance": 4.5, "scheduler": None, "self_attention": 0.0}
LENGTH = 300
# The words that the network was trained under: diffusers calls them the complex human instruction.
INSTRUCTION = "\n".join(
    (
        "Given a user prompt, generate an 'Enhanced prompt' that provides detailed visual descriptions suitable for "
        "image generation. Evaluate the level of detail in the user prompt:",
        "- If the prompt is simple, focus on adding specifics about colors, shapes, sizes, textures, and spatial "
        "relationships to create vivid and concrete scenes.",
        "- If the prompt is already detailed, refine and enhance the existing details slightly without "
        "overcomplicating.",
        "Here are examples of how to transform or refine prompts:",
        "- User Prompt: A cat sleeping -> Enhanced: A small, fluffy white cat curled up in a round shape, sleeping "
        "peacefully on a warm sunny windowsill, surrounded by pots of blooming red flowers.",
        "- User Prompt: A busy city street -> Enhanced: A bustling city street scene at dusk, featuring glowing street "
        "lamps, a diverse crowd of people in colorful clothing, and a double-decker bus passing by towering glass "
        "skyscrapers.",
        "Please generate only the enhanced description for the prompt below and avoid including any additional "
        "commentary or evaluations:",
        "User Prompt: ",
    )
)


class SanaBackbone(TransformerBackbone):
    """The transformer of Sana.

    Args:
        parts: ``text_encoder`` (Gemma 2) and ``tokenizer``.
        factor: pixels per latent pixel.
    """

    def __init__(self, network: nn.Module, parts: Mapping[str, Any], factor: int) -> None:
        super().__init__(network, {"transformer_blocks": {"attn2": "cross"}})
        self._encoder, self._tokenizer = parts["text_encoder"], parts["tokenizer"]

    def read(self, text: str) -> Prompt:
        """Tokenize a prompt in lower case, without spaces around it, behind the instruction.

        Raises:
            PromptTooLong: it has more tokens than the model was trained with.
        """
        # The space that ends the instruction becomes a part of the prompt's first token.
        hidden = slice(1, len(self._tokenizer(INSTRUCTION).input_ids) - 1)
        return self._read(text, INSTRUCTION, hidden)

    def read_negative(self, text: str) -> Prompt:
        """Tokenize a prompt to be guided away from, which has no instruction before it.

        Raises:
            PromptTooLong: it has more tokens than the model was trained with.
        """
        return self._read(text, "", slice(0))

    def encode(self, prompts: Sequence[Prompt]) -> Text:
        """Return ``encoder_hidden_states`` (prompts, tokens, channels) and ``encoder_attention_mask``."""
        ids, mask = framed_ids(prompts, self._tokenizer.pad_token_id, self._encoder, marks=1)
        hidden = self._encoder(ids, attention_mask=mask)[0]
        seen = hidden.new_zeros(len(prompts), LENGTH, hidden.shape[-1])
        real = hidden.new_zeros(len(prompts), LENGTH, dtype=mask.dtype)
        for row, prompt in enumerate(prompts):
            first, length = len(prompt.head), len(prompt.tokens)
            seen[row, 0] = hidden[row, 0]
            seen[row, 1:length] = hidden[row, first + 1 : first + length]
            real[row, :length] = 1
        return {"encoder_hidden_states": seen, "encoder_attention_mask": real}

    def schedule(
        self, scheduler: Any, steps: int, latent_size: tuple[int, int], device: torch.device | None = None
    ) -> None:
        """Set the timesteps; they do not depend on the size of the picture."""
        scheduler.set_timesteps(steps, device=device)

    def predict(self, latents: Tensor, timestep: Tensor, text: Text) -> Tensor:
        """Return the velocity, (rows, C, h, w), without the variance that some of these networks learned."""
        time = timestep.expand(len(latents)) * self.transformer.config.timestep_scale
        prediction = self.network(latents, timestep=time, **text, return_dict=False)[0]
        return prediction[:, : self.latent_channels]

    def _read(self, text: str, before: str, hidden: slice) -> Prompt:
        check_text(text)
        stripped = text.strip()
        tokenizer = self._tokenizer
        prompt = read_framed(lowered(stripped), tokenizer, before=before, head=hidden, length=LENGTH)
        return replace(prompt, text=stripped)
