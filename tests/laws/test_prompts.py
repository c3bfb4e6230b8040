"""Words and their tokens, over odd prompts too: every token is where the tokenizer says it is."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipelines
import wordbrush as wb
from wordbrush.cli.parse import parse_word
from wordbrush.edits.prompt import Prompt, as_word, named, read_prompt

TOKENIZERS = {"clip": pipelines.clip_tokenizer, "bert": pipelines.bert_tokenizer}
ODD = st.text(
    st.one_of(
        st.sampled_from("  \t\n\u00a0\u200b\u3000.,;:!?'’\"-–—()[]#&@/\\"),
        st.sampled_from("acdeghnotwéèßİıñ日本ه🦊🏳️‍🌈e\u0301\u0308"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=30,
)


def read(text: str, tokenizer: str = "clip", length: int = 400) -> Prompt:
    return read_prompt(text, TOKENIZERS[tokenizer](), length=length)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@settings(max_examples=150, deadline=None)
@given(text=ODD)
def test_words_cover_the_text_and_their_tokens_follow_the_offsets(tokenizer: str, text: str):
    prompt = read(text, tokenizer)
    encoding: Any = TOKENIZERS[tokenizer]()(text, return_offsets_mapping=True)
    assert [token.id for token in prompt.tokens] == encoding["input_ids"]
    assert [(token.start, token.end) for token in prompt.tokens] == [
        tuple(o) for o in encoding["offset_mapping"]
    ]
    assert len(prompt.words) == len(text.split())
    cursor = 0
    for word in prompt.words:
        assert word.text
        assert not any(character.isspace() for character in word.text)
        start = text.index(word.text, cursor)
        cursor = start + len(word.text)
        for position in word.tokens:
            token = prompt.tokens[position]
            assert token.start < cursor
            assert token.end > start


@settings(max_examples=150, deadline=None)
@given(text=ODD)
def test_units_are_all_tokens_in_order(text: str):
    prompt = read(text)
    assert [t for unit in prompt.units for t in unit.tokens] == list(range(len(prompt.tokens)))


@settings(max_examples=150, deadline=None)
@given(text=ODD)
def test_every_word_is_found_by_text_or_said_to_be_ambiguous(text: str):
    prompt = read(text)
    for position, word in enumerate(prompt.words):
        assert prompt.find(position) == word.tokens
        try:
            found = prompt.find(wb.Word(word.text, "all"))
        except wb.UnknownWord:
            assert not word.tokens
        else:
            assert set(word.tokens) <= set(found)


# Words of plain letters, and anything between them.
SPACED = st.lists(
    st.sampled_from(["a", "cat", "dog", "hippopotamus", " ", "  ", "\t", ",", "é", "日"]), max_size=8
)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@settings(max_examples=75, deadline=None)
@given(
    texts=st.one_of(
        st.tuples(ODD, ODD), st.tuples(SPACED, SPACED).map(lambda pair: tuple(map("".join, pair)))
    )
)
def test_published_rules_relate_any_two_prompts_or_refuse_them_with_a_sentence(
    tokenizer: str, texts: tuple[str, str]
):
    source, target = (read(text, tokenizer, length=130) for text in texts)
    for prompt in (source, target):
        for word in prompt.text.split(" "):
            assert all(0 < token < len(prompt.tokens) - 1 for token in wb.published.find(prompt, word))
    mapper, aligned = wb.published.refine_mapper(source, target)
    assert mapper.shape == aligned.shape == (130,)
    assert mapper.max() < 130
    try:
        matrix = wb.published.replace_matrix(source, target)
    except wb.InvalidInput:
        return
    assert matrix.shape == (130, 130)
    assert np.isfinite(matrix).all()


def tokens(text: str, word: Any) -> list[str]:
    prompt = read(text)
    return [prompt.tokens[i].text for i in prompt.find(word)]


@pytest.mark.parametrize(
    ("text", "word", "expected"),
    [
        ("a cat on the beach", "cat", ["cat"]),
        ("a cat, a dog", "cat", ["cat"]),
        ("a cat,dog", "dog", ["dog"]),
        ("A CAT", "cat", ["cat"]),
        ("a hippopotamus!", "hippopotamus", ["hip", "po", "pota", "mus"]),
        ("a watercolor painting", "watercolor painting", ["water", "color", "painting"]),
        ("a watercolor \t painting", "watercolor  painting", ["water", "color", "painting"]),
        ("a red-hot cat", "hot", ["h", "o", "t"]),
        ("a cat and a cat", ("cat", 1), ["cat"]),
        ("a cat and a cat", 1, ["cat"]),
        ("a cat and a cat", wb.Word("cat", "all"), ["cat", "cat"]),
        ("a cat & a dog", "&", ["&"]),
        ("a cat & a dog", 2, ["&"]),
        ("a (red) cat", 1, ["red"]),
    ],
)
def test_find(text: str, word: Any, expected: list[str]):
    assert tokens(text, word) == expected


FORMS = ("NFC", "NFD", "NFKC", "NFKD")


@pytest.mark.parametrize("word", ["café", "naïve", "ế", "각", "が", "Ångström", "q\u0323\u0307"])
@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_words_are_the_same_in_every_form_of_their_letters(tokenizer: str, word: str):
    texts = {unicodedata.normalize(form, f"a {word}, the beach") for form in FORMS}
    texts.add("a q\u0307\u0323, the beach" if word.startswith("q") else f"a {word}, the beach")
    assert len(texts) > 1
    for text in texts:
        prompt = read(text, tokenizer)
        found = prompt.find(1)
        assert found
        for form in FORMS:
            assert prompt.find(unicodedata.normalize(form, word)) == found
            assert prompt.find((unicodedata.normalize(form, word).upper(), 0)) == found
        assert prompt.tokens[prompt.find("the")[0]].text == "the"


@pytest.mark.parametrize(
    ("text", "part"),
    [("a café", "cafe"), ("a cafe\u0301", "cafe"), ("a cafe\u0301", "\u0301"), ("が", "か"), ("각", "가")],
)
def test_a_letter_without_its_accent_is_another_one(text: str, part: str):
    assert not read(text).has(part)


def test_repeated_words_are_told_apart():
    prompt = read("a cat and a cat")
    assert prompt.find(("cat", 0)) == (2,)
    assert prompt.find(("cat", 1)) == (5,)
    assert prompt.find(wb.Word("cat", 1)) == prompt.find(4) == (5,)


@pytest.mark.parametrize(
    ("text", "word", "error", "message"),
    [
        (
            "a cat on the beach",
            "beech",
            wb.UnknownWord,
            r"\(did you mean 'beach'\?\); tokens: a \| cat \| on ",
        ),
        ("a cat on the beach", "at", wb.UnknownWord, "'at' is not in the prompt"),
        ("a cat on the beach", 5, wb.UnknownWord, "no word at position 5 .* 0 'a', 1 'cat'"),
        ("a cat on the beach", -1, wb.UnknownWord, "no word at position -1"),
        ("a cat and a cat", "cat", wb.AmbiguousWord, r"2 times .* \('cat', 0\) or \('cat', 1\)"),
        ("a cat and a cat", ("cat", 2), wb.UnknownWord, "occurs 2 times .* must be 0 to 1, not 2"),
        ("a cat", ("cat", 1), wb.UnknownWord, "occurs once .* must be 0, not 1"),
        ("a cat", "", wb.InvalidInput, "a word is given by"),
        ("a cat", 1.5, wb.InvalidInput, "a word is given by"),
        ("a cat", True, wb.InvalidInput, "a word is given by"),
    ],
)
def test_words_that_cannot_be_found(text: str, word: Any, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        read(text).find(word)


def test_long_prompts_are_refused_not_cut():
    assert len(read("cat " * 22, length=24).tokens) == 24
    with pytest.raises(wb.PromptTooLong, match="25 tokens but the text encoder reads 24"):
        read("cat " * 23, length=24)


def test_tokenizers_without_offsets_are_refused():
    with pytest.raises(wb.InvalidInput, match="'fast' tokenizer"):
        read_prompt("a cat", lambda text: text.split(), length=24)


def test_words_as_people_are_told_of_them():
    prompt = read_prompt("a cat and a Cat on the beach", pipelines.clip_tokenizer(), length=24)
    told = {
        "cat": "cat",
        ("cat", 1): "cat#1",
        wb.Word("cat", "all"): "cat#all",
        wb.Word("the beach"): "the beach",
    }
    for word, name in told.items():
        assert named(word) == named(word, prompt) == str(as_word(word)) == name
    assert named(2) == "the word at position 2"
    assert [named(position, prompt) for position in range(8)] == [
        "a#0", "cat#0", "and", "a#1", "Cat#1", "on", "the", "beach",
    ]  # fmt: skip
    assert all(
        prompt.find(parse_word(named(position, prompt))) == prompt.find(position) for position in range(8)
    )
