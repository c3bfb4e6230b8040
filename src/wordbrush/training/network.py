"""What is trained: the U-Net, and the text encoder with it if that is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from wordbrush.models import Model
from wordbrush.quiet import quiet
from wordbrush.training.lora import merge_adapters


class Network(nn.Module):
    """U-Net and text encoder as one module, so that one optimizer, one average and one state hold both.

    Args:
        unet: of twice the latent's channels.
        text_encoder: None where it is frozen, and instructions come encoded.
    """

    def __init__(self, unet: Any, text_encoder: Any = None) -> None:
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder

    def forward(self, noisy: Tensor, condition: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        """Predict from latents (n, C, h, w) twice, (n,) timesteps, and text as ``Batch`` has it: (n, C, h, w)."""
        if self.text_encoder is not None:
            text = self.text_encoder(text)[0]
        return self.unet(torch.cat([noisy, condition], dim=1), timesteps, text, return_dict=False)[0]


def editor_with(model: Model, values: Mapping[str, Tensor], *, adapters: bool) -> Model:
    """Return the model with copies of what was trained, on the CPU, of these values, and adapters merged.

    Args:
        values: whole tensors by their names in ``Network``; what is not among them was frozen.
    """
    parts: dict[str, dict[str, Tensor]] = {"unet": {}, "text_encoder": {}}
    for name, value in values.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = value
    unet = network_with(model.unet, parts["unet"], adapters=adapters)
    if not parts["text_encoder"]:
        return replace(model, unet=unet)
    text_encoder: Any = deepcopy(model.text_encoder).cpu()
    text_encoder.load_state_dict(parts["text_encoder"])
    return replace(model, unet=unet, text_encoder=text_encoder.eval().requires_grad_(False))


def network_with(unet: Any, values: Mapping[str, Tensor], *, adapters: bool) -> Any:
    """Return a copy of a U-Net, on the CPU, with other values of what was trained, and adapters merged.

    ``values`` are whole tensors; what is not among them was frozen.
    """
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    if adapters:
        copy = deepcopy(unet).cpu()
        with torch.no_grad():
            for name, parameter in copy.named_parameters():
                if name in values:
                    parameter.copy_(values[name])
        merge_adapters(copy)
    else:
        with quiet(), torch.device("meta"):
            copy: Any = UNet2DConditionModel.from_config(unet.config)
        copy.load_state_dict(dict(values), assign=True)
    return copy.eval().requires_grad_(False)
