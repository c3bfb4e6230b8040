"""Stage ``writer``: a small causal transformer that writes instructions for storybook captions.

A ``LlamaForCausalLM`` of 2.6 M parameters with a byte-level BPE vocabulary of its own. It first learns the language of
captions: two captions of one scene in two phrasings, or of two scenes that differ in one attribute. Then it learns
triplets in the published form, with the loss on the completion alone: those written by hand
(``wordbrush.storybook.instructions.HAND_WRITTEN``), a tenth of the time as they stand and else in their wording about
another scene (``recipe.wordings``).

What the instruction does not speak of has to be copied, and a small model would rather guess what goes well together.
So at first half of the texts, later a tenth, are exercises of random tokens in the same form: one is named and changes,
and the others can only be copied (induction, arXiv:2209.11895).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from wordbrush.dataset.writers.form import ASK, CHANGE, END, Example, read_examples
from wordbrush.storybook.instructions import HAND_WRITTEN
from wordbrush.storybook.recipe.budget import Budget
from wordbrush.storybook.recipe.loop import Run, Schedule, load_average
from wordbrush.storybook.recipe.renders import is_held_out, scene_at
from wordbrush.storybook.recipe.wordings import Wording, vary
from wordbrush.storybook.scene import caption, random_scene

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END_OF_TEXT = "<|endoftext|>"
VOCABULARY = 1600
LONGEST = 512
"""Tokens that the model reads: a caption with some examples before it; a triplet alone has fewer than 80."""

AS_WRITTEN = 0.1
"""Share of hand-written triplets that are shown as they stand."""

EXERCISES_AT_FIRST, EXERCISES_LATER = 0.5, 0.1
"""Share of exercises in copying among the texts after the captions."""

IGNORED = -100
CHAT_TEMPLATE = "{{ messages[-1]['content'] + '\\n##\\n' }}"
"""Lets servers of the chat protocol put the last message, a caption, into the published form."""

ARCHITECTURE: dict[str, Any] = {
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 5,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "max_position_embeddings": LONGEST,
    "tie_word_embeddings": True,
}


def build(vocab_size: int = VOCABULARY) -> Any:
    """Return the untrained model; end of text is token 0 and also fills up."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    ends = {"bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0}
    return LlamaForCausalLM(LlamaConfig(vocab_size=vocab_size, **ends, **ARCHITECTURE))


def wordings() -> list[Wording]:
    """Return the hand-written triplets, read."""
    return [Wording.of(example) for example in read_examples(HAND_WRITTEN)]


def caption_document(index: int) -> str:
    """Return two lines: a training caption, and the scene in other words or one attribute away in the same words."""
    scene, _ = scene_at("train", index)
    rng = np.random.default_rng([29, index])
    phrasing, other = (int(number) for number in rng.integers(0, 2**31, 2))
    drawn = random_scene(rng)
    name = ("place", "time", "style", "companion")[rng.integers(4)]
    near = replace(scene, **{name: getattr(drawn, name)})
    if rng.random() < 0.5 or is_held_out(near):
        return f"{caption(scene, phrasing)}\n{caption(scene, other)}"
    return f"{caption(scene, phrasing)}\n{caption(near, phrasing)}"


def triplet(index: int, known: Sequence[Wording]) -> Example:
    """Return training triplet ``index``, a pure function of it and the wordings."""
    rng = np.random.default_rng([31, index])
    wording = known[int(rng.integers(len(known)))]
    return wording.example if rng.random() < AS_WRITTEN else vary(wording, rng)


def exercise(index: int, vocab_size: int) -> tuple[list[int], list[int]]:
    """Return exercise ``index`` as tokens (read, learned): a text of random tokens, of which one is drawn anew.

    The marks, which are the last three tokens, and the end of text, which is the first, are not among them.
    """
    rng = np.random.default_rng([41, index])
    ask, change, end = ([vocab_size - 3 + number] for number in range(3))
    before = rng.integers(1, vocab_size - 3, rng.integers(6, 18)).tolist()
    after = list(before)
    place = int(rng.integers(len(before)))
    after[place] = int(rng.integers(1, vocab_size - 3))
    return before + ask, [after[place], *change, *after, *end, 0]


