"""Whatever stops a run, the same command goes on, and in the end the bytes are those of a run that nothing stopped."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import toy
from wordbrush.dataset.engines.local import LocalEngine
from wordbrush.dataset.manifest import Manifest
from wordbrush.dataset.stage import run_stage
from wordbrush.files import CannotWrite

LOCAL = LocalEngine()
KILLS = 20


def start(out: Path, *, count: int, delay: float) -> subprocess.Popen[str]:
    """Start the pipeline in a process of its own and return when it is about to begin."""
    command = [sys.executable, toy.__file__, str(out), "--count", str(count), "--delay", str(delay)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    return running


def leftovers(out: Path) -> list[Path]:
    return [path for path in out.rglob(".*") if path.name != ".lock"]


@pytest.mark.slow
def test_a_run_killed_20_times_ends_with_the_bytes_of_one_that_was_not(tmp_path: Path):
    """Each kill comes a random time after a random number of units, from 0 on, whatever the speed of the machine."""
    count = 480  # 96 and 80 units: far more than all the kills let pass, even where this process has to wait
    toy.run(tmp_path / "whole", LOCAL, count=count)
    rng = random.Random(7)
    finished = []
    for _ in range(KILLS):
        running = start(tmp_path / "killed", count=count, delay=0.05)
        assert running.stdout is not None
        for _ in range(rng.randrange(4)):
            running.stdout.readline()
        time.sleep(rng.uniform(0, 0.07))
        running.kill()
        running.communicate()
        assert running.returncode == -signal.SIGKILL
        finished.append(len(list((tmp_path / "killed").rglob("*.parquet"))))
    assert finished == sorted(finished), "a kill lost a finished unit"
    assert 20 < finished[-1] < 176
    done = start(tmp_path / "killed", count=count, delay=0.0)
    output, errors = done.communicate()
    assert (done.returncode, errors) == (0, "")
    assert len(output.splitlines()) == 176 - finished[-1], "a finished unit was made again"
    assert toy.contents(tmp_path / "killed") == toy.contents(tmp_path / "whole")
    assert leftovers(tmp_path / "killed") == []


def test_ctrl_c_leaves_whole_files_and_a_manifest(tmp_path: Path):
    toy.run(tmp_path / "whole", LOCAL)
    running = start(tmp_path / "stopped", count=60, delay=0.2)
    while not list((tmp_path / "stopped").rglob("00001.parquet")):
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    running.communicate()
    assert running.returncode in (-signal.SIGINT, 130)
    assert leftovers(tmp_path / "stopped") == []
    assert b"00001.parquet" in (tmp_path / "stopped" / "captions" / "manifest.json").read_bytes()
    reports = toy.run(tmp_path / "stopped", LOCAL)
    assert reports[0].reused >= 2
    assert toy.contents(tmp_path / "stopped") == toy.contents(tmp_path / "whole")


def test_a_full_disk_stops_in_one_sentence_and_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    toy.run(tmp_path / "whole", LOCAL)
    written = 0

    def fsync(descriptor: int) -> None:
        nonlocal written
        written += 1
        if written > 5:
            os.ftruncate(descriptor, 100)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = tmp_path / "full"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(CannotWrite, match=r"cannot write .*00004\.parquet: the disk is full"):
            toy.run(out, LOCAL)
    assert leftovers(out) == []
    shards = sorted((out / "captions").glob("*.parquet"))
    assert len(shards) == 4
    for path in shards:
        assert path.read_bytes() == (tmp_path / "whole" / "captions" / path.name).read_bytes()
    assert toy.run(out, LOCAL)[0].reused == 4
    assert toy.contents(out) == toy.contents(tmp_path / "whole")


def test_a_full_disk_before_the_first_unit_is_a_sentence_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def mkdir(*_, **__) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(CannotWrite, match="captions: the disk is full"):
        toy.run(tmp_path / "out", LOCAL)


def test_an_error_in_a_worker_keeps_what_is_done(tmp_path: Path):
    """Caption 13 is in unit 2."""
    with pytest.raises(ZeroDivisionError):
        run_stage(toy.Captions(fails=ZeroDivisionError), toy.Numbers(60), tmp_path, engine=LOCAL)
    assert len(list((tmp_path / "captions").glob("*.parquet"))) == 2
    report = run_stage(toy.Captions(), toy.Numbers(60), tmp_path, engine=LOCAL)
    assert (report.made, report.reused) == (10, 2)


def test_temporary_files_of_a_killed_run_are_removed_and_others_are_not(tmp_path: Path):
    toy.run(tmp_path, LOCAL)
    (tmp_path / "pairs" / ".5f1d.tmp").write_bytes(b"half")
    (tmp_path / "pairs" / "notes.txt").write_text("mine")
    toy.run(tmp_path, LOCAL)
    assert leftovers(tmp_path) == []
    assert (tmp_path / "pairs" / "notes.txt").exists()


def test_a_kill_between_rename_and_manifest_loses_nothing(tmp_path: Path):
    """The file is there and the manifest does not know it: it is decoded, not made again."""
    toy.run(tmp_path, LOCAL)
    before = toy.contents(tmp_path)
    manifest = Manifest.read(tmp_path / "pairs")
    replace(manifest, shards={0: manifest.shards[0]}).write(tmp_path / "pairs")
    assert toy.contents(tmp_path) != before
    assert toy.run(tmp_path, LOCAL)[1].reused == 10
    assert toy.contents(tmp_path) == before
