"""Prompts as the tensors that text encoders take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wordbrush.edits.prompt import Prompt, read_prompt
from wordbrush.errors import ModelError


def text_length(tokenizer: Any, trained: int) -> int:
    """Return how many tokens, padding included, an encoder reads that was trained with so many."""
    return min(tokenizer.model_max_length, trained)


def token_ids(prompts: Sequence[Prompt], tokenizer: Any, encoder: nn.Module) -> Tensor:
    """Return (prompts, length) token ids, padded as the tokenizer does, on the encoder's device."""
    padding = tokenizer.pad_token_id
    rows = [[t.id for t in p.tokens] + [padding] * (p.length - len(p.tokens)) for p in prompts]
    return torch.tensor(rows, device=next(encoder.parameters()).device)


def token_mask(prompts: Sequence[Prompt], encoder: nn.Module) -> Tensor:
    """Return (prompts, length), 1 at tokens and 0 at padding, on the encoder's device.

    If it is offloaded, its outputs are on another one.
    """
    rows = [[1] * len(p.tokens) + [0] * (p.length - len(p.tokens)) for p in prompts]
    return torch.tensor(rows, device=next(encoder.parameters()).device)


def framed_ids(
    prompts: Sequence[Prompt], padding: int, encoder: nn.Module, *, marks: int = 0
) -> tuple[Tensor, Tensor]:
    """Return (prompts, longest) token ids, templates included, padded behind, and the mask of those that are tokens.

    Of causal encoders, no token reads the padding behind it.

    Args:
        marks: how many tokens stand before the head of a template.
    """
    rows = []
    for prompt in prompts:
        ids = [token.id for token in prompt.tokens]
        rows.append([*ids[:marks], *prompt.head, *ids[marks:]])
    longest, device = max(map(len, rows)), next(encoder.parameters()).device
    ids = [row + [padding] * (longest - len(row)) for row in rows]
    mask = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def lowered(text: str) -> str:
    """Return the text in lower case, letter for letter, so that positions stay; anything else is left as it is."""
    if not isinstance(text, str):
        return text
    return "".join(low if len(low := letter.lower()) == 1 else letter for letter in text)


def read_alike(text: str, tokenizers: Sequence[Any], *, length: int) -> Prompt:
    """Tokenize a prompt for encoders whose outputs are put side by side, token by token.

    Raises:
        ModelError: the tokenizers cut it differently, so that a token of one is another word than that of the other.
        PromptTooLong: it does not fit.
    """
    first, *others = (read_prompt(text, tokenizer, length=length) for tokenizer in tokenizers)
    for other in others:
        if [(t.start, t.end) for t in other.tokens] != [(t.start, t.end) for t in first.tokens]:
            raise ModelError(
                f"the tokenizers of this model cut {text[:60]!r} differently, but their outputs are put side by side"
            )
    return first
