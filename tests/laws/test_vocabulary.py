"""Words that a model was never shown are named, with the nearest that it was; other models know all words."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import pipelines
import wordbrush as wb
from wordbrush.cli.app import app
from wordbrush.errors import InvalidInput
from wordbrush.models import Defaults
from wordbrush.storybook.recipe.paraphrases import instruction_words
from wordbrush.storybook.scene import (
    COLOURS,
    COMPANIONS,
    PLACES,
    STYLES,
    SUBJECTS,
    TIMES,
    caption,
    caption_words,
    random_scene,
)
from wordbrush.storybook.unseen import unseen_edit
from wordbrush.vocabulary import WORD, UnknownWordWarning, warn_of_unknown_words

KNOWN = ["a", "cat", "dog", "on", "the", "beach"]


@pytest.fixture
def strict():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnknownWordWarning)
        yield


def small() -> wb.Model:
    model = pipelines.model()
    return replace(model, defaults=replace(model.defaults, words=KNOWN))


@pytest.mark.usefixtures("strict")
def test_a_slip_and_a_stranger_are_named():
    with pytest.raises(
        UnknownWordWarning, match=r"never shown 'dgo' \(did you mean 'dog'\?\): what that word draws"
    ):
        wb.plan(small(), "a cat on the beach", to="a dgo on the beach")
    with pytest.raises(
        UnknownWordWarning, match=r"never shown 'two', 'unicorns': what those words draw is chance"
    ):
        wb.generate(small(), ["a cat", "Two unicorns, on the beach"], seed=0, steps=1)
    with pytest.raises(UnknownWordWarning, match="'beech'"):
        wb.edit(small(), "a cat on the beech", to="a dog on the beech", seed=0, steps=1)


@pytest.mark.usefixtures("strict")
def test_what_is_known_and_models_that_do_not_say_are_silent():
    wb.plan(small(), "A cat, on the beach!", to="a dog on the beach")
    wb.plan(pipelines.model(), "a cat on the beach", to="a xyzzy on the beach")
    warn_of_unknown_words(["3 cat"], KNOWN)


@pytest.mark.parametrize("words", ["cat", [1], 3])
def test_words_are_a_list(words: object):
    with pytest.raises(InvalidInput, match="words is a list of words, or none, not"):
        Defaults(words=words)  # pyright: ignore[reportArgumentType]


def test_the_storybook_says_what_it_knows():
    model, editor = wb.load("storybook"), wb.load_editor("storybook")
    assert model.defaults.words == caption_words()
    assert editor.defaults.words == instruction_words()
    rng = np.random.default_rng(0)
    captions = [caption(random_scene(rng), seed) for seed in range(3_000)]
    assert {word for text in captions for word in WORD.findall(text)} == set(caption_words())
    said = {word for index in range(700) for word in WORD.findall(unseen_edit(index).instruction.lower())}
    assert said <= set(instruction_words())
    with pytest.warns(UnknownWordWarning, match=r"'nigth' \(did you mean 'night'\?\)"):
        editor(Image.new("RGB", (128, 128)), "make it nigth", steps=1)


def test_the_command_line_says_it_in_a_sentence(tmp_path: Path):
    told = CliRunner().invoke(app, ["edit", "a cat on a beach", "--to", "a dgo on a beach", "--plan"])
    assert told.exit_code == 0
    assert told.stderr.startswith(
        "wordbrush: this model was never shown 'dgo' (did you mean 'dog'?): what that"
    )
    assert "UserWarning" not in told.stderr


def test_the_page_lists_what_there_is():
    page = (Path(__file__).parents[2] / "docs" / "storybook.md").read_text(encoding="utf-8")
    for values in (SUBJECTS, PLACES, TIMES, STYLES, COLOURS, COMPANIONS):
        assert f"| {', '.join(values)} |" in page
