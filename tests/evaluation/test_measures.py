"""Measures of edited pictures against the same written out, and what they leave out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import editors
import small_clip
import wordbrush as wb
from wordbrush.errors import DataError, InvalidInput, ModelError
from wordbrush.evaluation.data.storybook import example_at
from wordbrush.evaluation.example import Example
from wordbrush.evaluation.measures import AgainstTruth, Change, ClipScores, Judged, Outside, PieClip
from wordbrush.evaluation.methods import METHODS, Generation, Identity, PromptToPrompt, Truth, make_methods
from wordbrush.metrics.pixels import l1, psnr, ssim
from wordbrush.storybook import font
from wordbrush.storybook.judges import FOLDER, Judges

CAPTIONED = Example(
    key="a",
    image=editors.picture(1),
    instruction="a dog",
    before="a cat on a beach",
    after="a dog on a beach",
    truth=editors.picture(2),
    mask=np.arange(32)[:, None] + np.zeros((32, 32)) < 8,
)
BARE = Example(key="b", image=editors.picture(3), instruction="a dog")
MADE = [editors.picture(4), editors.picture(5)]


def test_clip_scores_are_those_of_the_filter():
    clip = small_clip.clip()
    measure = ClipScores(clip)
    found, bare = measure([CAPTIONED, BARE], MADE)
    assert CAPTIONED.before
    assert CAPTIONED.after
    expected = clip.pairs([CAPTIONED.image], MADE[:1], before=[CAPTIONED.before], after=[CAPTIONED.after])
    assert found["clip_image"] == pytest.approx(expected.image[0], abs=1e-6)
    assert found["clip_after"] == pytest.approx(expected.after[0], abs=1e-6)
    assert found["clip_direction"] == pytest.approx(expected.direction[0], abs=1e-4)
    assert set(bare) == {"clip_image"}
    assert measure([CAPTIONED], MADE[:1])[0] == pytest.approx(found, abs=1e-4)


class Colours:
    """In place of a CLIP: pictures are their mean colour, captions are red or the opposite of it."""

    def images(self, images: list[Image.Image]) -> torch.Tensor:
        return torch.stack([torch.tensor(np.asarray(one, float).mean((0, 1))) for one in images])

    def texts(self, texts: list[str]) -> torch.Tensor:
        return torch.tensor([[1.0, 0, 0] if text == "red" else [-1.0, 0, 0] for text in texts])


def test_the_clip_scores_of_pie_bench():
    """100 · max(cosine, 0); of the region the picture times the mask, so that nothing outside of it counts."""
    measure: Any = PieClip(Colours())  # pyright: ignore[reportArgumentType]
    levels = np.zeros((32, 32, 3), dtype=np.uint8)
    levels[:8], levels[8:] = (200, 150, 0), (0, 0, 90)  # the mask is the first eight rows
    image, red = Image.fromarray(levels), replace(CAPTIONED, after="red")
    found, bare = measure([red, BARE], [image, image])
    mean = np.array([50, 37.5, 67.5])
    assert found["clip_whole"] == pytest.approx(100 * 50 / np.linalg.norm(mean))
    assert found["clip_edited"] == pytest.approx(80)
    assert bare == {}
    assert measure([replace(red, after="the opposite")], [image]) == [{"clip_whole": 0, "clip_edited": 0}]
    without = [replace(red, mask=None), replace(red, mask=np.zeros((32, 32), dtype=bool))]
    assert [set(one) for one in measure(without, [image, image])] == [{"clip_whole"}] * 2


def test_a_copy_has_no_direction():
    (copy,) = ClipScores(small_clip.clip())([CAPTIONED], [CAPTIONED.image.copy()])
    assert copy["clip_image"] == pytest.approx(1, abs=1e-12)
    assert copy["clip_direction"] == 0
    said_twice = replace(CAPTIONED, after=CAPTIONED.before)
    assert "clip_direction" not in ClipScores(small_clip.clip())([said_twice], MADE[:1])[0]


def test_pixels_against_input_and_truth():
    change = Change()([CAPTIONED, BARE], MADE)
    truth, none = AgainstTruth()([CAPTIONED, BARE], MADE)
    assert CAPTIONED.truth is not None
    assert change[0]["l1"] == l1(CAPTIONED.image, MADE[0])
    assert truth == {
        "truth_psnr": psnr(CAPTIONED.truth, MADE[0]),
        "truth_ssim": ssim(CAPTIONED.truth, MADE[0]),
        "truth_l1": l1(CAPTIONED.truth, MADE[0]),
    }
    assert none == {}


def test_pictures_smaller_than_the_window_have_no_ssim():
    small = replace(
        CAPTIONED, image=editors.picture(1, (6, 9)), truth=editors.picture(2, (6, 9)), mask=np.eye(6, 9) > 0
    )
    made = [editors.picture(3, (6, 9))]
    assert set(AgainstTruth()([small], made)[0]) == {"truth_psnr", "truth_l1"}
    for mode in ("area", "pie"):
        assert set(Outside(mode)([small], made)[0]) == {"background_mse", "background_psnr"}


@pytest.mark.parametrize("mode", ["area", "pie"])
def test_only_the_background_counts(mode):
    inside = np.asarray(CAPTIONED.image).copy()
    inside[:8] = 255 - inside[:8]
    everything = replace(CAPTIONED, mask=np.ones((32, 32), dtype=bool))
    found = Outside(mode)([CAPTIONED, BARE, everything], [Image.fromarray(inside), *MADE])
    assert found[0]["background_psnr"] == 60
    assert found[0]["background_mse"] == 0
    assert found[1] == found[2] == {}
    assert Outside(mode)([CAPTIONED], MADE[:1])[0]["background_psnr"] < 30


@pytest.mark.skipif(not FOLDER.exists(), reason="the judges are not part of this checkout")
@pytest.mark.skipif(not font.FONT_PATH.exists(), reason="renders need Noto Color Emoji")
def test_judges_tell_truth_from_doing_nothing():
    examples = [example_at(index) for index in range(21)]
    judged = Judged(Judges())
    truth = judged(examples, Truth().edit(examples, [0] * 21).images)
    same = judged(examples, Identity().edit(examples, [0] * 21).images)
    success, kept = (np.mean([row[name] for row in truth]) for name in ("success", "kept"))
    assert success > 0.9
    assert kept > 0.85
    assert np.mean([row["success"] for row in same]) < 0.15
    assert np.mean([row["kept"] for row in same]) > 0.8


@pytest.mark.parametrize(("method", "asked"), [(Generation, "generate"), (PromptToPrompt, "invert")])
def test_methods_tell_of_too_little_memory(
    method: Any, asked: str, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*args: Any, **kwargs: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(f"wordbrush.evaluation.methods.{asked}", full)
    with pytest.raises(ModelError, match="memory ran out over 1 picture of"):
        method(wb.load(tiny_folder, device="cpu")).edit([CAPTIONED], [0])


def test_methods_are_made_by_name():
    assert len(METHODS) == 8
    assert [method.name for method in make_methods(["truth", "identity"])] == ["truth", "identity"]
    with pytest.raises(InvalidInput, match="did you mean 'identity'"):
        make_methods(["identiy"])
    with pytest.raises(InvalidInput, match="instruct needs an editor"):
        make_methods(["instruct"])
    with pytest.raises(InvalidInput, match="sdedit needs a text-to-image model"):
        make_methods(["sdedit"])
    with pytest.raises(DataError, match="'b' has no picture after the edit"):
        Truth().edit([BARE], [0])
