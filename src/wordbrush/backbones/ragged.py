"""Joint attention over rows of unequal texts, laid out so that the picture is at the same positions in every row.

All rows of a batch have the positions of its longest text. Lumina 2 sets every row's picture directly behind its text
and pads the end:

    text text image image image …        becomes        text text ─    image image image
    text text text image image image                    text text text image image image

Padding is masked, so it makes no difference where it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from wordbrush.backbones.base import AttentionCall

# Puts the result of a call that was laid out anew into the order of the call before.
Restore = Callable[[Tensor], Tensor]


def unchanged(out: Tensor) -> Tensor:
    """Return the result of a call that was left as it is."""
    return out


def levelled(call: AttentionCall, pixels: int) -> tuple[AttentionCall, Restore]:
    """Return a call with the padding between text and picture, and what puts its result back into the old order.

    Args:
        pixels: positions of the picture.
    """
    if call.mask is None:  # all texts are equally long
        return call, unchanged
    positions = call.key.shape[2]
    longest = positions - pixels
    text = call.mask.flatten(1).sum(dim=1, keepdim=True) - pixels  # (rows, 1)
    place = torch.arange(positions, device=text.device).expand(len(text), -1)
    taken = torch.where(place >= longest, place - longest + text, place + pixels * (place >= text))
    old = torch.where(place < text + pixels, place + longest - text, place - pixels)
    old = torch.where(place < text, place, old)
    valid = (place < text) | (place >= longest)
    ordered = replace(
        call,
        query=_at(call.query, taken),
        key=_at(call.key, taken),
        value=_at(call.value, taken),
        mask=valid[:, None, None],
    )
    return ordered, lambda out: _at(out, old)


def widened(
    call: AttentionCall, text: int, pixels: int, *, text_first: bool
) -> tuple[AttentionCall, Restore]:
    """Return a call with masked padding behind the text up to so many positions of it, and what takes it out again.

    Args:
        text: positions of the text there are to be.
        pixels: positions of the picture.
        text_first: whether the text comes before the picture.
    """
    now = call.key.shape[2] - pixels
    if now == text:
        return call, unchanged
    place = now if text_first else now + pixels

    def padded(tensor: Tensor) -> Tensor:
        shape = (*tensor.shape[:2], text - now, tensor.shape[3])
        return torch.cat([tensor[:, :, :place], tensor.new_zeros(shape), tensor[:, :, place:]], dim=2)

    def restored(out: Tensor) -> Tensor:
        return torch.cat([out[:, :, :place], out[:, :, place + text - now :]], dim=2)

    mask = real(call).transpose(-1, -2)
    query, key, value = (padded(part) for part in (call.query, call.key, call.value))
    return AttentionCall(query, key, value, padded(mask).transpose(-1, -2), call.options), restored


def real(call: AttentionCall) -> Tensor:
    """Return which keys of a call are no padding, (rows, 1, 1, keys)."""
    if call.mask is not None:
        return call.mask
    return torch.ones(len(call.key), 1, 1, call.key.shape[2], dtype=torch.bool, device=call.key.device)


def _at(tensor: Tensor, places: Tensor) -> Tensor:
    """Return a (rows, heads, positions, channels) tensor with each row's positions in the order of ``places``."""
    rows = torch.arange(len(places), device=places.device)[:, None]
    return tensor.transpose(1, 2)[rows, places].transpose(1, 2)
