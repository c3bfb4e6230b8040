"""Alignments: which source words target words correspond to, and the matrices that follow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipelines
from wordbrush.edits.align import Relation, align, transfer
from wordbrush.edits.prompt import Prompt, read_prompt

LENGTH = 40
PROMPTS = st.lists(st.sampled_from([*pipelines.WORDS, "hippopotamus", ","]), min_size=1, max_size=9).map(
    " ".join
)


def read(text: str) -> Prompt:
    return read_prompt(text, pipelines.clip_tokenizer(), length=LENGTH)


def relations(source: str, target: str) -> list[str]:
    """Swaps, additions and deletions as ``old>new``, ``+new`` and ``-old``."""
    a, b = read(source), read(target)

    def text(prompt: Prompt, tokens: tuple[int, ...]) -> str:
        return "".join(prompt.tokens[i].text for i in tokens if i < len(prompt.tokens))

    marks = {Relation.SWAPPED: "{}>{}", Relation.ADDED: "{}+{}", Relation.DELETED: "{}-{}"}
    found = []
    for match in align(a, b):
        old, new = text(a, match.source), text(b, match.target)
        if match.relation is Relation.DELETED:
            found.append(f"-{old}")
        elif match.relation is not Relation.SAME:
            found.append(marks[match.relation].format(old, new))
    return found


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("a cat on the beach", "a dog on the beach", ["cat>dog"]),
        ("a cat on the beach", "a hippopotamus on the beach", ["cat>hippopotamus"]),
        ("a cat on the beach", "a red cat on the beach", ["+red"]),
        ("a red cat on the beach", "a cat on the beach", ["-red"]),
        ("a cat", "a watercolor painting of a cat", ["+watercolor", "+painting", "+of", "+a"]),
        ("a cat", "a watercolor painting of a dog", ["+a", "+watercolor", "+painting", "+of", "cat>dog"]),
        ("a cat on the beach", "a dog in the castle", ["cat>dog", "on>in", "beach>castle"]),
        ("a cat on the beach", "a red dog on the beach", ["cat>reddog"]),
        ("a red cat on the beach", "a dog on the beach", ["redcat>dog"]),
        ("a cat", "a dog with the snow on the red castle", None),
        ("a cat", "a cat and a cat", ["+and", "+a", "+cat"]),
        ("a cat, a dog", "a cat, a castle", ["dog>castle"]),
        ("a painting of a cat", "a cat", ["-a", "-painting", "-of"]),
    ],
)
def test_alignment(source: str, target: str, expected: list[str] | None):
    found = relations(source, target)
    if expected is None:  # a long phrase for one word: the first word is the swap, the rest an addition
        assert found[0] == "cat>dog"
        assert {mark[0] for mark in found[1:]} == {"+"}
    else:
        assert sorted(found) == sorted(expected)


@settings(max_examples=40, deadline=None)
@given(text=PROMPTS)
def test_equal_prompts_transfer_the_identity(text: str):
    matrix, kept = transfer(read(text), read(text), swaps=True)
    np.testing.assert_array_equal(matrix, np.eye(LENGTH))
    np.testing.assert_array_equal(kept, 0)


@settings(max_examples=60, deadline=None)
@given(source=PROMPTS, target=PROMPTS, swaps=st.booleans())
def test_no_attention_is_given_twice_and_none_is_made_up(source: str, target: str, swaps: bool):
    a, b = read(source), read(target)
    matrix, kept = transfer(a, b, swaps=swaps)
    assert matrix.min() >= 0
    assert (matrix.sum(axis=1) <= 1 + 1e-12).all(), "a source token gives its map away at most once"
    np.testing.assert_array_equal(kept == 0, matrix.sum(axis=0) > 0)
    used = sorted(token for match in align(a, b) for token in match.target)
    assert len(used) == len(set(used))
    assert set(range(len(b.tokens))) <= set(used)


@settings(max_examples=40, deadline=None)
@given(source=PROMPTS, target=PROMPTS)
def test_start_end_and_padding_stay_themselves(source: str, target: str):
    a, b = read(source), read(target)
    matrix, _ = transfer(a, b, swaps=True)
    ends = len(a.tokens) - 1, len(b.tokens) - 1
    padding = LENGTH - 1 - max(ends)
    assert matrix[0, 0] == 1
    for offset in range(padding + 1):
        assert matrix[ends[0] + offset, ends[1] + offset] == 1


@settings(max_examples=25, deadline=None)
@given(words=st.lists(st.sampled_from(pipelines.WORDS), min_size=2, max_size=8), data=st.data())
def test_one_swapped_word_keeps_all_attention(words: list[str], data: st.DataObject):
    position = data.draw(st.integers(0, len(words) - 1))
    other = [*words]
    other[position] = "hippopotamus"
    matrix, kept = transfer(read(" ".join(words)), read(" ".join(other)), swaps=True)
    assert kept.sum() == 0
    np.testing.assert_allclose(
        matrix[: LENGTH - 3].sum(axis=1), 1
    )  # three paddings make room for longer words
