"""Stage ``joint_text_to_image``: a small model in Stable Diffusion 3's form: text and picture attend to each other.

Rectified flow (arXiv:2403.03206): the network predicts the velocity, noise minus picture, on straight paths between
them, at noise levels that are logit-normal and stratified over the batch. The transformer is MM-DiT with the queries
and keys normalised, as in Stable Diffusion 3.5. What is learned from, and what is asked of the predictions beside the
squared error, is as for the stage ``text_to_image``.

Both text encoders have one layer. Diffusers reads the words before the last layer, so what reaches joint attention of a
word is its own embedding; the layer makes the summary of the whole caption, which modulates every block. There is no
T5: in its place diffusers puts 256 zeros, which cost more than picture and words together. All of them are the same at
every layer, so in training one stands for all and counts 256 times in attention.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from wordbrush.backbones.sd3 import T5_LENGTH
from wordbrush.storybook.recipe import vocabulary
from wordbrush.storybook.recipe.denoiser import Denoiser, Noised

SIZES: dict[str, dict[str, int]] = {
    "small": {"layers": 4, "heads": 6, "head": 32, "text": 96},
    "base": {"layers": 8, "heads": 6, "head": 64, "text": 192},
}

SCHEDULER: dict[str, Any] = {"num_train_timesteps": 1000, "shift": 1.0}

WORD_SIZE = 1.0
"""Deviation of the words' embeddings at first. Nothing normalises them before they enter the network, and CLIP's own
would be lost beside what its layers add to them."""


class JointTextToImage(nn.Module):
    """Transformer and both text encoders as one module, so that one run trains and saves them all."""

    def __init__(self, size: str, vocab_size: int) -> None:
        super().__init__()
        from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel

        spec = SIZES[size]
        width, text = spec["heads"] * spec["head"], spec["text"]
        torch.manual_seed(0)
        self.transformer = SD3Transformer2DModel(
            sample_size=16,
            patch_size=2,
            in_channels=8,
            out_channels=8,
            num_layers=spec["layers"],
            num_attention_heads=spec["heads"],
            attention_head_dim=spec["head"],
            joint_attention_dim=2 * text,
            caption_projection_dim=width,
            pooled_projection_dim=2 * text,
            pos_embed_max_size=16,
            qk_norm="rms_norm",
        )
        begin_as_identity(self.transformer)
        self.text, self.text_2 = (_text_encoder(text, vocab_size) for _ in range(2))

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """Predict the velocity: (n, 8, 16, 16) latents, (n,) timesteps and (n, 32) token ids to (n, 8, 16, 16)."""
        read = [encoder(tokens, output_hidden_states=True) for encoder in (self.text, self.text_2)]
        words = torch.cat([one.hidden_states[-2] for one in read], dim=-1)
        with _LastCounts(T5_LENGTH):
            return self.transformer(
                noisy,
                encoder_hidden_states=F.pad(words, (0, 0, 0, 1)),
                pooled_projections=torch.cat([one.text_embeds for one in read], dim=-1),
                timestep=timesteps,
            ).sample


class _LastCounts(TorchFunctionMode):
    """Lets the last key of every attention count as so many that are equal to it."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self._more = math.log(times)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            query, key, value = args
            mask = query.new_zeros(1, 1, 1, key.shape[2])
            mask[..., -1] = self._more
            return func(query, key, value, attn_mask=mask, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def begin_as_identity(transformer: Any) -> None:
    """Let every block of an ``SD3Transformer2DModel`` leave its input alone at first (arXiv:2212.09748, adaLN-Zero)."""
    norms = [block.norm1 for block in transformer.transformer_blocks]
    norms += [block.norm1_context for block in transformer.transformer_blocks]
    for layer in (*(norm.linear for norm in norms), transformer.norm_out.linear, transformer.proj_out):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)


def _text_encoder(width: int, vocab_size: int) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    encoder = CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=vocab_size,
            hidden_size=width,
            intermediate_size=4 * width,
            projection_dim=width,
            num_hidden_layers=1,
            num_attention_heads=4,
            max_position_embeddings=vocabulary.MAX_TOKENS,
            bos_token_id=vocab_size - 2,
            eos_token_id=vocab_size - 1,
            pad_token_id=vocab_size - 1,
        )
    )
    nn.init.normal_(encoder.text_model.embeddings.token_embedding.weight, std=WORD_SIZE)
    return encoder


def add_noise(clean: Tensor, noise: Tensor, uniform: Tensor) -> Noised:
    """Go from the pictures towards the noise by logit-normal levels; the velocity is to be predicted."""
    level = noise_levels(uniform)
    sigma = level.view(-1, 1, 1, 1)
    noisy = torch.lerp(clean, noise, sigma)
    timesteps = SCHEDULER["num_train_timesteps"] * level
    return Noised(noisy, timesteps, noise - clean, lambda v: noisy - sigma * v, signal_power(level))


def scheduler() -> Any:
    """Return the scheduler that the exported pipeline uses."""
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(**SCHEDULER)


def noise_levels(uniform: Tensor) -> Tensor:
    """Return logit-normal noise levels for numbers within 0 and 1: equation 19 of arXiv:2403.03206, m = 0 and s = 1."""
    return torch.special.ndtri(uniform.clamp(1e-4, 1 - 1e-4)).sigmoid()


def signal_power(level: Tensor) -> Tensor:
    """Return the share of the variance of noisy latents that is the picture's, at noise levels from 0 to 1."""
    return (1 - level) ** 2 / ((1 - level) ** 2 + level**2)


STAGE = Denoiser("joint_text_to_image", JointTextToImage, add_noise, scheduler)
