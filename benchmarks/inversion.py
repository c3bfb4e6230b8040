"""Ways of inverting real pictures: what comes back, what an edit does, and what both cost.

    python benchmarks/inversion.py                           storybook renders, of which the truth is known
    python benchmarks/inversion.py --folder path/to/folder   pictures with a captions.jsonl: file, caption, and target
                                                             or subject, a word of the caption to be swapped; the
                                                             result is kept under the folder's name

One edit of each picture: its target, or another subject of the storybook, chosen by the picture's number. *Returned*:
the source row of the edit against the picture, beside what the autoencoder alone gives back. *Success*: the judges read
the new subject; *kept*: they read place, time, style and companion as in the picture. *Outside*: the edit against the
picture where neither has its subject, by the renderer's own masks of source and truth. *Truth*: the edit against the
render of the target scene. Forward-samples are rows of network calls; optimiser steps of null-text have gradients on
top.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

import wordbrush as wb
from common import keep, show
from wordbrush.inversion.methods import METHODS
from wordbrush.metrics.pixels import psnr, ssim
from wordbrush.storybook.judges import Judges
from wordbrush.storybook.recipe.renders import scene_at
from wordbrush.storybook.scene import SUBJECTS, caption
from wordbrush.storybook.statistics import mean
from wordbrush.storybook.world import mask, render

KEPT = ("place", "time", "style", "companion")


@dataclass(frozen=True)
class Case:
    """One picture and one edit of it; ``truth`` and ``outside`` are known of renders only.

    Args:
        subject: what the judges should read after the edit; None if that is not to be asked.
    """

    image: Image.Image
    prompt: str
    target: str | None
    subject: str | None = None
    truth: Image.Image | None = None
    outside: np.ndarray | None = None


def renders(count: int) -> Iterator[Case]:
    """Held-out scenes, and the same with another subject."""
    for index in range(count):
        scene, seed = scene_at("heldout", index)
        before = replace(scene, colour=None)
        after = replace(before, subject=other_subject(index, scene.subject))
        image, truth = (Image.fromarray(render(one, seed)) for one in (before, after))
        subjects = mask(before, seed, "subject") | mask(after, seed, "subject")
        yield Case(image, caption(before), caption(after), after.subject, truth, ~subjects)


def other_subject(index: int, subject: str) -> str:
    """Return what takes the place of a picture's subject."""
    others = [other for other in SUBJECTS if other != subject]
    return str(np.random.default_rng([23, index]).choice(others))


def pictures(folder: Path, count: int) -> Iterator[Case]:
    """The pictures of a folder with a ``captions.jsonl``; without target and subject they are inverted and returned."""
    lines = (folder / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    for index, row in enumerate(map(json.loads, lines[:count])):
        image, target, subject = Image.open(folder / row["file"]).convert("RGB"), row.get("target"), None
        if target is None and "subject" in row:
            if row["subject"] not in row["caption"].split():
                raise SystemExit(
                    f"{row['file']}: the subject {row['subject']!r} is no word of {row['caption']!r}"
                )
            subject = other_subject(index, row["subject"])
            target = row["caption"].replace(row["subject"], subject)
        yield Case(image, row["caption"], target, subject)


def measured(model: wb.Model, case: Case, method: Any, steps: int | None, judges: Judges) -> dict[str, float]:
    """Invert, edit and measure one picture."""
    begun = time.perf_counter()
    start = wb.invert(model, case.image, case.prompt, method=method, steps=steps)
    inverted = time.perf_counter()
    same: dict[str, Any] = {"to": case.prompt, "edits": [], "self_attention": 0.0}
    result = wb.edit(model, start, **({"to": case.target} if case.target else same))
    done = time.perf_counter()
    source, edited = result.source, result.images[0]
    row = {
        "returned psnr": psnr(case.image, source),
        "returned ssim": ssim(case.image, source),
        "forward-samples to invert": start.forward_samples,
        "forward-samples to edit": result.settings["forward_samples"],
        "seconds to invert": inverted - begun,
        "seconds to edit": done - inverted,
    }
    if case.subject is None:
        return row
    words = judges.read([case.image, edited]).words
    row |= {
        "success": float(words["subject"][1] == case.subject),
        "kept": float(all(words[name][0] == words[name][1] for name in KEPT)),
    }
    if case.truth is None or case.outside is None:
        return row
    return row | {
        "outside psnr": psnr(case.image, edited, case.outside),
        "truth psnr": psnr(case.truth, edited),
        "truth ssim": ssim(case.truth, edited),
    }


def main(
    count: Annotated[int, typer.Option("--pictures", "-n", min=1, help="How many.")] = 8,
    folder: Annotated[Path | None, typer.Option(help="Pictures of your own instead of renders.")] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="As for wordbrush edit.")] = "storybook",
    methods: Annotated[str, typer.Option(help="Comma-separated names.")] = ",".join(m.name for m in METHODS),
    steps: Annotated[int | None, typer.Option(help="The model's default unless given.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Measure the methods and keep the numbers."""
    loaded, judges = wb.load(model, device=device), Judges()
    cases = list(pictures(folder, count) if folder else renders(count))
    floors = [(case.image, loaded.decode(loaded.encode(case.image))[0]) for case in cases]
    table: dict[str, dict[str, Any]] = {
        "autoencoder alone": {
            "returned psnr": mean([psnr(*pair) for pair in floors]),
            "returned ssim": mean([ssim(*pair) for pair in floors]),
        }
    }
    for method in methods.split(","):
        rows = [measured(loaded, case, method, steps, judges) for case in cases]
        table[method] = {name: mean([row[name] for row in rows]) for name in rows[0]}
        print(
            method,
            json.dumps({name: round(value["mean"], 3) for name, value in table[method].items()}),
            flush=True,
        )
    names = list(dict.fromkeys(name for found in table.values() for name in found))
    lines = [
        [name, *(f"{found[name]['mean']:.4g}" if name in found else "" for found in table.values())]
        for name in names
    ]
    show(f"{len(cases)} pictures, {model}", ["", *table], lines)
    found = {"pictures": len(cases), "steps": steps or loaded.defaults.steps, "methods": table}
    keep(f"inversion-{folder.resolve().name}" if folder else "inversion", found)


if __name__ == "__main__":
    typer.run(main)
