"""The generator of Text2LIVE: a convolutional U-Net that reads a picture and draws an RGBA layer to lie over it."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2  # of the rectifier below zero

# Standard deviations of the colours of photographs along their principal axes, as columns, measured on ImageNet
# (Olah et al. 2017, "Feature Visualization"); the published generator tones the first, brightness, down by 1.6.
AXES = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
TONED_DOWN = (1.6, 1.0, 1.0)


class EditLayer(nn.Module):
    """Map pictures (n, 3, h, w) in [0, 1] to edit layers (n, 4, h, w) in [0, 1], opacity last.

    As published, each scale halves the sides by a strided convolution and hands a few channels over to the way back
    up; colours are drawn on decorrelated axes. The published normalisation takes its statistics from a batch of one
    picture; here every picture of a batch is normalised by itself, which is the same. The published outermost 1 × 1
    convolution has no normalisation after it; here all scales are alike.

    Args:
        channels: of the convolutions of 3 × 3 pixels; published 128.
        scales: how often the sides are halved; published 7.
        skipped: channels that are handed over at each scale; published 4.
    """

    def __init__(self, *, channels: int, scales: int, skipped: int = 4) -> None:
        super().__init__()
        self.scale = _Scale(3, channels, skipped, scales)
        self.out = nn.Conv2d(channels, 4, 1)
        axes = torch.tensor(AXES) / torch.tensor(TONED_DOWN)
        self.register_buffer("colours", axes / axes.norm(dim=0).max())

    def forward(self, pixels: Tensor) -> Tensor:
        drawn = self.out(self.scale(pixels))
        colours = cast(Tensor, self.colours).to(drawn)
        rgb = torch.einsum("nahw,ca->nchw", drawn[:, :3], colours)
        return torch.cat([rgb, drawn[:, 3:]], dim=1).sigmoid()


class _Scale(nn.Module):
    """One scale: down, through the smaller ones, up again and joined with what was handed over."""

    def __init__(self, inputs: int, channels: int, skipped: int, scales: int) -> None:
        super().__init__()
        self.skip = _block(inputs, skipped, 1)
        self.down = nn.Sequential(_block(inputs, channels, 3, stride=2), _block(channels, channels, 3))
        self.inner = _Scale(channels, channels, skipped, scales - 1) if scales > 1 else nn.Identity()
        self.join = nn.Sequential(
            nn.InstanceNorm2d(skipped + channels, affine=True),
            _block(skipped + channels, channels, 3),
            _block(channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        below = F.interpolate(self.inner(self.down(x)), size=x.shape[-2:], mode="bilinear")
        return self.join(torch.cat([self.skip(x), below], dim=1))


def _block(inputs: int, outputs: int, side: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, side, stride, padding=side // 2, padding_mode="reflect"),
        nn.InstanceNorm2d(outputs, affine=True),
        nn.LeakyReLU(SLOPE),
    )


def smallest_side(scales: int) -> int:
    """Return the side in pixels below which a picture cannot be halved ``scales`` times with two pixels left."""
    return 2**scales + 1


def over(layer: Tensor, ground: Tensor) -> Tensor:
    """Lay RGBA layers (n, 4, h, w) over pictures (n, 3, h, w) or a colour (3, 1, 1), all in [0, 1]."""
    colour, alpha = layer[:, :3], layer[:, 3:]
    return alpha * colour + (1 - alpha) * ground
