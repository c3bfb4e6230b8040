"""What a training step costs, and what caches, gradient checkpointing and bfloat16 make of it.

    python benchmarks/training.py                 storybook, pairs of noise
    python benchmarks/training.py --steps 2 --rounds 1 --no-keep      a quick check that the benchmark works

Every way runs in a process of its own, in rounds that run every way once, in changing order; a ratio is one of medians.
The first step, which warms up, does not count. Peak memory is the process's.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from common import keep, ratio, show

WAYS: dict[str, dict[str, Any]] = {
    "cached": {},
    "cached, checkpointing": {"speed": {"gradient_checkpointing": True}},
    "cached, bfloat16": {"speed": {"precision": "bfloat16"}},
    "not cached": {"cache": {"latents": False, "text": False}},
}
PAIRS = 32


def main(
    model: Annotated[str, typer.Option(help="What training starts from.")] = "storybook",
    steps: Annotated[int, typer.Option(min=2, help="Steps a round.")] = 6,
    batch: Annotated[int, typer.Option(min=1, help="Pairs a step.")] = 8,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    kept: Annotated[
        bool, typer.Option("--keep/--no-keep", help="Write benchmarks/results/training.json.")
    ] = True,
    way: Annotated[str | None, typer.Option(hidden=True)] = None,
    folder: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Measure a training step in all ways."""
    if way is not None and folder is not None:
        print(json.dumps(measure(way, folder, model, steps, batch, device)))
        return
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    memory: dict[str, list[float]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as place:
        write_pairs(Path(place) / "data")
        for number in range(rounds):
            for name in list(WAYS)[:: 1 if number % 2 else -1]:
                asked = ["--model", model, "--steps", steps, "--batch", batch, "--device", device]
                command = [sys.executable, __file__, "--way", name, "--folder", place, *map(str, asked)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found = json.loads(done.stdout.splitlines()[-1])
                seconds[name] += found["seconds"]
                memory[name].append(found["peak_mb"])
    rows = {
        name: {
            "seconds": median(seconds[name]),
            "pairs_per_second": batch / median(seconds[name]),
            "time_ratio": ratio(seconds[name], seconds["cached"]),
            "peak_mb": median(memory[name]),
            "memory_ratio": ratio(memory[name], memory["cached"]),
        }
        for name in WAYS
    }
    show(
        f"a training step of {batch} pairs, {model}, {device}, {rounds} rounds of {steps - 1}",
        ["", "seconds", "pairs/s", "time ratio", "peak MB", "memory ratio"],
        [[name, *(f"{row[column]:.3g}" for column in row)] for name, row in rows.items()],
    )
    if kept:
        print(keep("training", {"model": model, "device": device, "batch": batch, "ways": rows}))


def measure(way: str, folder: Path, model: str, steps: int, batch: int, device: str) -> dict[str, Any]:
    """Train for some steps and return the seconds of all but the first, and the peak memory in MB."""
    import torch

    from wordbrush.training.config import make_config
    from wordbrush.training.loop import train

    times: list[float] = []

    def tell(what: str, done: int, total: int | None) -> None:
        if what == "Training":
            times.append(time.perf_counter())

    values = {
        "steps": steps,
        "model": {"base": model},
        "data": {"source": str(folder / "data"), "format": "diffusers"},
        "batch": {"size": batch},
        "save": {"every": 10**9},
    }
    with tempfile.TemporaryDirectory() as out:
        train(
            make_config({**values, **WAYS[way]}, where="the benchmark"),
            Path(out),
            device=device,
            progress=tell,
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if device != "cpu":
        peak = torch.cuda.max_memory_allocated() / 2**20
    return {"seconds": [b - a for a, b in pairwise(times)], "peak_mb": peak}


def write_pairs(folder: Path) -> None:
    """Write pairs of noise."""
    import numpy as np
    from PIL import Image

    from wordbrush.dataset import formats
    from wordbrush.dataset.formats import EditPair, Picture

    rng = np.random.default_rng(0)

    def picture() -> Picture:
        return Picture.of(Image.fromarray(rng.integers(0, 256, (128, 128, 3), dtype=np.uint8)))

    made = (
        EditPair(
            key=str(number),
            instruction="make it night",
            before_picture=picture(),
            after_picture=picture(),
        )
        for number in range(PAIRS)
    )
    formats.write("diffusers", made, folder)


if __name__ == "__main__":
    typer.run(main)
