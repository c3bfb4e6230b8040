"""Instructions as the text encoder reads them: its last hidden state, padded, without an attention mask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from wordbrush.errors import PromptTooLong
from wordbrush.models import Model
from wordbrush.training.cache import Row

TEXTS = 64
"""Texts that are encoded together."""


def tokens(model: Model, texts: Sequence[str]) -> Tensor:
    """Return token ids (n, tokens), cut off where the encoder ends; see ``check_lengths``."""
    length = text_length(model)
    ids = model.tokenizer(
        list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    )
    return ids.input_ids


@torch.no_grad()
def encode(model: Model, texts: Sequence[str]) -> Tensor:
    """Return (n, tokens, channels) on the text encoder's device."""
    encoder: Any = model.text_encoder
    return encoder(tokens(model, texts).to(next(encoder.parameters()).device))[0]


def encoded_rows(model: Model, texts: Sequence[str], dtype: torch.dtype) -> Iterator[Row]:
    """Yield the rows of a cache of texts."""
    for start in range(0, len(texts), TEXTS):
        part = texts[start : start + TEXTS]
        for text, one in zip(part, encode(model, part), strict=True):
            yield {"text": text}, {"text": one.to("cpu", dtype).clone()}


def text_length(model: Model) -> int:
    """Return how many tokens the text encoder reads, padding included."""
    return model.backbone.read("").length


def check_lengths(model: Model, texts: Iterable[str], keys: Iterable[str]) -> None:
    """Refuse instructions that the text encoder does not read to the end.

    Raises:
        PromptTooLong: the first such one.
    """
    length = text_length(model)
    for text, key in zip(texts, keys, strict=True):
        used = len(model.tokenizer(text).input_ids)
        if used > length:
            raise PromptTooLong(
                f"the instruction of pair {key!r} has {used} tokens and the text encoder reads {length}: shorten it, "
                "or set data.long_instructions = 'truncate' to have all such cut off, as published"
            )
