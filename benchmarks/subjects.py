"""The models that are measured: storybook as it ships, and the layout of Stable Diffusion 1.5 with random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from tokenizers import pre_tokenizers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

import wordbrush as wb

SOURCE = "a cat on a beach at sunset"
TARGET = "a dog on a beach at sunset"


@dataclass(frozen=True)
class Subject:
    """A model, the steps of one run, and the rounds that are run on two cores."""

    about: str
    load: Callable[[str], wb.Model]
    steps: int
    repeats: int


def random_model(device: str, *, unet: dict[str, Any], text: dict[str, Any]) -> wb.Model:
    """Build a pipeline of the Stable Diffusion kind with random weights; its autoencoder is a toy, it is not used."""
    torch.manual_seed(0)
    tokenizer = letters()
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    parts = {
        "unet": UNet2DConditionModel(**unet),
        "text_encoder": CLIPTextModel(CLIPTextConfig(vocab_size=len(tokenizer), **ends, **text)),
        "vae": AutoencoderKL(
            block_out_channels=(4, 4, 4, 4),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            norm_num_groups=2,
        ),
    }
    for part in parts.values():
        part.to(device).eval().requires_grad_(False)
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )
    return wb.Model("random weights", **parts, tokenizer=tokenizer, scheduler=scheduler)


def letters() -> CLIPTokenizer:
    """Return a CLIP tokenizer without merges: one token for every letter."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(letter + "</w>" for letter in alphabet), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[], model_max_length=77)


def stable_diffusion_15(device: str, side: int = 64) -> wb.Model:
    """UNet and text encoder in the layout of Stable Diffusion 1.5 (860 and 85 million parameters).

    Args:
        side: latent pixels along each side.
    """
    return random_model(
        device,
        unet={"sample_size": side, "cross_attention_dim": 768, "attention_head_dim": 8},
        text={
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
        },
    )


def small(device: str) -> wb.Model:
    """A small model with attention at 16 x 16 and 8 x 8, as storybook has."""
    return random_model(
        device,
        unet={
            "sample_size": 16,
            "block_out_channels": (32, 64),
            "layers_per_block": 1,
            "down_block_types": ("CrossAttnDownBlock2D",) * 2,
            "up_block_types": ("CrossAttnUpBlock2D",) * 2,
            "cross_attention_dim": 64,
            "attention_head_dim": 4,
        },
        text={"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 4},
    )


SUBJECTS = {
    "storybook": Subject("as shipped", lambda device: wb.load("storybook", device=device), 30, 7),
    "sd15": Subject("Stable Diffusion 1.5's layout, 512 x 512, random weights", stable_diffusion_15, 1, 3),
    "sd15-256": Subject(
        "Stable Diffusion 1.5's layout, 256 x 256, random weights",
        lambda device: stable_diffusion_15(device, side=32),
        1,
        3,
    ),
    "sd15-128": Subject(
        "Stable Diffusion 1.5's layout, 128 x 128, random weights",
        lambda device: stable_diffusion_15(device, side=16),
        1,
        3,
    ),
    "tiny": Subject("random weights, 128 x 128", small, 4, 3),
}
