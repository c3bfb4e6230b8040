"""The published text form, and triplets written by hand."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from wordbrush.dataset.writers.form import BadForm, Example, read_completion, read_examples
from wordbrush.errors import DataError
from wordbrush.storybook.instructions import ATTRIBUTES, HAND_WRITTEN, NOUNS, WORD, changed, objection
from wordbrush.storybook.recipe.renders import is_held_out
from wordbrush.storybook.recipe.wordings import Wording, vary
from wordbrush.storybook.scene import parse

EXAMPLES = read_examples(HAND_WRITTEN)


def test_prompt_and_completion_are_the_published_ones():
    example = Example("a cat on a beach", "make it snow", "a cat on a beach in the snow")
    assert example.prompt == "a cat on a beach\n##\n"
    assert example.completion == "make it snow\n%%\na cat on a beach in the snow\nEND"
    assert read_completion(example.completion + "\nand more") == (example.instruction, example.after)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("make it snow\n%%\na cat in the snow", "does not end with END"),
        ("make it snow, a cat in the snow\nEND", "not 0"),
        ("a\n%%\nb\n%%\nc\nEND", "not 2"),
        ("\n%%\na cat in the snow\nEND", "the instruction is empty"),
        ("make it snow\n%%\n \nEND", "the caption is empty"),
        ("make it\nsnow\n%%\na cat\nEND", "the instruction has more than one line"),
    ],
)
def test_other_forms_are_refused(text: str, message: str):
    with pytest.raises(BadForm, match=message):
        read_completion(text)


def test_examples_are_read_under_both_names(tmp_path: Path):
    path = tmp_path / "some.jsonl"
    path.write_text(
        '{"input": "a", "edit": "b", "output": "c", "url": "u"}\n\n{"caption": "d", "edit": "e", "output": "f"}\n'
    )
    assert read_examples(path) == [Example("a", "b", "c"), Example("d", "e", "f")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"input": "a", "edit": "b"}', r"line 1: no 'output' or 'after' among input, edit"),
        ('{"input": "a", "edit": " ", "output": "c"}', r"line 1: 'edit' is a text, not ' '"),
        ("nonsense", r"line 1: not JSON"),
        ("", "holds no triplets"),
    ],
)
def test_bad_examples_are_named(tmp_path: Path, line: str, message: str):
    path = tmp_path / "some.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match=message):
        read_examples(path)


def test_hand_written_triplets_are_true_and_unique():
    assert len(EXAMPLES) == 368
    for example in EXAMPLES:
        assert objection(example.before, example.instruction, example.after) is None, example
    assert len({example.instruction.lower() for example in EXAMPLES}) == len(EXAMPLES)
    assert len({example.before for example in EXAMPLES}) > 300
    lines = HAND_WRITTEN.read_text(encoding="utf-8").splitlines()
    assert all(list(json.loads(line)) == ["input", "edit", "output"] for line in lines)


def test_hand_written_triplets_keep_out_of_the_held_out_combinations():
    scenes = [parse(text) for example in EXAMPLES for text in (example.before, example.after)]
    assert not any(map(is_held_out, scenes))


def test_hand_written_triplets_cover_every_attribute_and_every_value():
    kinds = Counter(changed(parse(e.before), parse(e.after))[0] for e in EXAMPLES)
    assert set(kinds) == set(ATTRIBUTES)
    assert min(kinds.values()) >= 40
    for attribute, values in NOUNS.items():
        after = {getattr(parse(example.after), attribute) for example in EXAMPLES}
        assert set(values) <= after, attribute


def test_hand_written_wordings_are_varied():
    """With its nouns blanked out, hardly any wording occurs a second time; nor do many begin alike."""
    nouns = {noun for values in NOUNS.values() for noun in values}
    blank = [
        " ".join("_" if word in nouns else word for word in WORD.findall(example.instruction.lower()))
        for example in EXAMPLES
    ]
    wordings, openings = Counter(blank), Counter(tuple(one.split()[:3]) for one in blank)
    assert max(wordings.values()) <= 3
    assert len(wordings) > 0.97 * len(EXAMPLES)
    assert max(openings.values()) <= 8


@pytest.mark.parametrize(
    ("instruction", "after", "message"),
    [
        ("turn the cat into a fox", "a fox on a beach", None),
        (" ", "a fox on a beach", "the instruction is empty"),
        ("turn the cat into a fox", "a cat on a beach", "nothing changed"),
        ("turn the cat into a fox", "a fox in a city", "subject and place changed"),
        ("turn the cat into a fox", "a fox on a planet", "does not know the word 'planet'"),
        ("turn the dog into a fox", "a fox on a beach", "names 'dog', which is in neither caption"),
        ("turn the cat into something else", "a fox on a beach", "does not say that the subject becomes fox"),
        ("make it snow", "a cat on a beach in the rain", "does not say that the time becomes rain"),
    ],
)
def test_truth_of_a_triplet_is_decided(instruction: str, after: str, message: str | None):
    found = objection("a cat on a beach", instruction, after)
    assert (message is None) == (found is None)
    assert message is None or message in str(found)


def test_taking_away_may_name_what_was_there():
    assert objection("a cat on a beach with a ball", "lose the ball", "a cat on a beach") is None
    assert objection("a cat on a beach with a ball", "much emptier", "a cat on a beach") is not None
    assert objection("a red car in a city", "no paint", "a car in a city") is None
    assert objection("a cat on a beach in the rain", "stop raining", "a cat on a beach") is None


def test_wordings_are_said_of_other_scenes():
    told = 0
    for number, example in enumerate(EXAMPLES):
        wording = Wording.of(example)
        varied = vary(wording, np.random.default_rng([1, number]))
        assert varied == vary(wording, np.random.default_rng([1, number]))
        assert objection(varied.before, varied.instruction, varied.after) is None
        assert not is_held_out(parse(varied.before))
        assert not is_held_out(parse(varied.after))
        assert changed(parse(varied.before), parse(varied.after)) == (wording.attribute,)
        told += varied.before != example.before
    assert told > 360


def test_words_of_a_wording_are_replaced_with_their_articles():
    example = Example("a cat on a beach", "turn the cat into a fox", "a fox on a beach")
    varied = {vary(Wording.of(example), np.random.default_rng(n)).instruction for n in range(60)}
    assert len(varied) > 30
    assert any(" into an elephant" in one or " into an owl" in one for one in varied)
    assert not any("a elephant" in one or "a owl" in one for one in varied)
    kept = Wording.of(Example("a dog in a meadow in the rain", "stop the rain", "a dog in a meadow"))
    assert {vary(kept, np.random.default_rng(n)).instruction for n in range(9)} == {"stop the rain"}
