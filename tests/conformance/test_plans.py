"""Plans: what is left out is filled in as documented, and what is told of it is what will be done."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

import pipelines
import wordbrush as wb
from wordbrush.edits.fields import fields
from wordbrush.edits.mix import TokenMix
from wordbrush.edits.prompt import Prompt
from wordbrush.edits.window import Clock, Schedule, Window

SOURCE, DOG, CASTLE = "a cat on the beach", "a dog on the beach", "a castle on the beach"


def plan(to: str | list[str] = DOG, source: str = SOURCE, **how: Any) -> wb.EditPlan:
    return wb.plan(pipelines.model("sd1", torch.float32), source, to=to, **how)


def schedules(made: wb.EditPlan) -> list[Any]:
    return [edits[0].schedule for edits in made.edits]


DEFAULT = Window(0, pipelines.model("sd1", torch.float32).defaults.until)


def test_a_word_with_a_window_of_its_own_leaves_the_others_to_the_model():
    assert 0 < DEFAULT.stop < 1
    assert schedules(plan()) == [Schedule(DEFAULT)]
    assert schedules(plan(until={"dog": 0.3})) == [Schedule(DEFAULT, (("dog", Window(0, 0.3)),))]
    assert schedules(plan(until={"dog": 0.3, "default_": 0.5})) == [
        Schedule(Window(0, 0.5), (("dog", Window(0, 0.3)),))
    ]
    assert schedules(plan(until=(0.2, 0.5))) == [Schedule(Window(0.2, 0.5))]
    added = plan("a cat on the beach in snow", until={"snow": 0.3}, edits=wb.Reweight({"snow": 2.0}))
    assert isinstance(added.edits[0][0], wb.Refine)
    assert schedules(added) == [Schedule(DEFAULT, (("snow", Window(0, 0.3)),))]


@pytest.mark.parametrize("edit", [wb.Replace, wb.Refine, lambda until: wb.Reweight({"dog": 2.0}, until)])
def test_an_edit_that_is_given_holds_the_others_all_the_time(edit: Any):
    made = plan(edits=[[edit(until={"dog": 0.3})]])
    assert made.edits[0][-1].schedule == Schedule(Window(0, 1), (("dog", Window(0, 0.3)),))


def test_targets_follow_the_windows_of_the_words_they_have():
    made = plan([DOG, CASTLE, "a cat"], until={"dog": 0.3, "castle": 0.2})
    assert schedules(made) == [
        Schedule(DEFAULT, (("dog", Window(0, 0.3)),)),
        Schedule(DEFAULT, (("castle", Window(0, 0.2)),)),
        Schedule(DEFAULT),
    ]
    with pytest.raises(wb.UnknownWord, match="'cow' is not in"):
        plan([DOG, CASTLE], until={"dog": 0.3, "cow": 0.2})
    with pytest.raises(wb.UnknownWord, match="'dog' is not in"):  # the one that has it is not inferred
        plan([DOG, CASTLE], until={"dog": 0.3}, edits=[[wb.Replace()], [wb.Reweight({"castle": 2.0})]])


@pytest.mark.parametrize("edits", [wb.Replace(), [], [wb.Refine(), wb.Reweight({"dog": 2.0})], "published"])
def test_until_is_for_inferred_edits(edits: Any):
    given = wb.published.stable("replace") if edits == "published" else edits
    assert plan(edits=given)
    with pytest.raises(wb.InvalidInput, match="give it to Replace"):
        plan(edits=given, until=0.5)


def test_until_decides_the_picture():
    model = pipelines.model("sd1", torch.float32)
    how: dict[str, Any] = {"to": DOG, "seed": 1, "steps": 4, "size": 16, "self_attention": 0.0}
    inferred, given, usual = (
        wb.edit(model, SOURCE, **how, **more).latents
        for more in ({"until": 0.25}, {"edits": wb.Replace(until=0.25)}, {})
    )
    assert torch.equal(inferred, given)
    assert not torch.equal(inferred, usual)


def test_words_are_named_for_people():
    twice = "a cat and a cat"
    edits = wb.Reweight({wb.Word("cat", "all"): 2.0, 1: 0.5, ("cat", 1): 3.0}, until={("cat", 1): 0.5})
    described = plan(twice, twice, edits=edits, blend=wb.Blend(("cat", 0), [("cat", 1), "and"])).describe()
    assert (
        "re-weight: cat#all × 2, the word at position 1 × 0.5, cat#1 × 3, steps 0 to 1, cat#1: 0 to 0.5"
        in described
    )
    assert "may change where cat#0 or cat#1 or and attends above 0.3" in described
    steps = {"dog": 0.4, "default_": (0.0, 0.8)}
    described = plan(edits=wb.published.stable("replace", cross_replace_steps=steps)).describe()
    assert "steps 0 to 0.8, dog: 0 to 0.4, as int(f·(n + 1))" in described
    assert "{" not in described


def test_captions_name_words_as_the_picture_shows_them():
    model = pipelines.model("sd1", torch.float32)
    strengths = {wb.Word("cat", "all"): 2.0, 1: 0.5, "dog": 3.0}
    result = wb.edit(
        model,
        "a cat and a cat",
        to=["a cat and a cat", "a red dog"],
        edits=wb.Reweight(strengths),
        seed=1,
        steps=1,
        size=16,
    )
    assert result.captions == [
        "a cat and a cat",
        "a cat and a cat, cat#all × 2, cat#0 × 0.5",
        "a red dog, red × 0.5, dog × 3",
    ]


def test_what_one_target_lacks_is_told():
    described = plan([DOG, CASTLE], edits=wb.Reweight({"dog": 2.0})).describe()
    assert described.count("re-weight: dog × 2") == 2
    assert described.count("(no dog here)") == 1


def test_nothing_is_called_none():
    described = plan(edits=wb.Replace(until={"dog": 0, "default_": 0.5}), self_attention=0).describe()
    assert "self-attention of the source: none\n" in described
    assert "steps 0 to 0.5, dog: none" in described
    assert "steps none" in plan(edits=wb.Replace(until=(0.3, 0.3))).describe()


def test_fields_say_what_the_plan_says():
    made = plan(
        [DOG, "a cat"],
        until={"dog": (0.1, 0.3)},
        self_attention=[0.4, 0.0],
        blend=wb.Blend("cat", ["dog", "a"]),
        blocks=[1, 0],
    )
    told = fields(made)
    assert json.loads(json.dumps(told)) == told
    dog, cat = told["targets"]
    assert (told["source"], dog["prompt"], cat["prompt"]) == (SOURCE, DOG, "a cat")
    assert dog["words"][1] == {"word": "dog", "tokens": [2], "is": "swapped", "source": "cat"}
    assert cat["words"][2:] == [
        {"word": None, "tokens": [], "is": "deleted", "source": word} for word in ("on", "the", "beach")
    ]
    (replace,), (refine,) = dog["edits"], cat["edits"]
    assert (replace["edit"], replace["until"], replace["words"]) == (
        "Replace",
        [0, DEFAULT.stop],
        {"dog": [0.1, 0.3]},
    )
    assert (refine["edit"], refine["words"]) == ("Refine", {})
    assert [one["self_attention"]["until"] for one in (dog, cat)] == [[0, 0.4], [0, 0]]
    assert told["blend"]["source"] == [["cat"], ["cat"]]
    assert told["blend"]["targets"] == [["a", "dog"], ["a"]]
    assert told["blocks"] == [0, 1]
    assert fields(plan(blend="auto"))["blend"]["targets"] == [["dog"]]
    assert fields(plan(blend="none"))["blend"] is None
    weighted = fields(plan(edits=wb.Reweight({wb.Word("dog", "all"): -1.0})))["targets"][0]["edits"][1]
    assert weighted["strengths"] == {"dog#all": -1.0}
    assert fields(plan(edits=wb.published.stable("replace")))["targets"][0]["edits"][0]["edit"] == "Transfer"


@pytest.mark.parametrize(
    ("source", "target"), [([], "snow"), ("beach", []), ([], [["snow"]]), ("beach", [[]])]
)
def test_a_blend_of_one_prompt_s_words(source: Any, target: Any):
    """Words of one side alone: the mask is their region, neither empty nor everything."""
    model = pipelines.model("sd1", torch.float32)
    how: dict[str, Any] = {"to": "a cat on the beach in snow", "seed": 1, "steps": 4, "size": (32, 16)}
    blended = wb.edit(model, SOURCE, blend=wb.Blend(source, target, threshold=0.8), **how)
    free = wb.edit(model, SOURCE, blend="none", **how)
    held = (blended.latents[0] == blended.latents[1]).all(dim=0)
    assert 0 < held.float().mean() < 1
    assert not (free.latents[0] == free.latents[1]).all(dim=0).any()


def test_a_blend_of_no_words():
    for target in ([], [[]]):
        with pytest.raises(
            wb.InvalidInput, match="names no word of 'a cat on the beach', and none of 'a dog"
        ):
            plan(blend=wb.Blend([], target))
    with pytest.raises(wb.InvalidInput, match="and none of 'a castle"):
        plan([DOG, CASTLE], blend=wb.Blend([], [["dog"], []]))
    with pytest.raises(wb.UnknownWord, match="no word of 'a castle"):
        plan([DOG, CASTLE], blend=wb.Blend([], "dog"))


def test_a_plan_names_the_words_that_a_blend_found():
    def told(to: str | list[str], **how: Any) -> str:
        line = plan(to, **{"blend": "auto", **how}).describe().splitlines()[-1]
        assert line.startswith("blend: may change where the changed words attend above 0.45")
        return line.partition("; its words: ")[2]

    assert told(DOG) == told(DOG + ".") == "cat, dog"
    assert told([DOG, "a red cat on the beach", SOURCE], edits=[None, None, [wb.Reweight({"cat": 2.0})]]) == (
        "cat, dog (target 1); red (target 2); none (target 3)"
    )
    assert told(DOG, edits=wb.Reweight({"beach": 2.0, "on": 1.0})) == "cat, dog, beach"
    assert told(SOURCE + ".", blend=wb.AutoBlend()) == "none"
    own = plan(blend=wb.AutoBlend(source="cat", target=["dog"])).describe().splitlines()[-1]
    assert own.startswith("blend: may change where cat or dog attends above 0.45")
    assert plan(blend=wb.Blend("cat", "dog")).describe().endswith("from 0.2 of the steps on")
    weighted = plan(DOG + ".", blend="auto", edits=wb.Reweight({"beach": 2.0}))
    assert fields(weighted)["blend"]["targets"] == [["dog", "beach"]]


class Own:
    """An edit of one's own, between others."""

    schedule = Schedule(Window())
    words = ()

    def fold(self, mix: TokenMix, gate: Any, *, source: Prompt, target: Prompt) -> TokenMix:
        return mix

    def describe(self) -> str:
        return "own"


