"""From a text-to-image model to an editor: room for the picture before the edit in the first convolution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from wordbrush.backbones.families import EDITORS
from wordbrush.errors import ModelError
from wordbrush.models import EDITOR, EMBEDDED, Model, load, load_parts, pipeline_class


def load_base(name: str | Path, *, config: str | Path | None = None) -> Model:
    """Load what training starts from, in float32 on the CPU, with a network of twice the latent's channels.

    Args:
        name: whatever ``wordbrush.load`` takes, which is widened; or the directory of an editor, which is continued.
        config: for a single file, as in ``wordbrush.load``.

    Raises:
        ModelError: the model is missing, unreadable, or neither a text-to-image model nor an editor.
    """
    folder = EMBEDDED.get(str(name), Path(name))
    if folder.is_dir() and pipeline_class(folder) in EDITORS.pipelines:
        parts, _, _ = load_parts(name, EDITOR, dtype=None, device="cpu", config=None, averaged=None)
        model = Model(str(name), **parts)
    else:
        model = load(name, dtype=torch.float32, device="cpu", config=config)
    channels = getattr(model.vae.config, "latent_channels", None)
    if type(model.vae).__name__ != "AutoencoderKL" or channels is None:
        raise ModelError(
            f"{name} has a {type(model.vae).__name__} as its autoencoder; editors are made of models with an "
            "AutoencoderKL"
        )
    unet: Any = model.unet
    if unet.config.in_channels == channels:
        widen(unet)
    elif unet.config.in_channels != 2 * channels:
        raise ModelError(
            f"{name} has a network of {unet.config.in_channels} input channels where its autoencoder makes {channels}: "
            f"a text-to-image model has {channels} and an instruction editor {2 * channels}"
        )
    return model


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
