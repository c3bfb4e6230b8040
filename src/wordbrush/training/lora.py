"""Low-rank adapters (arXiv:2106.09685) on the attention layers, through peft."""

from __future__ import annotations

from typing import Any

import torch

from wordbrush.errors import InvalidInput
from wordbrush.optional import optional
from wordbrush.training.config import Lora
from wordbrush.training.order import hash_seed


def add_adapters(unet: Any, section: Lora, *, seed: int) -> None:
    """Freeze a network but for adapters and the first convolution, whose new channels must learn to be read.

    Raises:
        InvalidInput: peft is not installed, or no layer has such a name.
    """
    peft = optional("peft", extra="training", why="lora.rank", instead="set it to 0")
    config = peft.LoraConfig(
        r=section.rank,
        lora_alpha=section.alpha or section.rank,  # pyright: ignore[reportArgumentType]
        target_modules=list(section.targets),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(hash_seed(seed, 1))
        try:
            unet.add_adapter(config)
        except ValueError as error:
            raise InvalidInput(f"lora.targets: {str(error).splitlines()[0]}") from error
    unet.conv_in.requires_grad_(True)


def merge_adapters(unet: Any) -> None:
    """Add the adapters to the weights they stand beside and remove them, in place."""
    unet.fuse_lora()
    unet.unload_lora()