def test_transfers_come_before_faders_in_whatever_order_they_are_given():
    fader, other, transfer, own = (
        wb.Reweight({"dog": 5.0}, renormalise=False),
        wb.Reweight({"beach": 2.0}, renormalise=False),
        wb.Replace(1.0),
        Own(),
    )
    for given, done in (
        ([fader, transfer], [transfer, fader]),
        ([fader, own, transfer, other], [own, transfer, fader, other]),
        ([fader, transfer, own, other], [transfer, fader, own, other]),
        (
            [wb.Refine((0, 0.2)), fader, wb.Replace((0.2, 1))],
            [wb.Refine((0, 0.2)), wb.Replace((0.2, 1)), fader],
        ),
        ([own, fader, own], None),
    ):
        assert list(plan(edits=given).edits[0]) == (given if done is None else done)
    told = plan(edits=[fader, transfer]).describe()
    assert told.index("  replace: ") < told.index("  re-weight: dog × 5")
    model = pipelines.model("sd1", torch.float32)
    how: dict[str, Any] = {"to": DOG, "seed": 1, "steps": 4, "size": 16}
    one, same, alone = (
        wb.edit(model, SOURCE, edits=edits, **how).latents
        for edits in ([fader, transfer], [transfer, fader], transfer)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, alone)


