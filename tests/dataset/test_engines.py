"""Both engines write the same bytes, whatever happens to the workers."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

import toy
from wordbrush.dataset.engines.local import LocalEngine
from wordbrush.dataset.engines.ray import HIDDEN, RayEngine, _Actor
from wordbrush.dataset.source import ShardSource
from wordbrush.dataset.stage import run_stage
from wordbrush.errors import DataError, InvalidInput
from wordbrush.files import CannotWrite

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*")
COUNT = 20  # 4 units of captions, 4 of pairs
KILLS = (
    8  # of workers; each costs two seconds of imports, so that 20, which pass, take too long for every day
)


@pytest.fixture(scope="module")
def engine() -> Iterator[RayEngine]:
    ray = pytest.importorskip("ray")
    yield RayEngine(workers=2)
    ray.shutdown()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    toy.run(out, LocalEngine(), count=COUNT)
    return out


@pytest.mark.slow
def test_ray_writes_the_bytes_of_the_local_engine_even_if_a_worker_dies(
    engine: RayEngine, whole: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    """Each pair is in one file once, and Ray says nothing until there is something to say."""
    poison = tmp_path / "poison"
    poison.touch()
    out = tmp_path / "out"
    run_stage(toy.Captions(), toy.Numbers(COUNT), out, engine=engine)
    assert capfd.readouterr() == ("", "")
    report = run_stage(toy.Pairs(suicide=poison), ShardSource(out / "captions"), out, engine=engine)
    assert not poison.exists(), "no worker died"
    assert (report.made, report.reused) == (4, 0)
    assert toy.contents(out) == toy.contents(whole)


@pytest.mark.slow
def test_killed_workers_of_ray_lose_nothing_and_duplicate_nothing(engine: RayEngine, tmp_path: Path):
    """Each by ``kill -9`` at a random moment of a unit: while it computes, while it writes, or after."""
    toy.run(tmp_path / "whole", LocalEngine())
    graves = tmp_path / "graves"
    graves.mkdir()
    out = tmp_path / "out"
    run_stage(toy.Captions(), toy.Numbers(60), out, engine=LocalEngine())
    stage = toy.Pairs(delay=0.1, graves=graves, kills=KILLS)
    report = run_stage(stage, ShardSource(out / "captions"), out, engine=engine)
    killed = [path.read_text() for path in graves.iterdir()]
    assert KILLS <= len(killed) <= KILLS + 1  # the last two may be chosen at once
    assert len(set(killed)) >= KILLS - 2  # a process may begin a second unit before it is killed
    assert (report.made, report.reused) == (10, 0)
    assert toy.contents(out) == toy.contents(tmp_path / "whole")


@pytest.mark.slow
def test_a_killed_run_of_ray_goes_on(engine: RayEngine, whole: Path, tmp_path: Path):
    command = [sys.executable, toy.__file__, str(tmp_path), "--count", str(COUNT), "--delay", "0.3", "--ray"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert [running.stdout.readline() for _ in range(3)] == ["ready\n", "captions 1\n", "captions 2\n"]
        running.kill()
    assert running.returncode == -signal.SIGKILL
    captions, pairs = toy.run(tmp_path, engine, count=COUNT)
    assert captions.reused >= 2
    assert pairs.made == 4
    assert toy.contents(tmp_path) == toy.contents(whole)


@pytest.mark.slow
def test_ray_goes_on_where_another_engine_stopped(engine: RayEngine, whole: Path, tmp_path: Path):
    toy.run(tmp_path, LocalEngine(), count=COUNT)
    (tmp_path / "pairs" / "00001.parquet").unlink()
    (tmp_path / "pairs" / "00002.parquet").write_bytes(b"damaged")
    report = run_stage(toy.Pairs(), ShardSource(tmp_path / "captions"), tmp_path, engine=engine)
    assert (report.made, report.reused, len(report.set_aside)) == (2, 2, 1)
    Path(report.set_aside[0]).unlink()
    assert toy.contents(tmp_path) == toy.contents(whole)


@dataclass(frozen=True)
class FullDisk(toy.Pairs):
    """Makes every write of its process fail as on a full disk."""

    def open(self):
        os.fsync = full
        return self.work


def full(descriptor: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@dataclass(frozen=True)
class Deadly(toy.Captions):
    """Kills every process that works on it."""

    def open(self):
        return lambda rows: os._exit(1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "error", "sentence"),
    [
        (toy.Captions(fails=ZeroDivisionError), ZeroDivisionError, None),
        (Deadly(), DataError, "unit 0 of captions has killed 4 workers"),
    ],
    ids=["error", "death"],
)
def test_what_goes_wrong_in_workers_is_raised(engine, tmp_path: Path, stage, error, sentence: str | None):
    with pytest.raises(error, match=sentence):
        run_stage(stage, toy.Numbers(5 if stage == Deadly() else COUNT), tmp_path, engine=engine)
    left = {path.name for path in tmp_path.rglob(".*.tmp")}
    assert left <= {f".{unit:05d}.attempts.tmp" for unit in range(4)}


@pytest.mark.slow
def test_a_disk_that_is_full_for_a_worker_is_a_sentence(engine: RayEngine, whole: Path, tmp_path: Path):
    with pytest.raises(CannotWrite, match=r"cannot write .*\.parquet: the disk is full"):
        run_stage(FullDisk(), ShardSource(whole / "captions"), tmp_path, engine=engine)
    assert list(tmp_path.rglob("*.parquet")) == []


@dataclass(frozen=True)
class Computed(toy.Captions):
    """Computes on the device of the given kind."""

    on: str | None = None

    def computes_on(self, found: str) -> str | None:
        return self.on or found


class Told(Exception):
    """What a worker would be given."""


@pytest.mark.parametrize(
    ("stage", "settings", "sentence"),
    [
        (Computed(), {"gpus": 1}, "a worker needs 1 GPUs, and the Ray cluster has 0 in all: ask for fewer"),
        (Computed(), {"cpus": 5}, "a worker needs 5 cores, and the Ray cluster has 4 in all"),
        (toy.Captions(), {"threads": 8}, "a worker needs 8 cores, and the Ray cluster has 4 in all"),
        (toy.Captions(), {"gpus": 1}, None),
        (Computed(on="cpu"), {"gpus": 1}, None),
    ],
)
def test_what_the_cluster_does_not_have_is_refused_and_not_waited_for(
    stage, settings: dict, sentence: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A stage that computes nothing, or on the CPU, asks for no GPU."""
    pytest.importorskip("ray")
    cluster = SimpleNamespace(is_initialized=lambda: True, cluster_resources=lambda: {"CPU": 4.0})

    def asked(items: list, **_: object) -> None:
        raise Told

    monkeypatch.setattr("wordbrush.dataset.engines.ray.optional", lambda *_, **__: cluster)
    monkeypatch.setattr("ray.data.from_items", asked)
    with pytest.raises(DataError if sentence else Told, match=sentence):
        run_stage(stage, toy.Numbers(5), tmp_path, engine=RayEngine(1, **settings))


@pytest.mark.parametrize("gpus", [True, False])
def test_actors_without_a_gpu_see_none(gpus: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in HIDDEN:
        monkeypatch.setenv(name, "0")
    assert _Actor(pickle.dumps("the task"), 1, [], str(tmp_path), gpus)._read() == "the task"
    assert {os.environ[name] for name in HIDDEN} == {"0" if gpus else ""}


@pytest.mark.parametrize(
    "settings", [{"workers": 0}, {"workers": 1, "gpus": -1}], ids=["no workers", "negative"]
)
def test_engines_that_cannot_be_are_refused(settings: dict):
    with pytest.raises(InvalidInput):
        RayEngine(**settings)
