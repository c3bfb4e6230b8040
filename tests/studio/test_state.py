"""Words that are retyped, deleted and weighed, and the orders that come of them."""

from __future__ import annotations

from pathlib import Path

import pytest

import wordbrush as wb
from wordbrush.errors import InvalidInput
from wordbrush.studio.state import Draft, Knobs, Limits


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> wb.Model:
    return wb.load(tiny_folder)


@pytest.fixture
def draft(model: wb.Model) -> Draft:
    return Draft.of(model.backbone.read("a cat, a red hat (and a cat)"))


def test_words_are_found_where_they_stand(draft: Draft):
    assert [draft.word(number) for number in range(len(draft.spans))] == [
        "a",
        "cat",
        "a",
        "red",
        "hat",
        "and",
        "a",
        "cat",
    ]
    assert not draft.edited
    assert draft.target == draft.source


def test_retyping_keeps_everything_else(draft: Draft):
    assert draft.retype(7, "big  dog ").target == "a cat, a red hat (and a big dog)"
    assert draft.retype(7, "dog").retype(7, "cat") == draft


@pytest.mark.parametrize(
    ("number", "target"),
    [
        (0, "cat, a red hat (and a cat)"),
        (1, "a, a red hat (and a cat)"),
        (3, "a cat, a hat (and a cat)"),
        (7, "a cat, a red hat (and a)"),
    ],
)
def test_deleting_leaves_no_gap(draft: Draft, number: int, target: str):
    deleted = draft.retype(number, "  ")
    assert deleted.target == target
    assert number not in deleted.places()
    for other, (start, stop) in deleted.places().items():
        assert deleted.target[start:stop] == draft.word(other)


def test_a_word_is_named_by_its_occurrence_if_it_has_to_be(draft: Draft, model: wb.Model):
    weighed = draft.weigh(7, 2).weigh(3, 0.5).weigh(1, -1)
    target = model.backbone.read(weighed.target)
    assert weighed.weights(target) == {("cat", 0): -1.0, "red": 0.5, ("cat", 1): 2.0}
    assert weighed.weigh(7, 1).weights(target) == {("cat", 0): -1.0, "red": 0.5}
    swapped = draft.weigh(7, 2).retype(1, "dog")
    assert swapped.weights(model.backbone.read(swapped.target)) == {"cat": 2.0}
    gone = draft.weigh(7, 2).retype(7, "")
    assert gone.weights(model.backbone.read(gone.target)) == {}


def knobs(**changes: object) -> Knobs:
    values = {"seed": 3, "until": 0.8, "self_attention": 0.4, "blend": "none", "steps": 50, "guidance": 7.5}
    return Knobs(**values | changes)  # pyright: ignore[reportArgumentType]


def test_controls_at_their_defaults_are_left_out(draft: Draft, model: wb.Model):
    order = knobs().order(draft.retype(1, "dog"), model.backbone.read, model.defaults, Limits())
    assert order.sampling == {"seed": 3}
    assert order.editing == {}
    plain = knobs(until=0.1).order(draft, model.backbone.read, model.defaults, Limits())
    assert plain.target is None


def test_controls_that_were_moved_are_said(draft: Draft, model: wb.Model):
    moved = knobs(until=0.5, self_attention=0.0, blend="cat:dog", steps=4, size="64x128", negative=" red ")
    order = moved.order(draft.retype(1, "dog").weigh(3, 2), model.backbone.read, model.defaults, Limits())
    assert order.sampling == {"steps": 4, "negative": "red", "size": (64, 128), "seed": 3}
    assert order.editing == {
        "edits": [wb.Replace(until=0.5), wb.Reweight({"red": 2.0})],
        "self_attention": 0.0,
        "blend": wb.Blend(source=["cat"], target=["dog"]),
    }


@pytest.mark.parametrize("blend", [None, " "])
def test_an_emptied_blend_is_refused(blend: str | None, draft: Draft, model: wb.Model):
    edited = draft.retype(1, "dog")
    order = knobs(blend=blend).order(edited, model.backbone.read, model.defaults, Limits())
    with pytest.raises(InvalidInput, match="is not a pair of words; expected SOURCE:TARGET"):
        _ = order.editing


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seed": None}, "a seed is a whole number of at least 0 and below 2⁶³, not None"),
        ({"seed": -1}, "a seed is a whole number of at least 0 and below 2⁶³, not -1"),
        ({"size": "2048x2048"}, "2048 × 2048 pixels is more than the 1,048,576"),
        ({"size": "wide"}, "--size 'wide' is not a size"),
        ({"steps": 101}, "at most 100 steps, not 101"),
    ],
)
def test_what_is_refused(changes: dict[str, object], sentence: str, draft: Draft, model: wb.Model):
    with pytest.raises(InvalidInput, match=sentence):
        knobs(**changes).order(draft, model.backbone.read, model.defaults, Limits())
