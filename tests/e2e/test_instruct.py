"""``wordbrush instruct`` as a user types it, with a tiny editor of random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import editors
from wordbrush.cli.app import app
from wordbrush.files import read_settings

NIGHT = "a red dog"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(editors.save(tmp_path_factory.mktemp("models") / "editor"))


@pytest.fixture(autouse=True)
def in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for number in range(2):
        editors.picture(number).save(f"in/{number}.png")


def run(model: str, *arguments: str, status: int = 0) -> Any:
    command = ["instruct", "--steps", "1", *arguments, "--model", model, "--scheduler", "euler"]
    result = CliRunner().invoke(app, command, prog_name="wordbrush")
    assert result.exit_code == status, result.output
    assert not list(Path().rglob("*.tmp"))
    return result


def files(folder: str = "out") -> list[str]:
    return sorted(str(path) for path in Path(folder).rglob("*") if path.is_file())


def pixels(path: str) -> bytes:
    with Image.open(path) as image:
        return image.convert("RGB").tobytes()


def test_a_picture_into_a_picture(model: str):
    run(model, "in/0.png", NIGHT, "-o", "night.png", "--image-guidance", "0.9", "--seed", "3")
    known = read_settings(Path("night.png"))
    assert (known["instruction"], known["seed"]) == (NIGHT, 3)
    assert known["picture"] == "0.png", "its name, and not where it is"
    assert known["image_guidance"] == 0.9
    with Image.open("night.png") as image:
        assert image.size == (32, 32)
        assert image.info["Description"] == NIGHT
    assert pixels("night.png") != pixels("in/0.png")


def test_guided_steps_are_chosen(model: str):
    for name, options in {"all": (), "some": ("--guided", "0:0.5/2")}.items():
        run(model, "in/0.png", NIGHT, "-o", f"{name}.png", "--steps", "8", *options)
    known = read_settings(Path("some.png"))
    assert known["guided"] == {"during": [0, 0.5], "every": 2, "reuse": True, "steps": 2, "of": 8}
    assert known["forward_samples"] == 8 + 2 * 2
    assert pixels("all.png") != pixels("some.png")
    assert "expected START:STOP/EVERY" in run(model, "in/0.png", NIGHT, "--guided", "0:1/0", status=2).stderr


def test_folders_instructions_and_seeds(model: str):
    told = json.loads(
        run(model, "in", "--to", NIGHT, "--to", "the beach", "-n", "2", "-o", "out", "--json").stdout
    )
    assert told["failed"] == []
    assert sorted(told["files"]) == files()
    names = [Path(path).name for path in told["files"]]
    assert names[:4] == [
        "001-0-a-red-dog-seed0.png",
        "002-0-a-red-dog-seed1.png",
        "003-0-the-beach-seed0.png",
        "004-0-the-beach-seed1.png",
    ]
    assert len(names) == len({pixels(path) for path in told["files"]}) == 8
    assert told["settings"][2]["instruction"] == "the beach"
    run(model, "in/0.png", "the beach", "--seed", "1", "-o", "alone.png")
    one, among = (np.asarray(Image.open(path), int) for path in ("alone.png", told["files"][3]))
    assert np.abs(one - among).max() <= 1


def test_patterns_and_a_sheet(model: str):
    assert "2 edits in" in run(model, "in/*.png", NIGHT, "-o", "sheet.png").stdout
    assert [one["picture"] for one in read_settings(Path("sheet.png"))["edits"]] == ["0.png", "1.png"]
    told = json.loads(run(model, "in/0.png", NIGHT, "--text-guidance", "3,9", "-o", "two", "--json").stdout)
    assert [Path(path).name for path in told["files"]] == [
        "001-0-a-red-dog-seed0-text3-image1.5.png",
        "002-0-a-red-dog-seed0-text9-image1.5.png",
    ]


def test_grid_of_the_scales(model: str):
    run(model, "in/0.png", NIGHT, "--grid", "--image-guidance", "0.5,2", "-o", "grid.png")
    known = read_settings(Path("grid.png"))
    assert known["scales"] == [[t, i] for t in (5.0, 7.5, 10.0) for i in (0.5, 2.0)]
    with Image.open("grid.png") as image:
        assert image.height > image.width
    run(model, "in", NIGHT, "--grid", "--text-guidance", "2", "-o", "out")
    assert files() == ["out/001-0-a-red-dog-seed0-grid.png", "out/002-1-a-red-dog-seed0-grid.png"]


def test_mask(model: str):
    levels = np.zeros((32, 32), dtype=np.uint8)
    levels[:, 16:] = 255
    Image.fromarray(levels).save("mask.png")
    run(model, "in/0.png", NIGHT, "--mask", "mask.png", "-o", "half.png")
    before, after = (np.asarray(Image.open(path)) for path in ("in/0.png", "half.png"))
    np.testing.assert_array_equal(before[:, :16], after[:, :16])
    assert (before[:, 16:] != after[:, 16:]).any()


def test_a_mask_found_from_the_edit(model: str):
    run(model, "in/0.png", NIGHT, "--mask", "auto", "-o", "auto.png")
    assert read_settings(Path("auto.png"))["masked"] == "auto"


def test_bad_pictures_do_not_stop_the_others(model: str):
    Path("in/bad.png").write_bytes(b"no picture")
    editors.picture(3).convert("CMYK").save("in/ink.tif")
    result = run(model, "in", "nowhere.png", NIGHT, "-o", "out", "--json", status=2)
    told = json.loads(result.stdout)
    assert len(told["files"]) == 3
    assert [one["picture"] for one in told["failed"]] == ["in/bad.png", "nowhere.png"]
    assert "in/ink.tif: turned from CMYK into RGB" in result.stderr
    assert "wordbrush: cannot read nowhere.png: no such file or directory" in result.stderr


def test_larger_pictures_are_told_to_be_none_of_a_small_world():
    editors.picture(size=(192, 128)).save("in/wide.png")
    editors.picture(size=(128, 128)).save("in/own.png")
    result = CliRunner().invoke(app, ["instruct", "in/*.png", NIGHT, "--preset", "fast", "--steps", "2"])
    assert result.exit_code == 0, result.output
    told = "this editor knows drawings of its own small world, of 128 pixels"
    assert f"in/wide.png: {told}" in result.stderr
    assert f"in/own.png: {told}" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["in/0.png"], "the last argument, 'in/0.png', is a picture"),
        ([NIGHT], "the picture is missing"),
        (["in/0.png", "in/1.png"], "end with an instruction"),
        ([NIGHT, "in/0.png"], "the picture comes first, then the instruction"),
        (["in/0.png", ""], "empty instruction"),
        (["empty", NIGHT], "no pictures in the folder empty"),
        (["*.jpg", NIGHT], "nothing matches '*.jpg'"),
        (["in", NIGHT, "--grid", "-o", "a.png"], "2 sheets"),
        (["in", NIGHT, "-o", "a.jpg"], "PNG"),
        (["in", NIGHT, "--size", "hole"], "did you mean 'whole'"),
        (["in", NIGHT, "--text-guidance", "much"], "expected one such as 7.5"),
        (["in", NIGHT, "--preset", "fats"], "'fast'"),
        (["in/0.png", NIGHT, "--mask", "in"], "cannot read in"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(model: str, arguments: list[str], says: str):
    Path("empty").mkdir()
    result = run(model, *arguments, status=2)
    assert result.stdout == ""
    assert not Path("out").exists()
    (sentence,) = result.stderr.strip().splitlines()
    assert says in sentence
