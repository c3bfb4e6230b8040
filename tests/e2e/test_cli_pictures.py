"""Pictures of one's own on the command line: inverted once or on the way, edited, held to masks, cached."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from wordbrush.cli.app import app
from wordbrush.files import read_settings

CAPTION, TARGET = "a cat on a beach", "a dog on a beach"


@pytest.fixture(autouse=True)
def with_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A storybook render in a folder of its own, as small as the random-weight pipeline works at."""
    from wordbrush.storybook import font
    from wordbrush.storybook.scene import parse
    from wordbrush.storybook.world import render

    if not font.FONT_PATH.exists():
        pytest.skip("needs the Debian package fonts-noto-color-emoji")
    monkeypatch.chdir(tmp_path)
    picture = Image.fromarray(render(parse(CAPTION), 1))
    picture.resize((64, 64), Image.Resampling.LANCZOS).save("photo.png")
    mask = np.zeros((64, 64), np.uint8)
    mask[:, :32] = 255
    Image.fromarray(mask).save("mask.png")


def run(folder: Path, *arguments: str, status: int = 0) -> Any:
    result = CliRunner().invoke(app, [*arguments, "--model", str(folder)], prog_name="wordbrush")
    assert result.exit_code == status, result.output
    assert not list(Path().rglob("*.tmp"))
    return result


def refused(folder: Path, *arguments: str) -> str:
    before = sorted(Path().rglob("*"))
    result = run(folder, *arguments, status=2)
    assert sorted(Path().rglob("*")) == before
    (sentence,) = result.stderr.strip().splitlines()
    return sentence.removeprefix("wordbrush: ")


