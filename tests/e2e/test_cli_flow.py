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
from wordbrush.cli.app import app

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
    chosen = ["--method", method] if method else []
    made = run(
        folder, "invert", "photo.png", "-c", CAPTION, *chosen, "--steps", "2", "-o", "a.safetensors", "--json"
    )
    settings = json.loads(made.stdout)["settings"]
    assert (settings["method"], settings["forward_samples"]) == (method or "rectified-flow", cost)
    run(folder, "edit", "a.safetensors", "--to", TARGET, "-o", "edited")
    names = ("source.png", "01-a-dog-on-the-beach.png")
    source, target = (np.asarray(Image.open(Path("edited", name))) for name in names)
    assert source.shape == target.shape == (64, 64, 3)
    assert (source != target).any()
    refused = run(folder, "edit", "photo.png", "-c", CAPTION, "--to", TARGET, "--method", "direct", status=2)
    assert "'direct' is not for" in refused.stderr
    assert "use rectified-flow or flow-edit" in refused.stderr
