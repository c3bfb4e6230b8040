"""AuraFlow: text and image in one sequence, in a few double blocks and then in single ones.

Layout of a joint site: 8 learned register positions, 256 tokens of T5, then the image's patches. The registers belong
to no word; they are treated as the padding that stands before the prompt. Padding after it is set to zero but not
masked.

Which blocks and steps: nothing is published for this network, so the defaults are those found for its relatives
(``wordbrush.backbones.sd3``): the first fifth of the steps, all blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from wordbrush.backbones.base import Backbone, Site, Text
from wordbrush.backbones.flow import set_flow_timesteps
from wordbrush.backbones.text import text_length, token_ids, token_mask
from wordbrush.edits.prompt import Prompt, read_prompt

DEFAULTS = {"steps": 50, "guidance": 3.5, "scheduler": "flow", "until": 0.2, "self_attention": 0.2}
LENGTH = 256


class AuraFlowBackbone(Backbone):
    """The transformer of AuraFlow.

    Args:
        parts: ``text_encoder`` (UMT5) and ``tokenizer``.
        factor: pixels per latent pixel.
    """

    def __init__(self, network: nn.Module, parts: Mapping[str, Any], factor: int) -> None:
        self.network = network
        self._transformer: Any = getattr(network, "_orig_mod", network)  # torch.compile wraps the network
        config = self._transformer.config
        self.latent_channels: int = config.in_channels
        self.native_latent_size = (config.sample_size, config.sample_size)
        self.patch: int = config.patch_size
        self._encoder, self._tokenizer = parts["text_encoder"], parts["tokenizer"]

    @property
    def sites(self) -> tuple[Site, ...]:
        """All attention layers in the order of the forward pass."""
        return self._sites

    @cached_property
    def _sites(self) -> tuple[Site, ...]:
        names = ("joint_transformer_blocks", "single_transformer_blocks")
        blocks = [
            (f"{name}.{n}", block)
            for name in names
            for n, block in enumerate(getattr(self._transformer, name))
        ]
        return tuple(
            Site(number, f"{path}.attn", "joint", "stack", self.patch, block.attn, number)
            for number, (path, block) in enumerate(blocks)
        )

    def read(self, text: str) -> Prompt:
        """Tokenize a prompt.

        Raises:
            PromptTooLong: it has more tokens than the model was trained with.
        """
        prompt = read_prompt(text, self._tokenizer, length=text_length(self._tokenizer, LENGTH))
        return Prompt.joined([Prompt(text, (), self._transformer.register_tokens.shape[1]), prompt])

    def encode(self, prompts: Sequence[Prompt]) -> Text:
        """Return ``encoder_hidden_states`` (prompts, tokens, channels)."""
        words = [prompt.reading for prompt in prompts]
        mask = token_mask(words, self._encoder)
        hidden = self._encoder(token_ids(words, self._tokenizer, self._encoder), attention_mask=mask)[0]
        return {"encoder_hidden_states": hidden * mask[..., None]}

    def schedule(
        self, scheduler: Any, steps: int, latent_size: tuple[int, int], device: torch.device | None = None
    ) -> None:
        """Set the timesteps, shifted by the size of the picture if the scheduler says so."""
        height, width = self.sites[0].grid(latent_size)
        set_flow_timesteps(scheduler, steps, height * width, device)

    def predict(self, latents: Tensor, timestep: Tensor, text: Text) -> Tensor:
        """Return the velocity, (rows, C, h, w)."""
        time = (timestep / 1000).expand(len(latents)).to(latents.dtype)
        return self.network(latents, timestep=time, **text, return_dict=False)[0]
