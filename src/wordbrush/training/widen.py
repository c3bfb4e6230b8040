"""From a text-to-image model to an editor: room for the picture before the edit in the first convolution."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wordbrush.backbones.families import EDITORS, STABLE_DIFFUSION
from wordbrush.errors import ModelError, OtherKind
from wordbrush.instruct import load_editor
from wordbrush.models import Model, load


def load_base(name: str | Path, *, config: str | Path | None = None, averaged: bool | None = None) -> Model:
    """Load what training starts from, in float32 on the CPU, with a network of twice the latent's channels.

    Args:
        name: what ``wordbrush.load`` takes, a text-to-image model, which is widened; or what
            ``wordbrush.load_editor`` takes, which is continued.
        config: for a single file, as in either.
        averaged: for a single file, whether to begin with its averaged (EMA) weights; None for those that each takes by
            itself: ``load`` the last trained, ``load_editor`` the averaged ones if there are any.

    Raises:
        ModelError: the model is missing, unreadable, or none that an editor can be made of.
    """
    where: dict[str, Any] = {"dtype": torch.float32, "device": "cpu", "config": config}
    try:
        model = load(name, **where, averaged=bool(averaged))
    except OtherKind as refused:
        try:
            model = load_editor(name, **where, averaged=averaged).model
        except OtherKind:
            raise refused from None
    if model.family is EDITORS:
        return model
    if model.family is not STABLE_DIFFUSION:
        raise ModelError(
            f"{name} is a model of the family {model.family.name}; editors are made of {STABLE_DIFFUSION.name} and "
            "what is built like them"
        )
    if type(model.vae).__name__ != "AutoencoderKL":
        raise ModelError(
            f"{name} has a {type(model.vae).__name__} as its autoencoder; editors are made of models with an "
            "AutoencoderKL"
        )
    widen(model.unet)
    return replace(model, family=EDITORS)


def widen(unet: Any) -> None:
    """Give the first convolution twice the input channels, in place.

    The new channels come second, after those of the noisy latents, and begin with zero weights; **the bias is kept**:
    with a condition of zeros, and at the start with any, the network says what it said before.
    """
    old = unet.conv_in
    new = nn.Conv2d(
        2 * old.in_channels,
        old.out_channels,
        kernel_size=old.kernel_size,
        stride=old.stride,
        padding=old.padding,
        device="meta",  # nothing is drawn for weights that are set below
        dtype=old.weight.dtype,
    ).to_empty(device=old.weight.device)
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, : old.in_channels] = old.weight
        new.bias.copy_(old.bias)  # pyright: ignore[reportOptionalMemberAccess]
    unet.conv_in = new
    unet.register_to_config(in_channels=new.in_channels)
