"""Captions to selected pairs with the models that ship, as a user would run it: both engines, and a killed run."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import toy
import wordbrush
from wordbrush.dataset import run
from wordbrush.dataset.config import Config, read_config
from wordbrush.dataset.pairs import PairStage
from wordbrush.dataset.records import Pair, Triplet
from wordbrush.dataset.source import ShardSource
from wordbrush.dataset.writers.storybook import WEIGHTS as WRITER
from wordbrush.metrics.clip import EMBEDDED as SCORERS

CONFIGS = Path(__file__).parents[2] / "configs"
CHANGES = [
    'captions.sources=["storybook:6"]', "writer.rows_per_unit=3", "pairs.candidates=2", "pairs.per_source=2",
    "pairs.steps=2", "pairs.rows_per_unit=1", "pairs.gates={clip_image=-1.0}", "engine.threads=1",
]  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (WRITER.exists() and SCORERS["storybook"].exists()),
        reason="the writer or the scorer is not shipped",
    ),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*"),
]


def config(*changes: str) -> Config:
    return read_config(CONFIGS / "storybook-mini.toml", [*CHANGES, *changes])


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was killed after its first file of pairs."""
    out = tmp_path_factory.mktemp("killed") / "run"
    program = "from wordbrush.cli import main; main()"
    settings = [word for change in CHANGES for word in ("--set", change)]
    command = [
        sys.executable,
        "-c",
        program,
        "data",
        "run",
        str(CONFIGS / "storybook-mini.toml"),
        "--out",
        out,
    ]
    with subprocess.Popen([*command, *settings], stderr=subprocess.PIPE, text=True) as running:
        while not list(out.glob("pairs/*.parquet")):
            assert running.poll() is None, running.communicate()[1]
            time.sleep(0.02)
        running.kill()
    assert running.returncode == -signal.SIGKILL
    assert not (out / "selection.json").exists()
    return out


def test_a_killed_run_goes_on_and_ray_writes_the_same_bytes(killed: Path, tmp_path: Path):
    ray = pytest.importorskip("ray")
    done = run.run(config(), killed)
    assert [stage.stage for stage in done.stages] == ["captions", "triplets", "pairs"]
    assert done.stages[2].reused >= 1
    assert done.stages[2].made >= 1
    try:
        other = run.run(config("engine.name=ray", "engine.workers=1"), tmp_path / "ray")
    finally:
        ray.shutdown()
    assert other.selection.keys == done.selection.keys
    assert len(done.selection.keys) > 2
    for stage in ("captions", "triplets", "pairs", "selection.parquet", "export"):
        assert toy.contents(tmp_path / "ray" / stage) == toy.contents(killed / stage)
        assert (killed / stage).exists()
    one_pair_can_be_made_again(killed)


def one_pair_can_be_made_again(out: Path) -> None:
    """Bit for bit, alone."""
    import torch

    pairs, triplets = ShardSource(out / "pairs", rejected=True), ShardSource(out / "triplets")
    stored = Pair.from_row(pairs.rows(len(pairs) - 1, len(pairs))[0])
    (triplet,) = (row for row in triplets.rows(0, len(triplets)) if row["key"] == stored.triplet_key)
    settings = config()
    before = torch.get_num_threads()
    torch.set_num_threads(settings.engine.threads)
    try:
        again = settings.pair_stage.open().remake(Triplet.from_row(triplet), stored.candidate)
    finally:
        torch.set_num_threads(before)
    assert again == stored


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (["pairs.scorer=no/where/at-all"], "there is no CLIP model at 'no/where/at-all'"),
        (["pairs.model=no-such-folder"], "there is no model at 'no-such-folder'"),
        (["writer.kind=local", "writer.model=./nothing"], "there is no causal language model at './nothing'"),
        (["writer.kind=server", "writer.model=m", "writer.base_url=http://127.0.0.1:9"], "cannot be reached"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_made(changes: list[str], sentence: str, tmp_path: Path):
    with pytest.raises(wordbrush.WordbrushError, match=sentence):
        run.run(config(*changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_model_is_said_before_anything_is_made(tmp_path: Path):
    damaged = tmp_path / "clip"
    damaged.mkdir()
    (damaged / "config.json").write_text("{}")
    whole = (SCORERS["storybook"] / "model.safetensors").read_bytes()
    (damaged / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(wordbrush.ModelError, match=r"model\.safetensors are damaged"):
        PairStage(scorer=str(damaged)).check()
    (damaged / "model.safetensors").write_bytes(whole)
    PairStage(scorer=str(damaged)).check()
