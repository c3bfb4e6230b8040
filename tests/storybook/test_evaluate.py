"""The shipped judges read renders rightly, and what they say of a model and of its edits is put together."""

from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image

from wordbrush.errors import DataError, InvalidInput, ModelError
from wordbrush.models import EMBEDDED
from wordbrush.storybook import font
from wordbrush.storybook.evaluate import ATTRIBUTES, described, evaluate
from wordbrush.storybook.evaluate_edits import FADERS, KINDS, WAYS
from wordbrush.storybook.judges import FOLDER, Judges
from wordbrush.storybook.recipe.renders import scene_at
from wordbrush.storybook.world import render

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="the judges are not part of this checkout")


@pytest.mark.skipif(not font.FONT_PATH.exists(), reason="renders need Noto Color Emoji")
def test_renders_are_read_rightly():
    scenes = [scene_at("heldout", index) for index in range(60)]
    read = Judges().read([Image.fromarray(render(scene, seed)) for scene, seed in scenes])
    for name in ATTRIBUTES:
        right = sum(
            described(scene)[name] == word for (scene, _), word in zip(scenes, read.words[name], strict=True)
        )
        assert right / len(scenes) >= 0.85, name
    other = read.words["subject"][1:] + read.words["subject"][:1]
    assert sum(scene.subject == word for (scene, _), word in zip(scenes, other, strict=True)) < 20
    assert 0.05 < read.outline.mean() < 0.4


def test_pictures_of_another_size_are_refused():
    with pytest.raises(ValueError, match="128 × 128 pixels, not 64 × 128"):
        Judges().read([Image.new("RGB", (64, 128))])


def test_a_model_is_measured():
    found = evaluate(prompts=12, steps=10)
    assert set(found["right"]) == set(ATTRIBUTES)
    assert found["right"]["subject"]["of"] == 12
    styles = found["style_right"].values()
    assert sum(style["of"] for style in styles) == 12
    seen = sum(style["share"] * style["of"] for style in styles if style["of"])
    assert seen == pytest.approx(12 * found["right"]["style"]["share"])
    assert found["right"]["time"]["share"] > 0.7, "the shipped model draws times and weathers"
    blind = evaluate(prompts=12, steps=1, guidance=1.0)
    assert blind["right"]["subject"]["share"] < found["right"]["subject"]["share"]


def test_edits_are_measured_in_every_way():
    found = evaluate(prompts=1, p2p=True, steps=6)
    assert set(found["edits"]) == set(KINDS)
    for kind in KINDS:
        assert set(found["edits"][kind]) == set(WAYS)
    swap = found["edits"]["subject"]
    assert swap["default"]["psnr"]["mean"] > swap["no injection"]["psnr"]["mean"]
    for way in FADERS:
        assert sum(share["of"] for share in found["fader"][way]["rises"].values()) == 1


def test_a_record_is_gone_on_from(tmp_path):
    settings = {"p2p": True, "kinds": ["subject", "fader"], "steps": 3}
    record = tmp_path / "record.jsonl"
    whole = evaluate(prompts=2, record=record, **settings)
    assert set(whole["edits"]) == {"subject"}
    head, first, second = record.read_text().splitlines()
    torn = second[: len(second) // 2]
    record.write_text("\n".join([head, first, torn]))
    again = evaluate(prompts=2, record=record, **settings)
    assert record.read_text().splitlines()[2] == second
    assert json.dumps(again) == json.dumps(whole)
    with pytest.raises(DataError, match=r"is a record of .+, not of .+: name another file"):
        evaluate(prompts=2, record=record, p2p=True, steps=4)
    record.write_text(record.read_text().replace("attend above 0.45", "attend above 0.5", 1))
    with pytest.raises(DataError, match=r"is a record of .+, not of .+: name another file"):
        evaluate(prompts=2, record=record, **settings)
    with pytest.raises(InvalidInput, match=r"no kind of edit 'subjct' \(did you mean 'subject'"):
        evaluate(prompts=1, p2p=True, kinds=["subjct"])


def test_a_record_of_other_weights_is_refused(tmp_path):
    settings = {"p2p": True, "kinds": ["fader"], "steps": 1, "record": tmp_path / "record.jsonl"}
    model = shutil.copytree(EMBEDDED["storybook"], tmp_path / "model")
    found = evaluate(model, prompts=1, **settings)
    assert json.dumps(evaluate(model, prompts=1, **settings)) == json.dumps(found)
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-4] ^= 1  # the last bit of a number
    weights.write_bytes(content)
    with pytest.raises(DataError, match=r"is a record of .+, not of .+: name another file"):
        evaluate(model, prompts=2, **settings)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a list of things", r"line 1: not JSON \(.+\): 'a list of things'"),
        ("[1, 2]\n[3", "line 1: expected a JSON object"),
        ('{"a": 1}\n{"b"', r'is a record of \{"a": 1\}, not of'),
        ("", r"is a record of \{\}, not of"),
    ],
)
def test_a_file_that_is_no_record_is_left_as_it_is(content, says, tmp_path):
    (tmp_path / "record").write_text(content)
    with pytest.raises(DataError, match=says):
        evaluate(prompts=1, p2p=True, record=tmp_path / "record")
    assert (tmp_path / "record").read_text() == content


def test_a_model_of_another_world_is_refused(tmp_path, monkeypatch):
    import torch

    import pipelines
    import wordbrush

    monkeypatch.setattr(wordbrush, "load", lambda *args, **settings: pipelines.model("sd1", torch.float32))
    with pytest.raises(ModelError, match="draws 32 × 32"):
        evaluate("other")
