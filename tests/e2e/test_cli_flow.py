"""Pictures of one's own with a model of straight paths, on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import families
import wordbrush as wb
from wordbrush.cli.app import app
from wordbrush.cli.edit import check_ahead
from wordbrush.inversion.start import Start

CAPTION, TARGET = "a cat on the beach", "a dog on the beach"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random-weight pipeline of Stable Diffusion 3 as diffusers saves it."""
    place = tmp_path_factory.mktemp("flow") / "sd3"
    families.stock(families.model("sd3", torch.float32)).save_pretrained(place)
    return place


def run(folder: Path, *arguments: str, status: int = 0) -> Any:
    given = [*arguments, "--model", str(folder), "--device", "cpu"]
    result = CliRunner().invoke(app, given, prog_name="wordbrush")
    assert result.exit_code == status, result.output
    return result


@pytest.mark.parametrize(("method", "cost"), [(None, 2), ("flow-edit", 0)])
def test_inverted_and_edited(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str | None, cost: int
):
    monkeypatch.chdir(tmp_path)
    rows, columns = np.mgrid[:64, :64]
    Image.fromarray(np.stack([rows * 4, columns * 4, 0 * rows + 90], -1).astype(np.uint8)).save("photo.png")
    chosen = ["--method", method, "--method-setting", "skipped=0.5"] if method else []
    made = run(
        folder, "invert", "photo.png", "-c", CAPTION, *chosen, "--steps", "2", "-o", "a.safetensors", "--json"
    )
    settings = json.loads(made.stdout)["settings"]
    assert (settings["method"], settings["forward_samples"]) == (method or "rectified-flow", cost)
    assert Start.load("a.safetensors").skipped == (1 if method else 0)
    run(folder, "edit", "a.safetensors", "--to", TARGET, "-o", "edited")
    names = ("source.png", "01-a-dog-on-the-beach.png")
    source, target = (np.asarray(Image.open(Path("edited", name))) for name in names)
    assert source.shape == target.shape == (64, 64, 3)
    assert (source != target).any()
    refused = run(folder, "edit", "photo.png", "-c", CAPTION, "--to", TARGET, "--method", "direct", status=2)
    assert "'direct' is not for" in refused.stderr
    assert "use rectified-flow or flow-edit" in refused.stderr


@pytest.mark.parametrize(
    ("kind", "asked", "negative", "error", "says"),
    [
        ("sana", {"self_attention": 0.4}, "", wb.EditNotApplied, "no self-attention layer"),
        ("flux", {}, "dark", wb.InvalidInput, "asks no unconditional branch"),
    ],
)
def test_what_a_network_cannot_do_is_told_before_the_inversion(
    kind: str, asked: dict[str, Any], negative: str, error: type[Exception], says: str, tmp_path: Path
):
    model, picture = families.model(kind), tmp_path / "photo.png"
    Image.new("RGB", model.image_size, "teal").save(picture)
    begin = {"guidance": None, "scheduler": None, "steps": 2, "size": None}
    how: dict[str, Any] = {"mask": None, "crop": False, "negative": negative, "begin": begin}
    with pytest.raises(error, match=says):
        check_ahead(model, str(picture), CAPTION, {"to": [TARGET], **asked}, **how)


def test_settings_of_methods(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64), "teal").save("photo.png")
    begin = ("edit", "photo.png", "-c", CAPTION, "--to", TARGET, "--steps", "4", "--json")
    skipping = ("--method", "flow-edit", "--method-setting", "source_guidance=2")
    made = run(folder, *begin, *skipping, "--method-setting", "skipped=0.75")
    told = json.loads(made.stdout)["settings"]
    assert (told["inversion"]["skipped"], told["inversion"]["source_guidance"]) == (3, 2.0)
    assert "leave --cache out" in run(folder, *begin, *skipping, "--cache", "kept", status=2).stderr
    for wrong, says in (
        (("--method", "flow-edit", "--method-setting", "skiped=1"), "did you mean 'skipped'?"),
        (("--method-setting", "skipped=0.5"), "is a setting of --method: give that as well"),
        (("--method", "flow-edit", "--method-setting", "skipped"), "expected NAME=VALUE"),
        ((*skipping, "--method-setting", "source_guidance=3"), "is given twice for source_guidance"),
        (("--scheduler", "dpm++"), "cannot sample this model"),
        (("--guidance", "0.5"), "a guidance of 0.5 would weaken the prompt"),
    ):
        assert says in run(folder, *begin, *wrong, status=2).stderr
        invert = run(folder, "invert", "photo.png", "-c", CAPTION, *wrong, status=2)
        assert says in invert.stderr
        assert not list(tmp_path.rglob("*.safetensors"))