def train_tokenizer(out: Path, known: Sequence[Wording], *, captions: int = 4000) -> PreTrainedTokenizerFast:
    """Learn the vocabulary from captions and instructions, and write a tokenizer directory to ``out``.

    Bytes are the alphabet, so that every text can be written; the three marks are one token each.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    learned.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 3,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    corpus = [caption_document(index) for index in range(captions)]
    for index, wording in enumerate(known):
        corpus += [
            wording.example.instruction,
            vary(wording, np.random.default_rng([37, index])).instruction,
        ] * 2
    learned.train_from_iterator(corpus, trainer)
    learned.add_tokens([AddedToken(mark, normalized=False, special=False) for mark in (ASK, CHANGE, END)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=learned,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        model_max_length=LONGEST,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(out)
    return tokenizer


def load_tokenizer(directory: Path) -> PreTrainedTokenizerFast:
    """Return the tokenizer of the stage's folder."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(directory)


def batch_of(rows: Sequence[tuple[list[int], list[int]]], device: torch.device) -> dict[str, Tensor]:
    """Return (tokens read, tokens learned) of several texts as a batch, filled up on the right.

    The labels are ``IGNORED`` wherever nothing is to be learned.
    """
    longest = max(len(read) + len(learned) for read, learned in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for number, (read, learned) in enumerate(rows):
        length = len(read) + len(learned)
        ids[number, :length] = torch.tensor(read + learned)
        labels[number, len(read) : length] = torch.tensor(learned)
        mask[number, :length] = 1
    batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    return {name: value.to(device) for name, value in batch.items()}


def train(
    out: Path,
    *,
    device: torch.device,
    budget: Budget,
    total: int,
    captions: int,
    exercises: int,
    batch: int = 16,
    peak: float = 1e-3,
    decay: int = 100_000,
) -> bool:
    """Train or continue the stage; returns whether the schedule ended.

    Args:
        total: texts seen in all.
        captions: how many of them, the first ones, are captions; the others are triplets and exercises.
        exercises: how many texts after the captions are half exercises, before these become rarer.
        peak: the learning rate after the warm-up.
        decay: texts over which it falls to zero at last.
    """
    known = wordings()
    folder = out / "tokenizer"
    tokenizer = (
        load_tokenizer(folder) if (folder / "tokenizer.json").exists() else train_tokenizer(folder, known)
    )
    model = build(len(tokenizer)).to(device)
    schedule = Schedule(
        batch=batch, peak=peak, total=total, decay=decay, warmup=min(3200, total // 10), ema=4000
    )
    run = Run(model, schedule, out)
    run.resume()
    end = [tokenizer.eos_token_id]

    def lesson(index: int) -> tuple[list[int], list[int]]:
        example = triplet(index, known)
        return tokenizer(example.prompt).input_ids, tokenizer(example.completion).input_ids + end

    def loss(step: int, indices: np.ndarray, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        if step * batch < captions:
            texts = [caption_document(int(index)) for index in indices]
            rows = [(end, tokenizer(text).input_ids + end) for text in texts]
        else:
            early = step * batch < captions + exercises
            drawn = np.random.default_rng([43, step]).random(len(indices))
            copied = drawn < (EXERCISES_AT_FIRST if early else EXERCISES_LATER)
            rows = [
                exercise(int(index), len(tokenizer)) if copies else lesson(int(index))
                for index, copies in zip(indices, copied, strict=True)
            ]
        data = batch_of(rows, device)  # pyright: ignore[reportArgumentType]
        output = model(**data)
        guessed, truth = output.logits[:, :-1].argmax(-1), data["labels"][:, 1:]
        right = (guessed == truth)[truth != IGNORED].float().mean().item()
        return output.loss, {"right": right}

    return run.fit(loss, total, budget=budget)


def averaged_model(out: Path, device: torch.device) -> Any:
    """Return the model of a finished or running stage with the averaged weights, in evaluation mode."""
    return load_average(build(len(load_tokenizer(out / "tokenizer"))).to(device), out)
