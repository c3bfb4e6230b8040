"""``wordbrush train`` as a user runs it, and its settings as they stand in a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

import training_data
from wordbrush.cli.app import app
from wordbrush.errors import InvalidInput
from wordbrush.training.config import PRESETS, make_config, read_config

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "configs").glob("train-*.toml"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training_data.write_data(tmp_path_factory.mktemp("pairs") / "data")


@pytest.fixture
def file(tiny_folder: Path, data: Path, tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(
        f"""
steps = 4
[model]
base = "{tiny_folder}"
[data]
source = "{data}"
format = "diffusers"
size = 32
[batch]
size = 4
[speed]
workers = 0
"""
    )
    return path


def wordbrush(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["train", *map(str, arguments)])
    return done.exit_code, " ".join(done.output.split())


def test_a_user_trains_stops_and_goes_on(file: Path, tmp_path: Path):
    out = tmp_path / "out"
    assert wordbrush(file, "-o", out, "--device", "cpu", "--prepare") == (
        0,
        f"12 pairs are prepared in {out}",
    )
    code, said = wordbrush(file, "-o", out, "--device", "cpu", "--minutes", 0)
    assert (code, said) == (0, "Stopped after 0 of 4 steps; the same command goes on")
    code, said = wordbrush(file, "-o", out, "--device", "cpu", "--json")
    assert code == 0
    assert json.loads(said)["finished"] is True
    assert json.loads(said)["editor"] == str(out / "editor")
    code, said = wordbrush(file, "-o", out, "--device", "cpu", "--export", "--set", "export.dtype=float16")
    assert said == f"The editor after 4 steps is in {out / 'editor'}"
    code, said = wordbrush(file, "-o", out, "--device", "cpu", "--set", "seed=1")
    assert code == 2
    assert "holds a training with seed = 0, not 1" in said


def test_a_dry_run_prints_every_setting(file: Path, tmp_path: Path):
    code, said = wordbrush(file, "-o", tmp_path / "out", "--dry-run", "--set", "optimizer.rate=1e-5")
    shown = json.loads(said)
    assert code == 0
    assert shown["optimizer"]["rate"] == 1e-5
    assert shown["loss"]["dropout"] == 0.05
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--set", "optimizer.rat=1"], "[optimizer] has no setting 'rat' (did you mean 'rate'"),
        (["--set", "optimiser.rate=1"], "has no setting 'optimiser' (did you mean 'optimizer'"),
        (["--set", "preset=publishd"], "has no preset 'publishd' (did you mean 'published'"),
        (["--set", "steps=0"], "steps: Input should be greater than 0, not 0"),
        (["--set", "loss.dropout=0.5"], "loss.dropout: Input should be less than or equal to 0.33"),
        (["--set", "optimizer.betas=[0.9, 1.0]"], "optimizer.betas.1: Input should be less than 1, not 1.0"),
        (
            ["--set", "optimizer.betas=[-0.1, 0.9]"],
            "optimizer.betas.0: Input should be greater than or equal to 0",
        ),
        (["--set", "optimizer.rate=inf"], "optimizer.rate: Input should be a finite number, not inf"),
        (["--set", "optimizer.weight_decay=nan"], "optimizer.weight_decay: Input should be "),
        (["--set", "optimizer.clip=inf"], "optimizer.clip: Input should be a finite number, not inf"),
        (["--set", "loss.gamma=inf"], "loss.gamma: Input should be a finite number, not inf"),
        (["--set", "data.aspect=inf"], "data.aspect: Input should be a finite number, not inf"),
        (
            ["--set", "samples.image_guidance=0.8"],
            "samples.image_guidance: Input should be greater than or equal to 1",
        ),
        (
            ["--set", "samples.text_guidance=1.0"],
            "samples.text_guidance: Input should be greater than 1, not 1.0",
        ),
        (["--prepare", "--export"], "--prepare and --export do different things"),
        (["--device", "mps"], "--device is cpu or cuda, not 'mps'"),
    ],
)
def test_what_is_not_known_is_one_sentence(arguments: list[str], sentence: str, file: Path, tmp_path: Path):
    code, said = wordbrush(file, "-o", tmp_path / "out", *arguments)
    assert code == 2
    assert sentence in said


def test_a_preset_stands_where_the_file_has_nothing():
    values = {"preset": "published", "data": {"source": "x", "size": 64, "resize": [64, 64]}, "steps": 5}
    config = make_config(values, where="here")
    assert (config.steps, config.data.size, config.data.fit, config.data.one_per_prompt) == (
        5,
        64,
        "squash",
        True,
    )
    assert (config.batch.size, config.ema.per, config.optimizer.clip) == (1024, "batch", None)
    assert make_config({"steps": 5, "data": {"source": "x"}}, where="here").data.fit == "cover"
    assert list(PRESETS) == ["published"]


def test_a_missing_setting_is_named():
    with pytest.raises(InvalidInput, match=r"here needs a setting data.source"):
        make_config({"steps": 5, "data": {}}, where="here")
    with pytest.raises(InvalidInput, match=r"here: data.source: .* at least 1 item"):
        make_config({"steps": 5, "data": {"source": []}}, where="here")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_shipped_settings_are_valid(path: Path):
    assert read_config(path).steps > 0


def test_there_are_shipped_settings():
    assert len(FILES) == 3


@pytest.mark.slow
def test_two_processes_train_as_one_does(file: Path, tmp_path: Path):
    """As under ``accelerate launch``, with two processes on the CPU, each with half of every batch."""
    code = "import torch; torch.set_num_threads(1); from wordbrush.cli import main; main()"
    program = tmp_path / "program.py"
    program.write_text(code)
    train = ["train", file, "--device", "cpu", "--set", "batch.micro=2"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [*map(str, [*launch, program, *train, "-o", tmp_path / "two"])],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert wordbrush(*train[1:], "-o", tmp_path / "one")[0] == 0
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("one", "two")]
    numbers = [[json.loads(line) for line in log] for log in logs]
    assert [line["loss"] for line in numbers[1]] == pytest.approx(
        [line["loss"] for line in numbers[0]], rel=1e-4
    )
    name = "unet/diffusion_pytorch_model.safetensors"
    one, two = (load_file(tmp_path / run / "editor" / name) for run in ("one", "two"))
    assert all((one[key] - two[key]).abs().max() < 1e-3 for key in one)
