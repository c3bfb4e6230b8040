"""Stage ``tokenizer``: a byte-level BPE vocabulary in CLIP's form, learned from storybook captions.

Frequent words become one token, as in CLIP's vocabulary; a handful of compounds stay in two parts, because code that
assumes one token a word must fail here as it fails there.
"""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from wordbrush.storybook.recipe.files import write_json
from wordbrush.storybook.recipe.renders import scene_at
from wordbrush.storybook.scene import caption

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

MAX_TOKENS = 32
"""Length of every encoded prompt, both marks included."""

COMPOUNDS = (
    "sun|flower",
    "snow|man",
    "pump|kin",
    "dino|saur",
    "sail|boat",
    "tea|pot",
    "butter|fly",
    "water|color",
)
"""Words kept in two tokens: no merge crosses the bar."""

START, END = "<|startoftext|>", "<|endoftext|>"


def learn_merges(corpus: list[str]) -> list[tuple[str, str]]:
    """Byte-pair merges, most frequent first, until every word is one token and every compound is two.

    The last character of a word carries ``</w>``; ties go to the alphabetically first pair.
    """
    seams = {compound.replace("|", ""): compound.split("|") for compound in COMPOUNDS}
    counts: Counter[tuple[str, ...]] = Counter()
    for word in (word for line in corpus for word in line.lower().split()):
        *heads, tail = seams.get(word, [word])
        for part in (tuple(head) for head in heads):
            counts[part] += 1
        counts[(*tail[:-1], tail[-1] + "</w>")] += 1
    pieces = {part: part for part in counts}
    learned: list[tuple[str, str]] = []
    while True:
        pairs: Counter[tuple[str, str]] = Counter()
        for part, split in pieces.items():
            for pair in itertools.pairwise(split):
                pairs[pair] += counts[part]
        if not pairs:
            return learned
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        learned.append(best)
        pieces = {part: _merge(split, best) for part, split in pieces.items()}


def _merge(parts: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    merged: list[str] = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return tuple(merged)


def train(out: Path, *, captions: int = 20_000) -> CLIPTokenizer:
    """Learn the vocabulary and write a CLIP tokenizer directory to ``out``."""
    corpus = [
        caption(scene_at("train", index)[0], index).replace(",", " ,").replace(".", " .")
        for index in range(captions)
    ]
    merges = learn_merges(corpus)
    alphabet = sorted(_byte_alphabet())
    tokens = [
        *alphabet,
        *(letter + "</w>" for letter in alphabet),
        *("".join(pair) for pair in merges),
        START,
        END,
    ]
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "vocab.json", {token: index for index, token in enumerate(dict.fromkeys(tokens))})
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (out / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (out / "tokenizer.json").unlink(missing_ok=True)  # from_pretrained would prefer it to the new merges
    tokenizer = load(out)
    tokenizer.save_pretrained(out)
    return tokenizer


def load(directory: Path) -> CLIPTokenizer:
    """Return the tokenizer of a directory with ``vocab.json`` and ``merges.txt``."""
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(
        directory, model_max_length=MAX_TOKENS, bos_token=START, eos_token=END, unk_token=END, pad_token=END
    )


def _byte_alphabet() -> list[str]:
    """The printable stand-ins of all 256 bytes, as in GPT-2's byte-level BPE."""
    from tokenizers.pre_tokenizers import ByteLevel

    return list(ByteLevel.alphabet())
