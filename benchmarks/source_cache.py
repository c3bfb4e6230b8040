"""What a second edit of the same source costs with a source cache, against the first one; goal: 0.55.

    python benchmarks/source_cache.py                   storybook
    python benchmarks/source_cache.py --only sd15       Stable Diffusion 1.5's layout with random weights

Every round makes, for each way to keep the source, a first edit that fills a new cache and a second one, with another
target, that reads it; and the second one without a cache beside them. A ratio is one of medians, of processor time
where there is no GPU, so that other work on the machine counts less; denoising is timed, text encoding and the check of
the cache included and decoding not. *Differs*: how far the second edit is from the same without a cache, relative to
its norm. Forward-samples are counted with the one that checks the network.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer

import subjects
import wordbrush as wb
from common import keep, ratio, show
from wordbrush.inversion.picture import invert_latents

FIRST, SECOND = "a dog on a beach at sunset", "a fox on a beach at sunset"
SEED = 3
Caches = Callable[[], wb.SourceCache]


def ways(folder: Path) -> dict[str, Caches]:
    """Return the ways to keep a source: what makes an empty cache of each."""
    number = count()
    return {
        "memory": wb.SourceCache,
        "memory, lean": lambda: wb.SourceCache(lean=True),
        "disk": lambda: wb.SourceCache(folder=folder / str(next(number))),
    }


def main(
    only: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(subjects.SUBJECTS)}; repeatable.")
    ] = None,
    repeats: Annotated[int | None, typer.Option(min=1, help="Rounds; None: as the subject needs.")] = None,
    kept: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(ways(Path()))}; repeatable.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="The subject's unless given.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Measure and keep the numbers in ``results/source_cache.json``."""
    found: dict[str, Any] = {}
    for name in only or ["storybook"]:
        subject = subjects.SUBJECTS[name]
        model, rounds = subject.load(device), repeats or subject.repeats
        for source, given in sources(model, steps or subject.steps).items():
            with tempfile.TemporaryDirectory() as folder:
                caches = {way: make for way, make in ways(Path(folder)).items() if way in (kept or [way])}
                found[f"{name}, {source}"] = measure(model, given, caches, rounds, device)
            table(f"{name}, {source}", found[f"{name}, {source}"])
    keep("source_cache", {"device": device, "subjects": found})


def sources(model: wb.Model, steps: int) -> dict[str, dict[str, Any]]:
    """Return the arguments of an edit by kind of source: one that is generated, and a picture that was inverted."""
    picture = wb.generate(model, subjects.SOURCE, seed=SEED, steps=steps).latents
    return {
        "generated": {"source": subjects.SOURCE, "seed": SEED, "steps": steps},
        "inverted": {"source": invert_latents(model, picture, subjects.SOURCE, steps=steps)},
    }


def measure(
    model: wb.Model, given: dict[str, Any], caches: dict[str, Caches], rounds: int, device: str
) -> dict[str, Any]:
    """Return what edits of one source cost: in all ways, and their ratios."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    seconds: dict[str, list[float]] = {}
    last: dict[str, wb.EditResult] = {}

    def edit(name: str, target: str, cache: wb.SourceCache | None) -> None:
        began = clock()
        last[name] = wb.edit(model, to=target, cache=cache, **given)
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.setdefault(name, []).append(clock() - began)

    edit("warm up", SECOND, None)
    for number in range(rounds):
        edit("no cache", SECOND, None)
        for way in list(caches)[:: 1 if number % 2 else -1]:
            cache = caches[way]()
            edit(f"{way}, first", FIRST, cache)
            edit(f"{way}, second", SECOND, cache)
    plain = last["no cache"]
    found: dict[str, Any] = {}
    for way in caches:
        first, second = f"{way}, first", f"{way}, second"
        found[way] = {
            "seconds_first": median(seconds[first]),
            "seconds_second": median(seconds[second]),
            "time_ratio": ratio(seconds[second], seconds[first]),
            "forward_samples_first": cost(last[first]),
            "forward_samples_second": cost(last[second]),
            "forward_samples_ratio": cost(last[second]) / cost(last[first]),
            "differs": float((last[second].latents - plain.latents).norm() / plain.latents.norm()),
        }
    without = {"seconds": median(seconds["no cache"]), "forward_samples": cost(plain)}
    return {"rounds": rounds, "steps": plain.settings["steps"], "no cache": without, "ways": found}


def cost(result: wb.EditResult) -> int:
    """Return the rows of all network calls that an edit has taken."""
    return result.settings["forward_samples"]


def table(title: str, found: dict[str, Any]) -> None:
    """Print what was measured of one source."""
    plain = found["no cache"]
    rows = [["no cache", "", f"{plain['seconds']:.2f}", "", "", f"{plain['forward_samples']}", "", ""]]
    for way, one in found["ways"].items():
        rows.append([
            way, f"{one['seconds_first']:.2f}", f"{one['seconds_second']:.2f}", f"{one['time_ratio']:.3f}",
            f"{one['forward_samples_first']}", f"{one['forward_samples_second']}",
            f"{one['forward_samples_ratio']:.3f}", f"{one['differs']:.1e}",
        ])  # fmt: skip
    heads = ["", "seconds: first", "second", "ratio", "samples: first", "second", "ratio", "differs"]
    show(f"{title}, {found['steps']} steps, {found['rounds']} rounds", heads, rows)


if __name__ == "__main__":
    typer.run(main)