def pixels(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_inverted_once_and_edited_twice(tiny_folder: Path):
    made = run(
        tiny_folder,
        "invert",
        "photo.png",
        "--caption",
        CAPTION,
        "--steps",
        "2",
        "-o",
        "p.safetensors",
        "--json",
    )
    told = json.loads(made.stdout)
    assert told["files"] == ["p.safetensors"]
    assert told["settings"]["forward_samples"] == 2
    again = ("edit", "p.safetensors", "--to", TARGET, "--cache", "kept")
    costs = []
    for folder in ("one", "two"):
        costs.append(json.loads(run(tiny_folder, *again, "-o", folder, "--json").stdout)["settings"])
    assert [cost["source"] for cost in costs] == [CAPTION, CAPTION]
    assert [cost["forward_samples"] for cost in costs] == [3 * 2 + 1, 2 * 2 + 1]
    assert costs[0]["inversion"] == {"method": "direct", "forward_samples": 2}
    assert (pixels("one/source.png") == pixels("two/source.png")).all()
    at_once = ("edit", "photo.png", "--caption", CAPTION, "--to", TARGET, "--steps", "2")
    run(tiny_folder, *at_once, "-o", "three")
    run(tiny_folder, *at_once)
    named = [path.name for path in Path("out").iterdir()]
    assert len(named) == 1
    assert named[0].startswith("photo-")
    assert "seed" not in named[0]
    edited = "01-a-dog-on-a-beach.png"
    assert (pixels(f"one/{edited}") == pixels(f"three/{edited}")).all()
    for folder in ("one", "three"):
        assert (pixels(f"{folder}/picture.png") == pixels("photo.png")).all()
        assert (pixels(f"{folder}/source.png") != pixels("photo.png")).any(), (
            "what the autoencoder makes of it"
        )
        with Image.open(f"{folder}/grid.png") as sheet:
            assert sheet.width > 3 * 4 * 64, "the picture, its reconstruction and the edit"
    assert read_settings(Path("three", edited))["source"] == CAPTION


def test_words_that_the_model_was_never_shown_are_named_when_inverting(tiny_folder: Path, tmp_path: Path):
    model = tmp_path / "model"
    shutil.copytree(tiny_folder, model)
    (model / "wordbrush.json").write_text(
        json.dumps({"words": ["a", "cat", "on", "beach"]}), encoding="utf-8"
    )
    told = run(model, "invert", "photo.png", "-c", "a cat on a statue", "--steps", "1", "-o", "p.safetensors")
    assert "this model was never shown 'statue'" in told.stderr


def test_a_mask_with_the_pixels_kept(tiny_folder: Path):
    run(
        tiny_folder,
        *("edit", "photo.png", "--caption", CAPTION, "--to", TARGET, "--steps", "2", "-o", "held"),
        *("--mask", "mask.png", "--keep-pixels", "--method", "negative-prompt"),
    )
    original, edited = pixels("photo.png"), pixels("held/01-a-dog-on-a-beach.png")
    assert (original[:, 32:] == edited[:, 32:]).all()
    assert (original[:, :32] != edited[:, :32]).any()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["photo.png", "--to", TARGET], "'photo.png' is a file: say with --caption"),
        (["photo.jpg", "--to", TARGET], "no picture 'photo.jpg'; if it is meant as a prompt, add --as-prompt"),
        (["photo.jpg", "-c", CAPTION, "--to", TARGET], "there is no file 'photo.jpg'"),
        (["photo.png", "-c", CAPTION, "--as-prompt", "--to", TARGET], "leave one out"),
        (["no.safetensors", "--to", TARGET], "there is no inverted picture 'no.safetensors'"),
        (["no.safetensors", "-c", CAPTION, "--to", TARGET], "brings its own caption"),
        (["photo.png", "-c", CAPTION, "--seed", "1", "--to", TARGET], "--seed is for pictures made from a prompt"),
        ([CAPTION, "--method", "direct", "--to", TARGET], "--method says how a picture is inverted"),
        ([CAPTION, "--crop", "--to", TARGET], "--crop says how a picture is inverted"),
        (["photo.png", "-c", CAPTION, "--size", "32x64", "--to", TARGET], "would be stretched to 32 × 64"),
        (["photo.png", "-c", CAPTION, "--method", "dirct", "--to", TARGET], "did you mean 'direct'"),
        ([CAPTION, "--keep-pixels", "--to", TARGET], "give --mask as well"),
        ([CAPTION, "--cache", "c", "--cache-limit", "lots", "--to", TARGET], "the limit of a cache"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_one_sentence(tiny_folder: Path, arguments: list[str], says: str):
    assert says in refused(tiny_folder, "edit", *arguments, "--steps", "2")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--weight", "snow=2"], "the word 'snow' is not in the prompt"),
        (["--blend", "snow:dog"], "the word 'snow' is not in the prompt"),
        (["--until", "snow=0.4"], "the word 'snow' is not in the prompt"),
        (["--mask", "small.png"], "the mask has 32 × 32 pixels and the picture 64 × 64"),
        (["--mask", "black.png"], "nothing in the mask is white"),
        (["--mask", "no.png"], "no.png: no such file"),
        (["--keep-pixels"], "give --mask as well"),
        (
            ["--method", "null-text", "--negative", "dark"],
            "brings its own negative side: leave --negative out",
        ),
        (["--negative", "cat " * 90], "the text encoder reads 77"),
    ],
)
def test_nothing_is_inverted_for_an_edit_that_is_refused(
    tiny_folder: Path, arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch
):
    for name, side in (("small", 32), ("black", 64)):
        Image.fromarray(np.full((side, side), 255 * (name == "small"), np.uint8)).save(f"{name}.png")
    monkeypatch.setattr("wordbrush.invert", lambda *given, **more: pytest.fail("it was inverted"))
    common = ("edit", "photo.png", "--caption", CAPTION, "--to", TARGET, "--steps", "2")
    assert says in refused(tiny_folder, *common, *arguments)


def test_another_inversion_of_a_picture_goes_elsewhere(tiny_folder: Path):
    common = ("invert", "photo.png", "--steps", "1", "--caption")
    for caption in (CAPTION, TARGET, CAPTION):
        run(tiny_folder, *common, caption)
    names = [path.name for path in Path("out").iterdir()]
    assert len(names) == 2
    assert all(name.startswith("photo-inverted-") and name.endswith(".safetensors") for name in names)


def test_a_prompt_may_have_the_name_of_a_file(tiny_folder: Path):
    Path("a cat").write_bytes(b"")
    assert "'a cat' is a file" in refused(tiny_folder, "edit", "a cat", "--to", "a dog")
    run(tiny_folder, "edit", "a cat", "--as-prompt", "--to", "a dog", "--steps", "1", "-o", "edit.png")
    assert read_settings(Path("edit.png"))["source"] == "a cat"


def test_bad_inversions_are_one_sentence(tiny_folder: Path):
    common = ("invert", "photo.png", "--caption", CAPTION)
    assert "ends in .safetensors" in refused(tiny_folder, *common, "-o", "p.png")
    assert "no inversion 'x'" in refused(tiny_folder, *common, "--method", "x")
    assert "what the picture shows" in refused(tiny_folder, "invert", "photo.png", "--caption", " ")
