"""How long wordbrush takes to start: interleaved runs of fresh interpreters, medians.

python benchmarks/startup.py [--repeats 7]
"""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median
from typing import Annotated

import typer

from common import keep, show

PROGRAMS = {
    "python alone": ["-c", "pass"],
    "import wordbrush": ["-c", "import wordbrush"],
    "wordbrush --help": ["-m", "wordbrush", "--help"],
    "wordbrush edit --help": ["-m", "wordbrush", "edit", "--help"],
    "wordbrush models": ["-m", "wordbrush", "models"],
    "import torch": ["-c", "import torch"],
    "import diffusers' UNet": ["-c", "from diffusers import UNet2DConditionModel"],
}


def main(repeats: Annotated[int, typer.Option(min=1, help="Runs of each program.")] = 7) -> None:
    """Measure and write benchmarks/results/startup.json."""
    seconds: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(repeats):
        for name, arguments in PROGRAMS.items():
            began = time.perf_counter()
            subprocess.run(
                [sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            seconds[name].append(time.perf_counter() - began)
    medians = {name: median(times) for name, times in seconds.items()}
    rows = [[name, f"{medians[name]:.3f}", f"{min(seconds[name]):.3f}"] for name in PROGRAMS]
    show("Seconds of a fresh interpreter", ["", "median", "least"], rows)
    print(keep("startup", {"repeats": repeats, "seconds": medians}))


if __name__ == "__main__":
    typer.run(main)
