"""What the benchmarks share: the machine they ran on, and how results are shown and kept."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

from wordbrush.files import write_files

WIDE = 240
RESULTS = Path(__file__).parent / "results"
Made = TypeVar("Made")


def machine() -> dict[str, Any]:
    """Return what the numbers depend on."""
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in ("torch", "diffusers", "transformers")},
    }


def processor() -> str:
    """Return the name of the processor, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def ratio(times: list[float], reference: list[float]) -> float:
    """Return the ratio of the medians of two lists of interleaved measurements."""
    return median(times) / median(reference)


def stopwatch(device: str) -> Callable[[], float]:
    """Return the clock of a device: on processors the time of the process, which other work disturbs less."""
    return time.perf_counter if device == "cuda" else time.process_time


def peak_memory(work: Callable[[], object], device: str) -> float:
    """Return the greatest memory of the process, or of the GPU, during some work, in megabytes."""
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated() / 1e6
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far
    work()
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (peak,) = [line for line in lines if line.startswith("VmHWM")]
    return int(peak.split()[1]) * 1024 / 1e6


def measured(work: Callable[[], Made], device: str) -> tuple[Made, float]:
    """Return what some work makes, and the greatest memory meanwhile in megabytes."""
    made: list[Made] = []
    memory = peak_memory(lambda: made.append(work()), device)
    return made[0], memory


def show(title: str, heads: list[str], rows: list[list[str]]) -> None:
    """Print a table, whole where there is no terminal to say how wide it may be."""
    table = Table(*heads, title=title, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console.width = WIDE
    console.print(table, "")


def kept(name: str) -> dict[str, Any]:
    """Return the results in ``benchmarks/results/<name>.json``, nothing if there are none."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def keep(name: str, results: dict[str, Any]) -> Path:
    """Write results as ``benchmarks/results/<name>.json`` and return the path."""
    path = RESULTS / f"{name}.json"
    content = json.dumps({"machine": machine(), **results}, indent=2) + "\n"
    write_files({path: content.encode()})
    return path
