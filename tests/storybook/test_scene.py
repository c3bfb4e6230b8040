"""Laws of the storybook's language: what it says, it understands, and what it does not know, it names."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wordbrush import errors
from wordbrush.storybook import scene as language
from wordbrush.storybook.scene import (
    COLOURABLE,
    COLOURS,
    COMPANIONS,
    PLACES,
    STYLES,
    SUBJECTS,
    TIMES,
    VOCABULARY,
    Scene,
    UnknownCaption,
    UnknownScene,
    caption,
    parse,
    random_scene,
)


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    subject = draw(st.sampled_from(SUBJECTS))
    colours = [None, *COLOURS] if subject in COLOURABLE else [None]
    return Scene(
        subject,
        draw(st.sampled_from(PLACES)),
        draw(st.sampled_from(TIMES)),
        draw(st.sampled_from(STYLES)),
        draw(st.sampled_from(colours)),
        draw(st.sampled_from([None, *COMPANIONS])),
    )


def test_vocabulary_has_its_size():
    sizes = [len(words) for words in (SUBJECTS, PLACES, TIMES, STYLES, COMPANIONS, COLOURS, COLOURABLE)]
    assert sizes == [40, 10, 6, 5, 8, 7, 18]
    assert set(SUBJECTS) >= COLOURABLE
    nouns = (*SUBJECTS, *PLACES, *COMPANIONS)
    assert len(set(nouns)) == len(nouns), "a noun with two meanings could not be read back"
    assert 100 <= len(VOCABULARY) <= 180


@settings(max_examples=400, deadline=None)
@given(scenes(), st.integers(0, 2**63))
def test_parse_inverts_caption(scene: Scene, seed: int):
    assert parse(caption(scene, seed)) == scene
    assert parse(caption(scene)) == scene


def test_parse_inverts_thousands_of_captions_made_of_known_words():
    rng = np.random.default_rng(1)
    used = set()
    for seed in range(5000):
        scene = random_scene(rng)
        text = caption(scene, seed)
        words = text.replace(",", "").split()
        assert parse(text) == scene, text
        assert len(words) <= 20, text
        used.update(words)
    assert used <= set(VOCABULARY)
    assert set(VOCABULARY) - used == {"the"} - used, "a word that is never said is no vocabulary"


@settings(max_examples=100, deadline=None)
@given(scenes(), st.integers(0, 10**6), st.data())
def test_parse_forgives_case_spaces_commas_and_a_full_stop(scene: Scene, seed: int, data: st.DataObject):
    text = caption(scene, seed)
    spaces = st.sampled_from([" ", "  ", "\t", " \n "])
    loose = "".join(data.draw(spaces) if letter == " " else letter for letter in text)
    loose = data.draw(st.sampled_from([loose, loose.upper(), loose.title()]))
    loose = data.draw(st.sampled_from(["", " "])) + loose + data.draw(st.sampled_from(["", ".", ". "]))
    assert parse(loose) == scene


def test_canonical_captions():
    cases = {
        "a cat on a beach at sunset": Scene("cat", "beach", "sunset"),
        "an owl on the moon": Scene("owl", "moon"),
        "a watercolor of a red car in a city at night": Scene("car", "city", "night", "watercolor", "red"),
        "an oil painting of a fox near a mountain in the snow": Scene(
            "fox", "mountain", "snow", "oil painting"
        ),
        "a rabbit in a meadow with a balloon": Scene("rabbit", "meadow", companion="balloon"),
        "pixel art of an orange tent by a lake in the rain with an umbrella": Scene(
            "tent", "lake", "rain", "pixel art", "orange", "umbrella"
        ),
    }
    assert len(cases) == 6
    for text, scene in cases.items():
        assert caption(scene) == text
        assert parse(text) == scene


def test_phrasings_vary_in_words_and_order():
    scene = Scene("cat", "beach", "sunset", "watercolor", "red", "balloon")
    texts = {caption(scene, seed) for seed in range(400)}
    assert len(texts) > 150
    first_words = Counter(text.split()[0] for text in texts)
    assert {"a", "on", "at", "in"} <= set(first_words)
    before = sum(text.index("beach") < text.index("balloon") for text in texts)
    assert 0.2 < before / len(texts) < 0.8
    style_last = sum(text.index("watercolor") > text.index("cat") for text in texts)
    assert 0.1 < style_last / len(texts) < 0.9


def test_one_seed_phrases_two_subjects_alike():
    first = Scene("cat", "beach", "sunset", "watercolor", companion="kite")
    second = replace(first, subject="dog")
    changed = 0
    for seed in range(200):
        words, others = caption(first, seed).split(), caption(second, seed).split()
        assert len(words) == len(others)
        changed += [(a, b) for a, b in zip(words, others, strict=True) if a.strip(",") != b.strip(",")] == [
            ("cat", "dog")
        ]
    assert changed >= 150, "punctuation aside, only the swapped word may differ"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a cta on a beach", r"'cta' \(did you mean 'cat'"),
        ("a cat on a beach, at sunsett", r"'sunsett' \(did you mean 'sunset'"),
        ("", "names no subject"),
        (" . ", "names no subject"),
        ("a cat", "names no place"),
        ("on a beach at noon", "names no subject"),
        ("a cat a dog on a beach", "names the subject twice: 'cat' and 'dog'"),
        ("a sunny cat on a beach", "'a sunny cat'"),
        ("a cat in a beach", "'in a beach'"),
        ("a cat on a red beach", "'on a red beach'"),
        ("a red green car in a city", "'a red green car'"),
        ("cat on beach", "'cat on beach'"),
        ("a balloon on a beach", "'a balloon'"),
        ("a red fox in a forest", "fox cannot be given the colour 'red'"),
        ("a cat at noon at night on a beach", "the time twice: 'noon' and 'night'"),
        ("a cat on a snowy beach in the rain", "the time twice: 'snow' and 'rain'"),
        ("a watercolor of a", "'a'"),
        ("a cat on a beach – at noon", "'–'"),
        ("a cat on a beach at noon\x00", r"'noon\\x00'"),
    ],
)
def test_parse_names_what_it_did_not_understand(text: str, message: str):
    with pytest.raises(UnknownCaption, match=message) as caught:
        parse(text)
    assert isinstance(caught.value, errors.WordbrushError)
    assert isinstance(caught.value, ValueError)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(VOCABULARY), max_size=12).map(" ".join)))
def test_parse_answers_any_text_with_a_scene_or_a_sentence(text: str):
    with contextlib.suppress(UnknownCaption):
        assert parse(caption(parse(text))) == parse(text)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"subject": "cta"}, r"unknown subject 'cta' \(did you mean 'cat'"),
        ({"place": "beech"}, r"unknown place 'beech' \(did you mean 'beach'"),
        ({"time": "midnight"}, r"unknown time 'midnight' \(did you mean 'night'"),
        ({"style": "oil"}, "unknown style 'oil'"),
        ({"companion": "baloon"}, r"unknown companion 'baloon' \(did you mean 'balloon'"),
        ({"colour": "gren"}, r"unknown colour 'gren' \(did you mean 'green'"),
        ({"subject": "fox", "colour": "red"}, "a fox cannot be given the colour 'red'"),
        ({"subject": None}, "unknown subject None"),
    ],
)
def test_scene_refuses_unknown_values(values: dict[str, str], message: str):
    with pytest.raises(UnknownScene, match=message):
        Scene(**({"subject": "cat", "place": "beach"} | values))


def test_random_scene_has_the_promised_shares():
    rng = np.random.default_rng(3)
    drawn = [random_scene(rng) for _ in range(20_000)]
    share = {name: Counter(getattr(scene, name) for scene in drawn) for name in Scene.__dataclass_fields__}
    for name, values in (("subject", SUBJECTS), ("place", PLACES), ("time", TIMES)):
        assert len(share[name]) == len(values)
        assert all(abs(share[name][value] / 20_000 * len(values) - 1) < 0.25 for value in values)
    for style in STYLES:
        assert share["style"][style] / 20_000 == pytest.approx(0.40 if style == "plain" else 0.15, abs=0.02)
    assert 1 - share["companion"][None] / 20_000 == pytest.approx(0.30, abs=0.02)
    paintable = [s for s in drawn if s.subject in COLOURABLE and s.style != "pencil sketch"]
    assert sum(s.colour is not None for s in paintable) / len(paintable) == pytest.approx(0.35, abs=0.02)
    assert all(s.colour is None for s in drawn if s.style == "pencil sketch")


def test_random_scene_uses_only_its_generator():
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    first = [random_scene(np.random.default_rng(5)) for _ in range(3)]
    assert first[0] == first[1] == first[2]
    assert before == np.random.get_state()[1].tolist()  # noqa: NPY002


def test_the_language_needs_no_numpy():
    code = f"import sys, {language.__name__}; sys.exit('numpy' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
