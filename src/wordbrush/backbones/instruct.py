"""The U-Nets of instruction editors: they see a picture beside the latents they denoise."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from wordbrush.backbones.base import Text
from wordbrush.backbones.sdxl import SDXLBackbone
from wordbrush.backbones.unet import UNetBackbone


class InstructBackbone(UNetBackbone):
    """A U-Net of twice the input channels: the noisy latents first, the picture's latents second (arXiv:2211.09800).

    What it is asked under has, beside the text, ``"image"``: (rows, C, h, w) latents of the picture, of zeros for
    none. Schedulers scale the noisy latents only.
    """

    def __init__(self, network: nn.Module, *parts: Any) -> None:
        super().__init__(network, *parts)
        self.latent_channels //= 2

    def predict(self, latents: Tensor, timestep: Tensor, text: Text) -> Tensor:
        """Return the network's raw prediction, (rows, C, h, w)."""
        rest = {name: rows for name, rows in text.items() if name != "image"}
        return super().predict(torch.cat([latents, text["image"]], dim=1), timestep, rest)


class InstructXLBackbone(InstructBackbone, SDXLBackbone):
    """The same with the text and the sizes of Stable Diffusion XL."""