@pytest.mark.parametrize(
    "edits",
    [
        [wb.Refine(1.0), wb.Replace(1.0)],
        [wb.Refine(0.5), wb.Reweight({"dog": 2.0}), wb.Replace(0.8)],
        [wb.Refine((0.2, 0.8)), wb.Replace((0.2, 0.4)), wb.Replace((0.4, 1.0))],
        [wb.Refine({"dog": 0.5, "default_": 0.0}), wb.Replace(0.5)],
        [wb.Refine({"dog": 0.5, "default_": 0.0}), wb.Replace({"dog": 0.6, "default_": 0.0})],
    ],
)
def test_a_transfer_of_which_nothing_is_left_is_refused(edits: list[Any]):
    with pytest.raises(
        wb.InvalidInput, match=r"^Refine\(.* does nothing, because Replace\(.*\) after it takes over"
    ):
        plan(edits=edits)


@pytest.mark.parametrize(
    "edits",
    [
        [wb.Refine((0.0, 0.4)), wb.Replace((0.4, 0.8))],
        [wb.Refine(0.8), wb.Replace(0.4)],
        [wb.Refine((0.2, 0.8)), wb.Replace((0.2, 0.4)), wb.Replace((0.5, 1.0))],
        [wb.Refine(0.5), wb.Replace({"dog": 0.4, "default_": 0.5})],
        [wb.Refine(0.0), wb.Replace(1.0)],
    ],
)
def test_transfers_that_leave_something_of_each_other_are_not(edits: list[Any]):
    assert list(plan(edits=edits).edits[0]) == edits
    shared = [wb.Refine({"snow": 0.8, "default_": 0.2}), wb.Replace(0.4)]  # of use in the target with snow
    assert plan([DOG, "a dog on the beach in snow"], edits=shared)


