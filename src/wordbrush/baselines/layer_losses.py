"""The losses of Text2LIVE (Bar-Tal et al. 2022, arXiv:2204.02491, section 3.1), on embeddings and on opacities."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

STEEPNESS = 5.0
"""Of the curve by which a pixel that is a little opaque counts almost as one that is."""


def distance(images: Tensor, texts: Tensor) -> Tensor:
    """Mean spherical distance of embeddings of pictures (n, c) and of texts (t, c), all of length one.

    Half the squared angle, as in the released code; the paper writes 1 − cosine, whose gradient fades where the two
    are far apart.
    """
    chords = (images[:, None] - texts[None]).norm(dim=-1)
    return 2 * (chords / 2).asin().square().mean()


def direction(before: Tensor, after: Tensor, said: Tensor, meant: Tensor) -> Tensor:
    """Mean of 1 − cosine between the change of pictures, (n, c) each, and the change of texts, (t, c) each."""
    return 1 - F.cosine_similarity((after - before)[:, None], (meant - said)[None], dim=-1).mean()


def structure(before: Tensor, after: Tensor) -> Tensor:
    """Mean squared difference of the self-similarities of tokens, (n, t, c) of each picture."""
    return F.mse_loss(self_similarity(after), self_similarity(before))


def self_similarity(tokens: Tensor) -> Tensor:
    """Cosines between all tokens of a picture: (n, t, c) to (n, t, t)."""
    tokens = F.normalize(tokens, dim=-1)
    return tokens @ tokens.mT


def sparsity(alpha: Tensor) -> Tensor:
    """L1 norm and smooth L0 norm of opacities in [0, 1], of any shape: the mean of each over the pixels, added."""
    almost = 2 * torch.sigmoid(STEEPNESS * alpha) - 1
    return alpha.mean() + almost.mean()
