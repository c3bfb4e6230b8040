"""Laws of the storybook's pictures: pure, complete, and changed only where the scene changed."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from PIL import ImageFont
from scipy import ndimage

from wordbrush.storybook import font
from wordbrush.storybook.scene import (
    COLOURABLE,
    COLOURS,
    COMPANIONS,
    PLACES,
    STYLES,
    SUBJECTS,
    TIMES,
    Scene,
    UnknownScene,
    random_scene,
)
from wordbrush.storybook.world import SIZE, MissingFont, glyphs, mask, render
from wordbrush.storybook.world.layout import layout

pytestmark = pytest.mark.skipif(
    not font.FONT_PATH.exists(), reason="needs the Debian package fonts-noto-color-emoji"
)

CAT = Scene("cat", "beach")


def around(region: np.ndarray, pixels: int) -> np.ndarray:
    """The region and all pixels at most `pixels` away from it."""
    return ndimage.distance_transform_edt(~region) <= pixels


def ground(region: np.ndarray) -> np.ndarray:
    """The box around a silhouette with its rim and its shadow, which is as wide as the box."""
    rows, columns = np.nonzero(region)
    box = np.zeros_like(region)
    box[max(rows.min() - 4, 0) : rows.max() + 8, max(columns.min() - 4, 0) : columns.max() + 5] = True
    return box


def changed(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (first != second).any(-1)


def test_render_is_pure():
    rng = np.random.default_rng(0)
    before = np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    for seed in range(12):
        scene = random_scene(rng)
        first = render(scene, seed)
        render(random_scene(rng), seed + 1)
        again = render(scene, seed)
        assert first.dtype == np.uint8
        assert first.shape == (SIZE, SIZE, 3)
        assert (first == again).all()
        again[:] = 0
        assert (render(scene, seed) == first).all(), "a picture must not share memory with the next"
    assert before == (np.random.get_state()[1].tolist(), random.getstate())  # noqa: NPY002


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**40, 2**63 - 1])
def test_every_seed_is_a_picture_of_its_own(seed: int):
    assert changed(render(CAT, seed), render(CAT, seed + 1)).mean() > 0.2
    assert changed(render(CAT, seed), render(CAT, seed ^ (1 << 35))).mean() > 0.2


def test_every_word_can_be_drawn():
    subjects = [Scene(subject, "meadow") for subject in SUBJECTS]
    settings = [Scene("cat", place, time, style) for place in PLACES for time in TIMES for style in STYLES]
    companions = [Scene("cat", "meadow", companion=companion) for companion in COMPANIONS]
    colours = [
        Scene(subject, "meadow", colour=colour) for subject in sorted(COLOURABLE) for colour in COLOURS
    ]
    scenes = [*subjects, *settings, *companions, *colours]
    assert len(scenes) == 40 + 300 + 8 + 126
    pictures = {render(scene, 4).tobytes() for scene in scenes}
    # The plain cat at noon in the meadow is in two of the lists.
    assert len(pictures) == len(scenes) - 1


@pytest.mark.parametrize("subject", SUBJECTS)
def test_subjects_are_large_and_inside_the_frame(subject: str):
    for seed in range(6):
        rows, columns = np.nonzero(mask(Scene(subject, "lake"), seed))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert 50 <= max(height, width) <= 100
        assert min(height, width) >= 32
        assert min(rows.min(), columns.min()) >= 2
        assert max(rows.max(), columns.max()) <= SIZE - 3


@pytest.mark.parametrize("companion", COMPANIONS)
def test_companions_are_seen_beside_the_subject(companion: str):
    hidden = []
    for seed in range(40):
        scene = Scene(SUBJECTS[seed], "lake", companion=companion)
        subject, other = mask(scene, seed), mask(scene, seed, "companion")
        rows, columns = np.nonzero(other)
        assert 28 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 52
        assert min(rows.min(), columns.min()) >= 2
        assert max(rows.max(), columns.max()) <= SIZE - 3
        hidden.append((subject & other).sum() / subject.sum())
        bare = render(replace(scene, companion=None), seed)
        assert changed(render(scene, seed), bare)[other].mean() > 0.9
    assert max(hidden) < 0.25, "the companion covers too much of the subject"
    assert np.mean(hidden) < 0.06


def test_masks_tell_where_parts_are():
    scene = Scene("cat", "beach", "night", companion="balloon")
    assert mask(scene, 3).dtype == bool
    assert mask(scene, 3).shape == (SIZE, SIZE)
    assert not mask(CAT, 3, "companion").any()
    assert (mask(scene, 3) == mask(replace(scene, companion=None, time="snow", style="pixel art"), 3)).all()
    with pytest.raises(UnknownScene, match="unknown part 'tail'"):
        mask(scene, 3, "tail")


@pytest.mark.parametrize("time", TIMES)
def test_another_subject_changes_only_its_own_pixels(time: str):
    for seed, place in enumerate(PLACES):
        first = Scene("elephant", place, time, companion="gift")
        second = replace(first, subject="rocket")
        difference = changed(render(first, seed), render(second, seed))
        both = mask(first, seed) | mask(second, seed)
        assert difference[both].mean() > 0.3
        assert not difference[~(ground(mask(first, seed)) | ground(mask(second, seed)))].any(), place


@pytest.mark.parametrize("subject", sorted(COLOURABLE))
def test_a_colour_changes_only_the_subject(subject: str):
    scene = Scene(subject, "city", "rain")
    for seed, colour in enumerate(COLOURS):
        difference = changed(render(scene, seed), render(replace(scene, colour=colour), seed))
        inside = mask(scene, seed)
        assert difference[inside].mean() > 0.15
        assert not difference[~around(inside, 4)].any()


def test_a_companion_moves_nothing_else():
    for seed, companion in enumerate(COMPANIONS):
        bare = Scene("horse", "forest", "snow")
        scene = replace(bare, companion=companion)
        difference = changed(render(bare, seed), render(scene, seed))
        other = mask(scene, seed, "companion")
        assert difference[other].mean() > 0.8
        assert not difference[~ground(other)].any()


def test_place_time_and_style_leave_the_composition_alone():
    """The outlines stay where they are; what belongs to the changed attribute really changes."""
    for seed in range(10):
        scene = Scene("car", "desert", "noon", companion="kite")
        for other in (replace(scene, place="city"), replace(scene, time="night")):
            assert (mask(scene, seed) == mask(other, seed)).all()
            assert (mask(scene, seed, "companion") == mask(other, seed, "companion")).all()
            assert changed(render(scene, seed), render(other, seed)).mean() > 0.3
        same = ~changed(render(scene, seed), render(replace(scene, place="city"), seed))
        assert same[mask(scene, seed)].mean() > 0.85, "at noon, the place does not colour the subject"


def test_composition_varies():
    plans = [layout(seed) for seed in range(400)]
    for name, low, high in (
        ("subject_x", 0.30 * SIZE, 0.70 * SIZE),
        ("subject_base", 0.80 * SIZE, 0.94 * SIZE),
        ("subject_size", 58, 77),
        ("horizon", 0.40 * SIZE, 0.56 * SIZE),
        ("amount", 0.05, 0.95),
    ):
        values = [getattr(plan, name) for plan in plans]
        assert min(values) < low
        assert max(values) > high


@pytest.mark.parametrize("colour", COLOURS)
def test_a_painted_coat_has_the_named_hue(colour: str):
    wanted = np.array(glyphs.PAINTS[colour], float)
    for subject in sorted(COLOURABLE):
        painted = np.asarray(glyphs.glyph(subject, colour), float)
        plain = np.asarray(glyphs.glyph(subject, None), float)
        assert painted.shape == plain.shape
        coat = (np.abs(painted - plain).sum(-1) > 0) & (painted[..., 3] > 200)
        assert coat.sum() > 0.15 * (painted[..., 3] > 200).sum(), subject
        median = np.median(painted[coat][:, :3], axis=0)
        assert np.abs(median - wanted).max() < 60, (subject, median)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("place", PLACES)
def test_weather_can_be_measured(place: str, style: str):
    """Night is darkest, snow and fog are bright and grey, and sunset is the warmest light."""
    seeds = range(3)
    mean = {
        time: np.mean([render(Scene("cat", place, time, style), seed) for seed in seeds], axis=(0, 1, 2))
        for time in TIMES
    }
    light = {time: colour.mean() for time, colour in mean.items()}
    assert min(light, key=light.__getitem__) == "night"
    assert light["rain"] < light["snow"]
    assert light["rain"] < light["fog"]
    warmth = {time: colour[0] - colour[2] for time, colour in mean.items() if time != "noon"}
    assert max(warmth, key=warmth.__getitem__) == "sunset"


@pytest.mark.parametrize(("name", "message"), [("nowhere.ttf", "cannot read"), ("other.ttf", "is the font")])
def test_a_missing_font_is_named(name: str, message: str, tmp_path, monkeypatch):
    path = tmp_path / name
    if name == "other.ttf":
        default = ImageFont.load_default(10)
        assert isinstance(default, ImageFont.FreeTypeFont)
        path.write_bytes(default.path.getvalue())
    monkeypatch.setenv(font.FONT_VARIABLE, str(path))
    caches = (glyphs._font, glyphs.glyph, glyphs.aspect, glyphs.sprite)
    for cache in caches:
        cache.cache_clear()
    with pytest.raises(MissingFont, match=f"{message}.*fonts-noto-color-emoji"):
        render(CAT, 0)
    monkeypatch.undo()
    assert render(CAT, 0).any()
