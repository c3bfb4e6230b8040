"""What joint attention does with words, on a model of the storybook world that was trained with it.

    python benchmarks/joint.py --model runs/weights/joint_text_to_image

*Inside*: of the subject's map, the share that lies in the subject, where the judge of outlines finds it in the model's
own picture; *above chance*: that share over the subject's share of the picture, which a map of nothing would have.
*Pointing*: whether the map's peak lies in it; the same is asked of the place's word, which should point elsewhere.
Swaps of the subject, with the source's word maps for so many of the steps and all else by the model's defaults:
*success*, the judges read the new subject; *kept*, they read place, time and style as in the source picture; PSNR where
neither picture has its subject.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import wordbrush as wb
from common import keep, show
from inversion import other
from wordbrush.metrics.pixels import psnr
from wordbrush.storybook.judges import Judges
from wordbrush.storybook.recipe.renders import scene_at
from wordbrush.storybook.scene import Scene, caption
from wordbrush.storybook.statistics import mean, share

KEPT = ("place", "time", "style")


def scenes(count: int) -> list[Scene]:
    """Held-out scenes without colour and companion."""
    return [replace(scene_at("heldout", index)[0], colour=None, companion=None) for index in range(count)]


def attended(
    model: wb.Model, judges: Judges, scene: Scene, seed: int, steps: int | None
) -> dict[str, float] | None:
    """Return where subject and place attend in the model's picture; None if the judge finds no subject there."""
    made = wb.generate(model, caption(scene), seed=seed, steps=steps)
    outline = judges.read(made.images).outline[0]
    if not outline.any():
        return None
    found: dict[str, float] = {}
    for name in ("subject", "place"):
        word = made.maps.of(getattr(scene, name))
        subject = covered(outline, word.shape)
        inside = float((word * subject).sum() / word.sum())
        found |= {
            f"{name} inside": inside,
            f"{name} above chance": inside / float(subject.mean()),
            f"{name} pointing": float(subject.flat[word.argmax()] >= 0.5),
        }
    return found


def covered(outline: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the share of every place of a (height, width) map that a silhouette covers."""
    (height, width), (rows, columns) = outline.shape, shape
    return outline.reshape(rows, height // rows, columns, width // columns).mean((1, 3))


def swapped(
    model: wb.Model, judges: Judges, index: int, scene: Scene, ways: dict[str, Any]
) -> dict[str, dict[str, float]]:
    """Return the measures of one swap of the subject, by way."""
    after = replace(scene, subject=other(index, "subject", scene.subject))
    rows: dict[str, dict[str, float]] = {}
    for way, settings in ways.items():
        result = wb.edit(model, caption(scene), to=caption(after), seed=index, **settings)
        reading = judges.read([result.source, result.images[0]])
        words, outside = reading.words, ~(reading.outline[0] | reading.outline[1])
        rows[way] = {
            "success": float(words["subject"][1] == after.subject),
            "kept": float(all(words[name][0] == words[name][1] for name in KEPT)),
            "psnr outside": psnr(
                result.source, result.images[0], outside.repeat(4, axis=0).repeat(4, axis=1)
            ),
        }
    return rows


def main(
    model: Annotated[str, typer.Option("--model", "-m", help="As for wordbrush edit.")],
    count: Annotated[int, typer.Option("--scenes", "-n", min=1, help="How many.")] = 40,
    swaps: Annotated[int, typer.Option(min=0, help="How many of them are edited.")] = 20,
    until: Annotated[str, typer.Option(help="Comma-separated fractions of the steps.")] = "0,0.2,0.4",
    steps: Annotated[int | None, typer.Option(help="The model's default unless given.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Measure and keep the numbers."""
    loaded, judges = wb.load(model, device=device), Judges()
    cases = scenes(count)
    looked = [attended(loaded, judges, scene, index, steps) for index, scene in enumerate(cases)]
    found = [row for row in looked if row is not None]
    words = {name: mean([row[name] for row in found]) for name in (found[0] if found else {})}
    show(
        f"{len(found)} of {count} pictures", ["", "mean"], [[n, f"{v['mean']:.3g}"] for n, v in words.items()]
    )
    ways: dict[str, Any] = {"no injection": {"edits": [], "self_attention": 0.0, "steps": steps}}
    ways |= {f"until {one}": {"until": float(one), "steps": steps} for one in until.split(",")}
    edited = [
        swapped(loaded, judges, index, scene, ways) for index, scene in enumerate(cases[: min(swaps, count)])
    ]
    table = {
        way: {
            **{name: share([bool(row[way][name]) for row in edited]) for name in ("success", "kept")},
            "psnr outside": mean([row[way]["psnr outside"] for row in edited]),
        }
        for way in ways
        if edited
    }
    show(
        f"{len(edited)} swaps of the subject, {model}",
        ["", "success", "kept", "psnr outside"],
        [
            [
                way,
                *(f"{one[name]['share']:.3f}" for name in ("success", "kept")),
                f"{one['psnr outside']['mean']:.2f}",
            ]
            for way, one in table.items()
        ],
    )
    keep(
        "joint",
        {
            "model": Path(model).name,
            "steps": steps or loaded.defaults.steps,
            "scenes": count,
            "found": len(found),
            "words": words,
            "swaps": table,
        },
    )


if __name__ == "__main__":
    typer.run(main)
