"""Words and their tokens in every kind of tokenizer that text encoders come with, built with small vocabularies."""

from __future__ import annotations

from typing import Any

import pytest

from families import t5_tokenizer
from pipelines import bert_tokenizer, clip_tokenizer
from small_tokenizers import gemma, qwen
from wordbrush.edits.align import Relation, align
from wordbrush.edits.prompt import read_prompt

TEXTS = (
    "a cat on the beach",
    "A hippopotamus, with a red watercolor!",
    "the  cat's beach-castle in\tthe snow, and a dog.",
    "café at sunset",
)


TOKENIZERS = {
    "clip": clip_tokenizer,
    "bert": bert_tokenizer,
    "t5": t5_tokenizer,
    "gemma": gemma,
    "qwen": qwen,
}


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_words_tokens_are_those_of_its_characters(name: str, text: str):
    tokenizer: Any = TOKENIZERS[name]()
    prompt = read_prompt(text, tokenizer, length=128)
    offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    assert [(token.start, token.end) for token in prompt.tokens] == list(map(tuple, offsets))
    place = 0
    for word in prompt.words:
        place = text.index(word.text, place)
        inside = set(range(place, place + len(word.text)))
        assert word.tokens == tuple(n for n, (a, b) in enumerate(offsets) if inside & set(range(a, b)))
        covered = {letter for n in word.tokens for letter in range(*offsets[n])}
        assert inside <= covered, f"no letter of {word.text!r} is left out"
        beyond = "".join(text[letter] for letter in sorted(covered - inside))
        assert not beyond.strip(), f"the tokens of {word.text!r} hold {beyond!r} of another word"
        place += len(word.text)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_the_same_words_correspond_whatever_the_tokenizer(name: str):
    tokenizer: Any = TOKENIZERS[name]()
    source = read_prompt("a cat on the beach", tokenizer, length=32)
    target = read_prompt("a hippopotamus on the beach", tokenizer, length=32)
    swapped = [match for match in align(source, target) if match.relation is Relation.SWAPPED]
    assert [match.source for match in swapped] == [source.find("cat")]
    assert set(target.find("hippopotamus")) <= set(swapped[0].target)
    assert len(target.find("hippopotamus")) >= 4
    for word in ("a", "on", "the", "beach"):
        same = [match for match in align(source, target) if match.source == source.find(word)]
        assert [(match.relation, match.target) for match in same] == [(Relation.SAME, target.find(word))]
