"""Sampling texts in which every row has a generator of its own.

``generate`` of transformers does the decoding, with greedy search over logits in which only the token that was
drawn is left; so any architecture and cache works, and no global random state is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria

from wordbrush.dataset.writers.form import END
from wordbrush.errors import InvalidInput

if TYPE_CHECKING:
    from wordbrush.dataset.writers.local import Sampling

TAIL = 16
"""Tokens that are looked at for the end mark; it is four characters and a line break."""


class KeyedDraw(LogitsProcessor):
    """Draws the next token of every row by the row's own uniform numbers, and leaves no other choice.

    Args:
        seeds: one per row.
        start: length of the prompts in tokens, padding included; only what comes after counts for the penalty.
    """

    def __init__(self, seeds: Sequence[int], sampling: Sampling, *, start: int) -> None:
        self.generators = [np.random.Generator(np.random.PCG64(seed)) for seed in seeds]
        self.sampling, self.start = sampling, start

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return (rows, vocabulary) logits: 0 for the drawn token, −∞ elsewhere."""
        logits = scores.detach().double().cpu()
        written = input_ids[:, self.start :].cpu()
        counts = torch.zeros_like(logits).scatter_add_(
            1, written, torch.ones_like(written, dtype=logits.dtype)
        )
        logits = (logits - self.sampling.frequency_penalty * counts) / self.sampling.temperature
        uniform = torch.tensor([generator.random() for generator in self.generators], dtype=torch.float64)
        drawn = draw(logits.softmax(-1), uniform, top_p=self.sampling.top_p)
        return torch.full_like(scores, -torch.inf).scatter_(1, drawn[:, None].to(scores.device), 0.0)


def draw(probabilities: Tensor, uniform: Tensor, *, top_p: float) -> Tensor:
    """Return the token that each uniform number in [0, 1) picks, (rows,) int64.

    Args:
        probabilities: (rows, vocabulary), each row summing to 1.
        top_p: draw from the most probable tokens that together have at least this probability (arXiv:1904.09751).
    """
    ordered, tokens = probabilities.sort(dim=-1, descending=True, stable=True)
    total = ordered.cumsum(-1)
    reach = torch.where(total - ordered < top_p, ordered, 0.0)
    inside = reach.cumsum(-1)
    place = torch.searchsorted(inside, (uniform * inside[:, -1])[:, None], right=True)
    last = (reach > 0).sum(-1, keepdim=True) - 1
    return tokens.gather(1, place.minimum(last)).squeeze(1)


class AtEnd(StoppingCriteria):
    """Stops a row whose text has reached the end mark."""

    def __init__(self, tokenizer: Any, start: int) -> None:
        self.tokenizer, self.start = tokenizer, start

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return which rows are done, (rows,) bool."""
        tails = self.tokenizer.batch_decode(input_ids[:, self.start :][:, -TAIL:])
        return torch.tensor([END in tail for tail in tails], device=input_ids.device)


Text = tuple[str, int, int]
"""What was written, tokens read, tokens written."""


def check_head(model: Any, tokenizer: Any, head: str, *, sampling: Sampling) -> None:
    """Raise ``InvalidInput`` if what stands before every caption leaves no room for one, and for a text."""
    tokens, longest = len(tokenizer(head).input_ids), _longest(model)
    if longest is not None and tokens + sampling.max_tokens > longest:
        raise InvalidInput(
            f"a prompt of {tokens} tokens before the caption and a text of up to {sampling.max_tokens} are more than "
            f"the {longest} tokens the model reads: lower max_tokens, or show fewer examples"
        )


def sample_texts(
    model: Any, tokenizer: Any, prompts: Sequence[str], seeds: Sequence[int], *, sampling: Sampling
) -> list[Text | None]:
    """Return what was written after each prompt; None for one that leaves no room for a text."""
    encoded, longest = [tokenizer(prompt).input_ids for prompt in prompts], _longest(model)
    texts: list[Text | None] = [None] * len(encoded)
    fitting = [
        row
        for row, tokens in enumerate(encoded)
        if longest is None or len(tokens) + sampling.max_tokens <= longest
    ]
    if fitting:
        own = [encoded[row] for row in fitting], [seeds[row] for row in fitting]
        for row, text in zip(fitting, _sample(model, tokenizer, *own, sampling=sampling), strict=True):
            texts[row] = text
    return texts


def _longest(model: Any) -> int | None:
    """Return how many tokens the model reads, if it says."""
    return getattr(model.config, "max_position_embeddings", None)


@torch.inference_mode()
def _sample(
    model: Any,
    tokenizer: Any,
    encoded: Sequence[Sequence[int]],
    seeds: Sequence[int],
    *,
    sampling: Sampling,
) -> list[Text]:
    from transformers import GenerationConfig

    stops = _end_tokens(model, tokenizer)
    start = max(map(len, encoded))
    fill = stops[0]
    ids = torch.tensor([[fill] * (start - len(row)) + [*row] for row in encoded], device=model.device)
    mask = torch.tensor([[0] * (start - len(row)) + [1] * len(row) for row in encoded], device=model.device)
    # A configuration of our own, whole: the model's may hold top_k and penalties that nobody asked for.
    model.generation_config = GenerationConfig(
        do_sample=False, max_new_tokens=sampling.max_tokens, eos_token_id=stops, pad_token_id=fill
    )
    made = model.generate(
        input_ids=ids,
        attention_mask=mask,
        logits_processor=[KeyedDraw(seeds, sampling, start=start)],
        stopping_criteria=[AtEnd(tokenizer, start)],
    )[:, start:].tolist()
    texts = []
    for row, given in zip(made, encoded, strict=True):
        length = next((at for at, token in enumerate(row) if token in stops), len(row))
        text = tokenizer.decode(row[:length])
        ended = END in text
        if ended:
            text = text[: text.index(END) + len(END)]
        # A row that ended with the mark is filled up with end tokens that it did not write.
        texts.append((text, len(given), length if ended else min(len(row), length + 1)))
    return texts


def _end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Return the tokens that end a text, of the tokenizer and of the model's own settings; the first one fills up."""
    named = getattr(model.generation_config, "eos_token_id", None)
    ends = [tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])]
    found = [end for end in dict.fromkeys(ends) if end is not None]
    return found or [0]
