"""What the network is given: the picture before the edit and the instruction, and when it is given neither.

The two pictures go different ways (the published code, and every editor trained with it): the target is a *sample* of
the autoencoder's posterior *times* its scaling factor; the condition is the *mode* of the posterior, *not scaled*, so
about five times as large for Stable Diffusion. Two functions with two names, because exchanging them trains an editor
that nobody else's code can use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Posterior:
    """What the autoencoder says of pictures: a normal distribution for every latent.

    Args:
        mean, std: (n, C, h, w), before the scaling factor.
    """

    mean: Tensor
    std: Tensor


@torch.no_grad()
def posterior(vae: Any, pixels: Tensor) -> Posterior:
    """Encode pictures, (n, 3, H, W) in [-1, 1]."""
    found = vae.encode(pixels).latent_dist
    return Posterior(found.mean, found.std)


def condition_latents(before: Posterior) -> Tensor:
    """Return what stands in the added channels: the mode, unscaled, (n, C, h, w)."""
    return before.mean


def target_latents(after: Posterior, noise: Tensor, *, scaling_factor: float) -> Tensor:
    """Return what is to be predicted: a sample, scaled, (n, C, h, w); ``noise`` is of variance 1."""
    return (after.mean + after.std * noise) * scaling_factor


def dropped(uniform: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    """Return which texts and which pictures are left out, (n,) Boolean each, from ONE draw u per sample.

    With d the rate: u < 2d drops the text, d ≤ u < 3d the picture; so d only the text, d both, d only the picture
    (section 3.2.1 of arXiv:2211.09800 has d = 5 %).
    """
    return uniform < 2 * rate, (uniform >= rate) & (uniform < 3 * rate)


def drop(
    condition: Tensor, text: Tensor, empty: Tensor, *, uniform: Tensor, rate: float
) -> tuple[Tensor, Tensor]:
    """Replace what is left out: the picture by zeros in latent space, the text by that of the empty instruction.

    Args:
        condition: (n, C, h, w).
        text: (n, tokens, channels) encoded, or (n, tokens) token ids.
        empty: one such row, of the empty instruction.
        uniform: (n,) in [0, 1).
        rate: share of each of the three cases.
    """
    no_text, no_picture = dropped(uniform, rate)
    text = torch.where(no_text.view(-1, *[1] * empty.ndim), empty, text)
    return condition.masked_fill(no_picture[:, None, None, None], 0.0), text
