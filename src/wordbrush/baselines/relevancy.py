"""Where in a picture a contrastive model sees what a text says (Chefer et al. 2021, arXiv:2103.15679)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from wordbrush.metrics.clip import Clip


def relevancy(clip: Clip, pixels: Tensor, text: Tensor) -> Tensor:
    """Map of a picture's patches by their part in its similarity to a text: (1, 1, rows, rows) in [0, 1].

    The attention that the class token pays to each patch in the last layer, times the gradient of the similarity, where
    positive, averaged over the heads, as Text2LIVE uses it; stretched to cover [0, 1].

    Args:
        clip: the model; its attention is made explicit for the time of the call.
        pixels: (1, 3, size, size) in [0, 1], of the model's size.
        text: (channels,), the embedding.
    """
    with torch.enable_grad(), _explicit_attention(clip):
        # Only what needs a gradient keeps its graph, and the weights need none.
        seen = clip.look(pixels.detach().requires_grad_(True), attentions=True)
        attention = seen.attentions[-1]
        similarity = (clip.project(seen.pooler_output) @ text.to(pixels)).sum()
        gradient = torch.autograd.grad(similarity, attention)[0]
    paid = (attention.detach() * gradient)[:, :, 0, 1:].clamp(min=0).mean(dim=1)
    rows = round(paid.shape[-1] ** 0.5)
    low, high = paid.amin(), paid.amax()
    return ((paid - low) / (high - low).clamp(min=torch.finfo(paid.dtype).tiny)).view(1, 1, rows, rows)


def enlarged(found: Tensor, size: torch.Size) -> Tensor:
    """Return a map of patches for the pixels of a picture of (h, w)."""
    return F.interpolate(found, size=tuple(size), mode="bilinear")


@contextmanager
def _explicit_attention(clip: Clip) -> Iterator[None]:
    """Let the model compute its attention as softmax maps, which fused kernels never hold."""
    usual = clip.model.config._attn_implementation
    clip.model.set_attn_implementation("eager")
    try:
        yield
    finally:
        clip.model.set_attn_implementation(usual)