@pytest.mark.parametrize(
    ("words", "first", "second"),
    [
        (("beach", "Beach"), "beach", "Beach"),
        (("beach", ("beach", 0)), "beach", "beach#0"),
        (("beach", wb.Word("beach", "all")), "beach", "beach#all"),
        ((4, "beach"), "the word at position 4", "beach"),
        (("the beach", "The  Beach"), "the beach", "The  Beach"),
    ],
)
def test_a_word_is_named_once(words: tuple[Any, Any], first: str, second: str):
    numbers: dict[Any, float] = dict(zip(words, (0.4, 0.9), strict=True))
    for how, what in (
        ({"edits": wb.Reweight(numbers)}, "strength"),
        ({"edits": wb.Reweight({"dog": 2.0}, until=numbers)}, "window"),
        ({"edits": wb.Replace(until=numbers)}, "window"),
        ({"until": numbers}, "window"),
    ):
        with pytest.raises(wb.InvalidInput) as caught:
            plan([CASTLE, DOG], **how)
        assert str(caught.value) == (
            f"{first!r} and {second!r} are the same word of {CASTLE!r}: give it one {what}"
        )


def test_words_that_overlap_are_not_the_same():
    strengths = {"red cat": 2.0, "cat": 3.0}
    made = plan("a red cat on the beach", edits=wb.Reweight(strengths))
    (mix, *_), *_ = made.mixes(Clock(4, 4))
    assert (mix.own + mix.from_source.sum(axis=0))[[2, 3]].tolist() == [2.0, 6.0]
    assert plan("a red cat on the beach", until={"red cat": 0.4, "cat": 0.8})


def test_the_edit_of_one_target_may_be_left_to_be_inferred():
    fader = wb.Reweight({"castle": 2.0}, renormalise=False)
    made = plan([DOG, CASTLE], edits=[None, [fader]], until=0.3)
    inferred = wb.Replace(0.3)
    assert made.edits == ((inferred,), (inferred, fader))
    assert plan(edits=[None]).edits == plan().edits
    assert plan([DOG, CASTLE], edits=[[], None]).edits[0] == ()
    for edits in ([None, wb.Replace()], [None], [None] * 3):
        with pytest.raises(wb.InvalidInput, match=r"2 lists of edits, .* or None for a target"):
            plan([DOG, CASTLE], edits=edits)
