"""Every example runs as it stands, and the community pipelines load through diffusers, from a path."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
from diffusers import DiffusionPipeline
from PIL import Image

import editors
import wordbrush as wb
from wordbrush.dataset import formats
from wordbrush.models import EMBEDDED

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
needs_weights = pytest.mark.skipif(
    not EMBEDDED["storybook"].exists(), reason="the storybook's weights are not part of this checkout"
)


@pytest.fixture(autouse=True)
def in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(name: str, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str(ROOT / "examples" / name))


def test_no_example_is_forgotten():
    """Each is short, and has a test below."""
    text = Path(__file__).read_text(encoding="utf-8")
    assert len(EXAMPLES) >= 5
    assert [path.name for path in EXAMPLES if f'"{path.name}"' not in text] == []
    assert [path.name for path in EXAMPLES if len(path.read_text().splitlines()) > 110] == []


@needs_weights
def test_control_in_a_stock_pipeline(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    run("stock_pipeline.py", monkeypatch=monkeypatch)
    pictures = [Image.open(f"stock-{number}.png").tobytes() for number in range(3)]
    assert len(set(pictures)) == 3
    assert "target 2: a cat on a beach at night" in capsys.readouterr().out


@needs_weights
def test_an_edit_of_ones_own(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    run("add_an_edit.py", monkeypatch=monkeypatch)
    assert Path("fade-in.png").exists()
    assert "fade in: snow towards × 3" in capsys.readouterr().out


@needs_weights
def test_a_backbone_of_ones_own(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    run("add_a_backbone.py", monkeypatch=monkeypatch)
    assert float(capsys.readouterr().out.rpartition("by ")[2]) > 1e-3


def test_a_metric_of_ones_own(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    dark, light = (Image.new("RGB", (8, 8), (level,) * 3) for level in (50, 200))
    pairs = [
        formats.EditPair(
            key=str(number),
            instruction=f"edit {number}",
            before_picture=formats.Picture.of(before),
            after_picture=formats.Picture.of(after),
        )
        for number, (before, after) in enumerate([(dark, dark), (dark, light), (light, light)])
    ]
    formats.write("imagefolder", iter(pairs), Path("pairs"))
    run("add_a_metric.py", "pairs", "kept", monkeypatch=monkeypatch)
    assert [pair.instruction for pair in formats.read("imagefolder", Path("kept"))] == ["edit 0", "edit 2"]
    assert "+0.588  edit 1" in capsys.readouterr().out


def test_a_writer_of_ones_own(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    run("add_a_writer.py", monkeypatch=monkeypatch)
    first, _, last = capsys.readouterr().out.strip().splitlines()
    assert first.startswith("a cat on a beach: turn the ")
    assert last == "a turtle: table: no word of the caption is in it"


def test_prompt_to_prompt_as_a_community_pipeline(tiny_folder: Path):
    pipe = DiffusionPipeline.from_pretrained(
        tiny_folder, custom_pipeline=str(ROOT / "community" / "prompt_to_prompt.py"), trust_remote_code=True
    )
    pipe.set_progress_bar_config(disable=True)
    given = {"seed": 3, "num_inference_steps": 2, "output_type": "latent"}
    made = pipe("a cat on a beach", to="a dog on a beach", **given).images
    plan = wb.plan(wb.from_pipe(pipe), "a cat on a beach", to="a dog on a beach")
    assert type(pipe).__name__ == "PromptToPromptPipeline"
    assert made.shape == (2, 4, 8, 8)
    assert not made[0].equal(made[1])
    with pytest.raises(wb.UnknownWord, match="'snow' is not in the prompt"):
        pipe("a cat", to="a dog", edits=wb.Reweight({"snow": 2.0}), **given)
    assert plan.describe()


def test_instruct_pix2pix_as_a_community_pipeline(tmp_path: Path):
    pipe = DiffusionPipeline.from_pretrained(
        editors.save(tmp_path / "editor"),
        custom_pipeline=str(ROOT / "community" / "instruct_pix2pix_two_scales.py"),
        trust_remote_code=True,
    )
    picture = editors.picture(1)
    given = {"seed": 3, "num_inference_steps": 2}
    made = pipe("a dog", image=picture, image_guidance_scale=0.8, **given).images
    expected = editors.editor()(
        picture, "a dog", text_guidance=7.5, image_guidance=0.8, seed=3, steps=2
    ).images
    assert made[0].size == picture.size
    assert made[0].tobytes() == expected[0].tobytes()
