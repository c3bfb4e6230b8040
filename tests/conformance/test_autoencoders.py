"""Pixels to latents and back with every kind of autoencoder, scaled as diffusers' pipelines scale them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import families
import pipelines
import wordbrush as wb
from wordbrush import autoencoders

KINDS = ("sd1", "ldm", "sdxl", "sd3", "sana", "qwen")


def model(kind: str) -> wb.Model:
    return pipelines.model(kind) if kind in pipelines.KINDS else families.model(kind)


def drawn(height: int = 16, width: int = 24) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, 3, height, width, generator=generator).double() * 2 - 1


def own_latents(kind: str, pixels: Tensor) -> Tensor:
    """What the autoencoder itself makes, not scaled."""
    vae: Any = model(kind).vae
    if kind == "qwen":
        return vae.encode(pixels[:, :, None]).latent_dist.mode()[:, :, 0]
    if kind == "sana":
        return vae.encode(pixels).latent
    encoded = vae.encode(pixels)
    return encoded.latents if kind == "ldm" else encoded.latent_dist.mode()


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_latents_are_scaled_as_the_network_was_trained(kind: str):
    vae: Any = model(kind).vae
    own, made = own_latents(kind, drawn()), autoencoders.encode(vae, drawn())
    if kind == "qwen":
        expected = torch.stack(
            [
                (own[:, c] - mean) / deviation
                for c, (mean, deviation) in enumerate(
                    zip(vae.config.latents_mean, vae.config.latents_std, strict=True)
                )
            ],
            dim=1,
        )
    else:
        expected = (own - (0.1 if kind == "sd3" else 0.0)) * vae.config.scaling_factor
    assert made.shape == (1, autoencoders.channels(vae), 8, 12)
    torch.testing.assert_close(made, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_decoding_undoes_the_scaling(kind: str):
    vae: Any = model(kind).vae
    own = own_latents(kind, drawn())
    expected = vae.decode(own[:, :, None]).sample[:, :, 0] if kind == "qwen" else vae.decode(own).sample
    made = autoencoders.decode(vae, autoencoders.encode(vae, drawn()))
    assert made.shape == drawn().shape
    torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_a_mean_and_a_deviation_per_channel_beside_the_factor():
    """As of Playground v2.5, against diffusers' own decoding."""
    playground: Any = copy.deepcopy(families.model("sdxl"))
    playground.vae.register_to_config(latents_mean=[-1.6, 1.1, 3.3, -0.2], latents_std=[8.4, 5.9, 6.5, 5.3])
    latents = torch.randn(1, 4, 8, 12, generator=torch.Generator().manual_seed(1)).double()
    pipeline = families.stock(playground)
    assert pipeline.vae is playground.vae
    text = {
        name: torch.zeros(shape).double()
        for name, shape in (("prompt_embeds", (1, 4, 32)), ("pooled_prompt_embeds", (1, 16)))
    }
    size = {"height": 16, "width": 24}

    def given(pipe: Any, step: int, timestep: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"latents": latents}

    expected = pipeline(
        **text,
        **size,
        num_inference_steps=1,
        guidance_scale=1.0,
        callback_on_step_end=given,
        output_type="pt",
    ).images
    made = (autoencoders.decode(playground.vae, latents) / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-6)
    own = playground.vae.encode(drawn()).latent_dist.mode()
    again = autoencoders.decode(playground.vae, autoencoders.encode(playground.vae, drawn()))
    torch.testing.assert_close(again, playground.vae.decode(own).sample, rtol=1e-5, atol=1e-6)


def test_pixels_are_rounded_once(monkeypatch: pytest.MonkeyPatch):
    """To half precision, from their values in [-1, 1], and not on the way there."""
    half, seen = families.model("sdxl", torch.bfloat16), list[Tensor]()
    encode = autoencoders.encode
    monkeypatch.setattr(autoencoders, "encode", lambda vae, one: (seen.append(one), encode(vae, one))[1])
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    half.encode(Image.fromarray(np.stack([levels] * 3, axis=-1)))
    exact = torch.arange(256).reshape(16, 16).double() * 2 / 255 - 1
    assert torch.equal(seen[0][0, 0], exact.bfloat16())


def test_an_autoencoder_in_another_precision():
    """In half precision some are kept in float32; pictures are encoded in theirs and given in the network's."""
    half = copy.deepcopy(families.model("sdxl", torch.bfloat16))
    half.vae.float()
    picture = Image.fromarray(np.full((16, 16, 3), 90, np.uint8))
    assert half.encode(picture).dtype == torch.bfloat16
    assert autoencoders.encode(half.vae, drawn().bfloat16()).dtype == torch.float32
    assert half.decode(half.encode(picture))[0].size == (16, 16)
