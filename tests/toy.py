"""A pipeline of two cheap, deterministic stages, to be run in a process of its own, interrupted and continued."""

from __future__ import annotations

import argparse
import os
import signal
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from wordbrush.dataset.engines.local import LocalEngine
from wordbrush.dataset.engines.ray import RayEngine
from wordbrush.dataset.keys import caption_key, key_rng, key_seed, pair_key, triplet_key
from wordbrush.dataset.records import CAPTIONS, PAIRS, Caption, Pair
from wordbrush.dataset.source import ShardSource
from wordbrush.dataset.stage import Engine, Progress, StageReport, run_stage


@dataclass(frozen=True)
class Numbers:
    """A source of captions that count."""

    count: int

    def __len__(self) -> int:
        return self.count

    def rows(self, start: int, stop: int) -> list[dict[str, Any]]:
        return [{"text": f"picture number {number}"} for number in range(start, stop)]

    def fingerprint(self) -> dict[str, Any]:
        return {"reader": "numbers"}


@dataclass(frozen=True)
class Captions:
    """Rejects every third caption."""

    rows_per_unit: int = 5
    delay: float = 0.0
    fails: type[BaseException] | None = None

    name = "captions"

    @property
    def schema(self) -> pa.Schema:
        return CAPTIONS

    def fingerprint(self) -> dict[str, Any]:
        return {"every": 3}

    def open(self):
        return self.work

    def work(self, rows: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
        for row in rows:
            time.sleep(self.delay / len(rows))
            number = int(row["text"].rpartition(" ")[2])
            if self.fails and number == 13:
                raise self.fails
            reason = f"third: {number} can be divided by 3" if number % 3 == 0 else None
            yield Caption(
                caption_key(row["text"]), row["text"], "toy", kept=reason is None, reason=reason
            ).to_row()


@dataclass(frozen=True)
class Pairs:
    """Draws bytes in place of pictures.

    ``suicide`` names a file: the process that finds it removes it and dies at once, in the middle of a unit.
    ``graves`` names a folder: the first process that begins a unit is killed at a random moment of it, until the folder
    holds the numbers of ``kills`` processes.
    """

    seed: int = 1
    candidates: int = 3
    rows_per_unit: int = 4
    delay: float = 0.0
    suicide: Path | None = None
    graves: Path | None = None
    kills: int = 0

    name = "pairs"

    @property
    def schema(self) -> pa.Schema:
        return PAIRS

    def fingerprint(self) -> dict[str, Any]:
        return {"seed": self.seed, "candidates": self.candidates}

    def open(self):
        return self.work

    def work(self, rows: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
        if self.graves and len(list(self.graves.iterdir())) < self.kills:
            be_killed(self.graves / rows[0]["key"], after=1.2 * self.delay)
        for row in rows:
            time.sleep(self.delay / len(rows))
            if self.suicide and self.suicide.exists():
                self.suicide.unlink()
                os._exit(1)
            for candidate in range(self.candidates):
                yield self.pair(row, candidate).to_row()

    def pair(self, row: dict[str, Any], candidate: int) -> Pair:
        key = pair_key(triplet_key(row["key"], 0), candidate)
        rng = key_rng(self.seed, key)
        score = rng.random()
        return Pair(
            key=key,
            triplet_key=triplet_key(row["key"], 0),
            before=row["text"],
            instruction="count on",
            after=f"{row['text']} and one",
            candidate=candidate,
            seed=key_seed(self.seed, key, "noise"),
            share=rng.uniform(0.1, 0.9),
            guidance=rng.uniform(7.5, 15),
            control="published",
            steps=1,
            forward_samples=4,
            before_image=rng.bytes(200),
            after_image=rng.bytes(200) if score > 0.5 else None,
            clip_image=score,
            kept=score > 0.5,
            reason=None if score > 0.5 else f"clip_image: {score:.3f} < 0.5",
        )


def be_killed(grave: Path, *, after: float) -> None:
    """Let this process be killed in up to ``after`` seconds, unless one that began the same unit was."""
    if grave.exists():
        return
    grave.write_text(str(os.getpid()))
    delay = key_rng(7, grave.name).uniform(0, after)
    threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()


def run(
    out: Path, engine: Engine, *, count: int = 60, delay: float = 0.0, progress: Progress | None = None
) -> list[StageReport]:
    """Run both stages and return their reports."""
    first = run_stage(Captions(delay=delay), Numbers(count), out, engine=engine, progress=progress)
    pairs = Pairs(delay=delay)
    return [first, run_stage(pairs, ShardSource(out / "captions"), out, engine=engine, progress=progress)]


def contents(out: Path) -> dict[str, bytes]:
    """Every visible file under ``out`` by its relative name."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def main() -> None:
    """Run the pipeline from the command line: a line when it begins, and one for every unit that it makes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--ray", action="store_true")
    given = parser.parse_args()
    print("ready", flush=True)

    def tell(report: StageReport) -> None:
        if report.made:
            print(report.stage, report.done, flush=True)

    engine = RayEngine(2) if given.ray else LocalEngine()
    run(given.out, engine, count=given.count, delay=given.delay, progress=tell)


if __name__ == "__main__":
    main()
