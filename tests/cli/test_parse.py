"""The text of options: what is understood, and that everything else is one sentence."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wordbrush.cli import parse
from wordbrush.cli.parse import BadOption
from wordbrush.edits.prompt import Word
from wordbrush.guidance import GuidedSteps


def test_sizes():
    assert parse.parse_size(None) is None
    assert parse.parse_size("96x128") == (96, 128)
    assert parse.parse_size(" 96X128 ") == (96, 128)
    assert parse.parse_size("64") == (64, 64)


@pytest.mark.parametrize(
    "text", ["", "0", "96x0", "x128", "96x", "-64", "1.5", "96x128x3", "big", "9" * 5000]
)
def test_bad_sizes(text: str):
    with pytest.raises(BadOption, match="96x128"):
        parse.parse_size(text)


def test_windows():
    assert parse.parse_until([]) is None
    assert parse.parse_until(["0"]) == 0.0
    assert parse.parse_until(["0.2:0.8"]) == (0.2, 0.8)
    assert parse.parse_until(["lion=0.4"]) == {"lion": 0.4}
    assert parse.parse_until(["0.8", "lion=0.1:0.4"]) == {"default_": 0.8, "lion": (0.1, 0.4)}
    assert parse.parse_until(["two words=0.4", "dog#1=1"]) == {"two words": 0.4, ("dog", 1): 1.0}
    assert parse.parse_until(["dog#all=0.4"]) == {Word("dog", "all"): 0.4}
    assert parse.parse_until(["#2=0.4", "0.8"]) == {2: 0.4, "default_": 0.8}


@pytest.mark.parametrize(
    "texts", [["much"], ["=0.4"], ["0.1:0.2:0.3"], ["0.8", "0.4"], ["lion="], [""], ["lion=1", "lion=0"]]
)
def test_bad_windows(texts: list[str]):
    with pytest.raises(BadOption, match="--until"):
        parse.parse_until(texts)


def test_guided_steps():
    assert parse.parse_guided(None) is None
    assert parse.parse_guided("0.8") == GuidedSteps(0.8)
    assert parse.parse_guided("0.2:0.8") == GuidedSteps((0.2, 0.8))
    assert parse.parse_guided("0:1/2") == GuidedSteps((0.0, 1.0), every=2)


@pytest.mark.parametrize("text", ["", "much", "0:1/", "0:1/0", "0:1/-1", "0:1/x", "0:1:2/2", "/2"])
def test_bad_guided_steps(text: str):
    with pytest.raises(BadOption, match="--guided"):
        parse.parse_guided(text)


def test_weights():
    assert parse.parse_weights([]) == {}
    assert parse.parse_weights(["snow=2", "pink=-1"]) == {"snow": (2.0,), "pink": (-1.0,)}
    assert parse.parse_weights(["snow=0, 1,2", "dog#0=3"]) == {"snow": (0.0, 1.0, 2.0), ("dog", 0): (3.0,)}
    assert parse.parse_weights(["#2=2", "#0=0,1"]) == {2: (2.0,), 0: (0.0, 1.0)}
    assert parse.parse_weights(["dog#all=2", "dog#0=3"]) == {Word("dog", "all"): (2.0,), ("dog", 0): (3.0,)}


@pytest.mark.parametrize(
    "texts",
    [
        ["snow"],
        ["snow="],
        ["=2"],
        ["snow=much"],
        ["snow=1,"],
        ["a=1", "a=2"],
        ["a=1", "A=2"],
        ["a#all=1", "A#all=2"],
        ["#2=1", "#2=2"],
        ["a=1,2", "b=1,2,3"],
    ],
)
def test_bad_weights(texts: list[str]):
    with pytest.raises(BadOption, match="--weight"):
        parse.parse_weights(texts)


def test_blends():
    assert parse.parse_blend(None) is None
    assert parse.parse_blend("cat:dog") == (["cat"], ["dog"])
    assert parse.parse_blend("cat") == (["cat"], ["cat"])
    assert parse.parse_blend("muscle, car:sports,car#1") == (["muscle", "car"], ["sports", ("car", 1)])
    assert parse.parse_blend("cat#all") == ([Word("cat", "all")], [Word("cat", "all")])
    assert parse.parse_blend("#1:#2, hat") == ([1], [2, "hat"])
    assert parse.parse_blend("#:#x") == (["#"], ["#x"])
    assert parse.parse_blend(":hat") == ([], ["hat"])
    assert parse.parse_blend("hat, scarf:") == (["hat", "scarf"], [])


@pytest.mark.parametrize("text", ["", " ", ":", " : ", "a:b:c", "a,:b", ":,", "::"])
def test_bad_blends(text: str):
    with pytest.raises(BadOption, match="--blend"):
        parse.parse_blend(text)


def test_settings():
    assert parse.parse_settings([]) == {}
    assert parse.parse_settings(["batch = 32", "note=a=b"]) == {"batch": "32", "note": "a=b"}
    for bad in ("batch", "=32"):
        with pytest.raises(BadOption, match="NAME=VALUE"):
            parse.parse_settings([bad])


@given(st.text())
def test_any_text_is_understood_or_refused(text: str):
    for read in (
        parse.parse_size,
        parse.parse_blend,
        lambda value: parse.parse_until([value]),
        lambda value: parse.parse_weights([value]),
    ):
        with suppress(BadOption):
            read(text)


@given(st.text())
def test_slugs_are_file_names(text: str):
    name = parse.slug(text)
    assert name
    assert PurePosixPath(name).name == name
    assert len(name.encode()) <= 60
    assert not re.search(r"[\s/\\.\0]", name)


def test_slugs_read_like_the_prompt():
    assert parse.slug("A cat, on a beach!") == "a-cat-on-a-beach"
    assert parse.slug("猫 am Strand") == "猫-am-strand"
    assert parse.slug("...") == "untitled"


def test_long_slugs_end_with_a_whole_letter():
    assert parse.slug("猫" * 100) == "猫" * 20
    assert parse.slug("a" + "猫" * 100) == "a" + "猫" * 19
    assert parse.slug("ab " * 100, 6) == "ab-ab"
