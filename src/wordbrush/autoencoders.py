"""Autoencoders: from pixels to the latents that a network denoises, and back.

Most are diffusers' ``AutoencoderKL`` or ``VQModel``. Sana's (``AutoencoderDC``) has no posterior, and Qwen-Image's
(``AutoencoderKLQwenImage``) is one for video, of which a picture is a single frame, with a mean and a deviation per
channel instead of one factor. Playground v2.5's ``AutoencoderKL`` has these beside the factor.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def pixel_factor(autoencoder: Any) -> int:
    """Return the pixels per latent pixel along each side."""
    config = autoencoder.config
    if "temperal_downsample" in config:
        return 2 ** len(config.temperal_downsample)
    blocks = config.get("block_out_channels") or config.encoder_block_out_channels
    return 2 ** (len(blocks) - 1)


def channels(autoencoder: Any) -> int:
    """Return C of its latents."""
    config = autoencoder.config
    return config.z_dim if "z_dim" in config else config.latent_channels


def encode(autoencoder: Any, pixels: Tensor) -> Tensor:
    """Return clean (n, C, h, w) latents, scaled for the network, of (n, 3, H, W) pixels in [-1, 1].

    They have the autoencoder's precision, which may be more than the network's. Of autoencoders with a posterior it is
    the mean.
    """
    pixels = pixels.to(next(autoencoder.parameters()).dtype)
    shift, scale = _shift_and_scale(autoencoder, pixels)
    video = "z_dim" in autoencoder.config
    encoded = autoencoder.encode(pixels[:, :, None] if video else pixels)
    if hasattr(encoded, "latent_dist"):
        clean = encoded.latent_dist.mean
    else:
        clean = encoded.latent if hasattr(encoded, "latent") else encoded.latents
    return ((clean[:, :, 0] if video else clean) - shift) * scale


def decode(autoencoder: Any, latents: Tensor) -> Tensor:
    """Return (n, 3, H, W) pixels, mostly in [-1, 1], of clean (n, C, h, w) latents."""
    shift, scale = _shift_and_scale(autoencoder, latents)
    unscaled = (latents / scale + shift).to(next(autoencoder.parameters()).dtype)
    if "z_dim" in autoencoder.config:
        return autoencoder.decode(unscaled[:, :, None]).sample[:, :, 0]
    return autoencoder.decode(unscaled).sample


def _shift_and_scale(autoencoder: Any, like: Tensor) -> tuple[Any, Any]:
    """Return what is taken from the autoencoder's own latents, and what they are then multiplied by."""
    config = autoencoder.config
    per_channel = (config.get("latents_mean"), config.get("latents_std"))
    if None not in per_channel:
        mean, deviation = (torch.tensor(numbers).to(like).view(1, -1, 1, 1) for numbers in per_channel)
        return mean, config.get("scaling_factor", 1.0) / deviation
    return config.get("shift_factor") or 0.0, config.scaling_factor
