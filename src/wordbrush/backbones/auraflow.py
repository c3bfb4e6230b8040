"""AuraFlow: text and image in one sequence, in a few double blocks and then in single ones.

Layout of a joint site: 8 learned register positions, 256 tokens of T5, then the image's patches. The registers belong
to no word; they are treated as the padding that stands before the prompt. Padding after it is set to zero but not
masked.

Which blocks and steps: nothing is published for this network, so the defaults are those found for its relatives
(``wordbrush.backbones.sd3``): the first fifth of the steps, all blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from wordbrush.backbones.base import Kind, Text
from wordbrush.backbones.text import text_length, token_ids, token_mask
from wordbrush.backbones.transformer import TransformerBackbone
from wordbrush.edits.prompt import Prompt, read_prompt

DEFAULTS = {"steps": 50, "guidance": 3.5, "scheduler": "flow", "until": 0.2, "self_attention": 0.2}
LENGTH = 256


class AuraFlowBackbone(TransformerBackbone):
    """The transformer of AuraFlow.

    Args:
        parts: ``text_encoder`` (UMT5) and ``tokenizer``.
        factor: pixels per latent pixel.
    """

    def __init__(self, network: nn.Module, parts: Mapping[str, Any], factor: int) -> None:
        layers: Mapping[str, Kind] = {"attn": "joint"}
        super().__init__(network, {"joint_transformer_blocks": layers, "single_transformer_blocks": layers})
        self._encoder, self._tokenizer = parts["text_encoder"], parts["tokenizer"]
        self.own_text = self.transformer.register_tokens.shape[1]

    def read(self, text: str) -> Prompt:
        """Tokenize a prompt.

        Raises:
            PromptTooLong: it has more tokens than the model was trained with.
        """
        prompt = read_prompt(text, self._tokenizer, length=text_length(self._tokenizer, LENGTH))
        return Prompt.joined([Prompt(text, (), self.own_text), prompt])

    def encode(self, prompts: Sequence[Prompt]) -> Text:
        """Return ``encoder_hidden_states`` (prompts, tokens, channels)."""
        words = [prompt.reading for prompt in prompts]
        mask = token_mask(words, self._encoder)
        hidden = self._encoder(token_ids(words, self._tokenizer, self._encoder), attention_mask=mask)[0]
        return {"encoder_hidden_states": hidden * mask[..., None].to(hidden.device)}

    def predict(self, latents: Tensor, timestep: Tensor, text: Text) -> Tensor:
        """Return the velocity, (rows, C, h, w)."""
        time = (timestep / 1000).expand(len(latents)).to(latents.dtype)
        return self.network(latents, timestep=time, **text, return_dict=False)[0]
