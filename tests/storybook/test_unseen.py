"""Edits that no model was trained on: true, reproducible, and asked for in words that no training text has."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from wordbrush.dataset.writers.form import read_examples
from wordbrush.storybook.instructions import CUES, HAND_WRITTEN, changed, objection
from wordbrush.storybook.recipe.renders import is_held_out
from wordbrush.storybook.recipe.wordings import Wording, vary
from wordbrush.storybook.scene import COLOURS, COMPANIONS, PLACES, SUBJECTS, parse
from wordbrush.storybook.unseen import KINDS, WORDINGS, unseen_edit

CLASSES = {
    **dict.fromkeys((*SUBJECTS, *COMPANIONS), "THING"),
    **dict.fromkeys(PLACES, "PLACE"),
    **dict.fromkeys(COLOURS, "COLOUR"),
    **{word: "LOOK" for words in CUES.values() for word in words},
}
FILLERS = {"a", "an", "the", "please", "art", "it", "this"}
EDITS = [unseen_edit(index) for index in range(40 * len(KINDS))]


def skeleton(instruction: str) -> str:
    """An instruction without what it is about: the names of things are classes, articles and politeness are gone."""
    words = re.findall(r"[a-z0-9]+(?:'[a-z]+)?", instruction.lower())
    return " ".join(CLASSES.get(word, word) for word in words if word not in FILLERS)


def test_a_skeleton_forgets_what_an_instruction_is_about():
    assert (
        skeleton("Swap the dog for an owl, please")
        == skeleton("swap a rose for the car")
        == "swap THING for THING"
    )
    assert skeleton("make it night") == skeleton("make it rain") == "make LOOK"
    assert skeleton("make it night") != skeleton("show it at night")


def test_no_training_text_has_these_wordings():
    written = read_examples(HAND_WRITTEN)
    known = {skeleton(example.instruction) for example in written}
    rng = np.random.default_rng(0)
    for example in written:
        wording = Wording.of(example)
        known |= {skeleton(vary(wording, rng).instruction) for _ in range(2)}
    assert len(known) > 250
    assert skeleton("swap a rose for the car") in known
    unseen = {skeleton(edit.instruction) for edit in EDITS}
    assert len(unseen) >= 8 * len(KINDS) * 0.9
    assert unseen & known == set()


def test_their_words_are_known_all_the_same():
    known = {
        word for example in read_examples(HAND_WRITTEN) for word in skeleton(example.instruction).split()
    }
    assert {word for edit in EDITS for word in skeleton(edit.instruction).split()} - known == set()


def test_every_edit_is_true_and_of_its_kind():
    assert Counter(edit.kind for edit in EDITS) == dict.fromkeys(KINDS, 40)
    for number, edit in enumerate(EDITS):
        assert is_held_out(edit.before)
        before, after = edit.captions
        assert (parse(before), parse(after)) == (edit.before, edit.after)
        assert objection(before, edit.instruction, after) is None, edit.instruction
        assert changed(edit.before, edit.after) == (edit.kind.split()[0],)
        assert unseen_edit(number) == edit
        if edit.kind.startswith("companion"):
            assert (edit.after.companion is None) == (edit.kind == "companion removed")
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|None", edit.instruction), edit.instruction


def test_every_wording_is_used():
    assert list(WORDINGS) == list(KINDS)
    for kind, wordings in WORDINGS.items():
        assert len(set(wordings)) == len(wordings) >= 8
        said = {skeleton(edit.instruction) for edit in EDITS if edit.kind == kind}
        assert len(said) >= 7, kind
