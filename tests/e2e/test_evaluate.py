"""``wordbrush evaluate`` as a user types it: tiny random models on a few storybook scenes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import storybook_like
from wordbrush.cli.app import app
from wordbrush.errors import PromptTooLong
from wordbrush.evaluation.data.storybook import example_at
from wordbrush.metrics.clip import EMBEDDED, Clip
from wordbrush.storybook import font
from wordbrush.storybook.judges import FOLDER
from wordbrush.storybook.unseen import KINDS

pytestmark = [
    pytest.mark.skipif(not font.FONT_PATH.exists(), reason="renders need Noto Color Emoji"),
    pytest.mark.skipif(
        not FOLDER.exists() or not EMBEDDED["storybook"].exists(),
        reason="the judges are not in this checkout",
    ),
]
ALL = "instruct,sdedit,sdedit-instruction,p2p,generation,identity,truth"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("models")
    editor, model = storybook_like.save_editor(folder / "editor"), storybook_like.save_model(folder / "model")
    return ["--editor", str(editor), "--model", str(model), "--preset", "fast"]


@pytest.fixture(autouse=True)
def in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, status: int = 0) -> Any:
    result = CliRunner().invoke(app, ["evaluate", *arguments], prog_name="wordbrush")
    assert result.exit_code == status, result.output
    return result


def lines() -> list[str]:
    return Path("out/rows.jsonl").read_text().splitlines()


def test_a_mask_found_from_the_edit_changes_the_pictures_that_are_measured(models: list[str]):
    few = ["storybook:2", "--methods", "instruct", "--scales", "1.6", *models]
    run(*few, "-o", "free")
    run(*few, "-o", "held", "--mask", "auto")
    free, held = (
        [json.loads(line) for line in Path(folder, "rows.jsonl").read_text().splitlines()]
        for folder in ("free", "held")
    )
    assert [row["settings"].get("mask") for row in (*free, *held)] == [None, None, "auto", "auto"]
    for before, after in zip(free, held, strict=True):
        assert before["scores"]["l1"] != after["scores"]["l1"]
    assert "found from each edit itself, not 'sky.png'" in run(*few, "--mask", "sky.png", status=2).output


def test_every_method_on_every_kind_of_edit(models: list[str]):
    few = ["--scales", "1,1.6", "--strengths", "0.5,1", "--batch", "7", "-o", "out", *models]
    told = json.loads(run("storybook:7", "--methods", ALL, *few, "--json").stdout)
    assert told["files"] == ["out/summary.json", "out/curves.png"]
    assert told["examples"] == 7
    assert list(told["kinds"]) == list(KINDS)
    curves = {curve["method"]: curve for curve in told["curves"]}
    assert list(curves) == ALL.split(",")
    assert [point["at"] for point in curves["instruct"]["points"]] == [1.0, 1.6]
    assert [point["forward_samples"] for point in curves["sdedit"]["points"]] == [2, 4]
    assert curves["instruct"]["points"][0]["forward_samples"] == 18
    truth, same = (curves[name]["points"][0]["scores"] for name in ("truth", "identity"))
    assert truth["truth_psnr"]["mean"] == 60
    assert truth["truth_l1"]["mean"] == 0
    assert truth["background_psnr"]["mean"] == 60
    assert truth["success"]["share"] > 0.5
    assert truth["clip_direction"]["mean"] > 0.1
    assert same["clip_image"]["mean"] == pytest.approx(1)
    assert same["clip_direction"]["mean"] == same["structure"]["mean"] == same["l1"]["mean"] == 0
    assert same["truth_l1"]["mean"] > 0
    made = curves["generation"]["points"][0]["scores"]
    assert made["l1"]["mean"] > 0.02
    assert made["structure"]["mean"] > 0
    with Image.open("out/curves.png") as image:
        assert image.width > 500
    # The same command goes on with what is missing, and makes nothing twice.
    whole = lines()
    Path("out/rows.jsonl").write_text("\n".join(whole[:-3]) + "\n" + whole[-3][:40])
    again = json.loads(run("storybook:7", "--methods", ALL, *few, "--json").stdout)
    assert lines()[:-3] == whole[:-3]
    assert len(lines()) == len(whole)
    for old, new in zip(told["curves"], again["curves"], strict=True):
        for before, after in zip(old["points"], new["points"], strict=True):
            assert before["edits"] == after["edits"] == 7
            for name, interval in before["scores"].items():
                assert after["scores"][name] == pytest.approx(interval, abs=1e-4), (old["method"], name)


def test_controls_need_no_model_and_are_told_as_a_table():
    shown = run(
        "storybook:14", "--methods", "identity,truth", "--structure", "none", "--limit", "7", "-o", "out"
    )
    assert "identity" in shown.stdout
    assert "companion removed" in shown.stdout
    assert "…" not in shown.stdout
    assert "Results in out" in shown.stdout
    assert len(lines()) == 14
    result = run("storybook", "--methods", "identity", "--limit", "7", "-o", "out", status=2)
    assert "was made with structure 'none', not 'storybook'" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--methods", "instuct"], "did you mean 'instruct'"),
        (["--methods", "identity,identity"], "named twice"),
        (["--scales", "much"], "expected one such as 7.5"),
        (["--background", "pi"], "did you mean 'pie'"),
        (["nowhere", "--methods", "identity"], "there is no data set at 'nowhere'"),
        (["storybook:none", "--methods", "identity"], "a whole number of at least 1"),
        (["--methods", "identity", "--format", "pie"], "there is no format 'pie'"),
        (["--editor", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(arguments: list[str], says: str):
    arguments = arguments if "--format" not in arguments else [".", *arguments]
    result = run(*arguments, status=2)
    assert says in " ".join(result.stderr.split())
    assert len(result.stderr.strip().splitlines()) == 1
    assert not Path("out").exists()


def test_another_world_or_other_judges_go_into_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    few = ["storybook:2", "--methods", "identity", "--structure", "none", "-o", "out"]
    run(*few)
    with monkeypatch.context() as patch:
        patch.setattr("wordbrush.evaluation.data.storybook.digest_of_world", lambda: "0f")
        result = run(*few, status=2)
    assert "out was made with world" in result.stderr
    judges = tmp_path / "judges"
    shutil.copytree(FOLDER, judges)
    weights = load_file(judges / "place.safetensors")
    save_file({name: value * 1.5 for name, value in weights.items()}, judges / "place.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr("wordbrush.storybook.judges.FOLDER", judges)
        result = run(*few, status=2)
    assert "the model 'judges' has changed since the rows of out were made" in result.stderr
    run(*few)


def test_what_a_measure_cannot_say_is_told_and_the_edit_kept(monkeypatch: pytest.MonkeyPatch):
    texts = Clip.texts

    def shorter(self: Clip, captions: Sequence[str]) -> Any:
        if captions[0] == too_long:
            raise PromptTooLong("the caption has 90 tokens")
        return texts(self, captions)

    too_long = example_at(1).before
    monkeypatch.setattr(Clip, "texts", shorter)
    few = ["storybook:3", "--methods", "identity", "--structure", "none", "-o", "out"]
    result = run(*few)
    assert "identity, storybook-1: the caption has 90 tokens" in result.stderr
    assert "1 edit could not be measured in full" in result.stderr
    scores = [json.loads(line)["scores"] for line in lines()]
    assert ["clip_image" in found for found in scores] == [True, False, True]
    assert all("success" in found for found in scores)
