"""Ways of inverting real pictures: what comes back, what an edit does, and what both cost.

    python benchmarks/inversion.py                           storybook renders, of which the truth is known
    python benchmarks/inversion.py --attribute time          the same with another time or weather; or place, or style
    python benchmarks/inversion.py --folder path/to/folder   pictures with a captions.jsonl: file, caption, and target
                                                             or subject, a word of the caption to be swapped; the
                                                             result is kept under the folder's name

One edit of each picture: its target, or another subject of the storybook, chosen by the picture's number. *Returned*:
the source row of the edit against the picture, beside what the autoencoder alone gives back. *Success*: the judges read
the new subject; *kept*: they read all else but its colour as in the picture. *Unchanged*: the edit against the picture,
everywhere. *Outside*: the same where neither has its subject, by the renderer's own masks of source and truth.
*Truth*: the edit against the render of the target scene. Forward-samples are rows of network calls; optimiser steps of
null-text have gradients on top.

Every picture is inverted in all ways before the next one, and each result is a line in ``results/<name>.jsonl``: with
``--minutes`` the benchmark stops early, and the same command goes on. The table is of the pictures that all ways have,
and beside it every way is held against the first in the pictures that these two have.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

import wordbrush as wb
from common import RESULTS, keep, show
from wordbrush.dataset.weights import digest
from wordbrush.files import append_json
from wordbrush.inversion.methods import FLOW_METHODS, METHODS, names_for
from wordbrush.metrics.pixels import psnr, ssim
from wordbrush.models import EMBEDDED
from wordbrush.storybook.evaluate_edits import recorded
from wordbrush.storybook.judges import Judges
from wordbrush.storybook.recipe.renders import scene_at
from wordbrush.storybook.scene import PLACES, STYLES, SUBJECTS, TIMES, caption
from wordbrush.storybook.statistics import mean
from wordbrush.storybook.world import mask, render

CHANGED = {"subject": SUBJECTS, "place": PLACES, "time": TIMES, "style": STYLES}
READ = (*CHANGED, "companion")
COMPARED = ("success", "kept", "unchanged psnr", "outside psnr", "truth psnr")
FLOOR = "autoencoder alone"
UNEDITED: dict[str, Any] = {"edits": [], "self_attention": 0.0}
UNCONTROLLED = {**UNEDITED, "blend": "none"}


@dataclass(frozen=True)
class Way:
    """A method with its settings; ``edit`` has further arguments of the edit, None leaves a number to the model."""

    method: Any
    steps: int | None = None
    guidance: float | None = None
    edit: dict[str, Any] = field(default_factory=dict[str, Any])


WAYS = {
    **{kind.name: Way(kind.name) for kind in (*METHODS, *FLOW_METHODS)},
    "edit-friendly (0.36 skipped)": Way(wb.EditFriendly(skipped=0.36)),
    "edit-friendly (published)": Way(
        wb.EditFriendly(skipped=0.36, source_guidance=3.5), 100, 15.0, UNCONTROLLED
    ),
    "flow-edit (no control)": Way("flow-edit", edit=UNCONTROLLED),
}


def ways_for(model: wb.Model) -> list[str]:
    """Return the names of the ways whose methods are for a model, its default first."""
    known = names_for(model)
    ways = [name for name, way in WAYS.items() if getattr(way.method, "name", way.method) in known]
    return [known[0], *(name for name in ways if name != known[0])]


@dataclass(frozen=True)
class Case:
    """One picture and one edit of it; ``truth`` and ``outside`` are known of renders only.

    Args:
        expected: what the judges should read after the edit; None if that is not to be asked.
        attribute: of what.
    """

    image: Image.Image
    prompt: str
    target: str | None
    expected: str | None = None
    attribute: str = "subject"
    truth: Image.Image | None = None
    outside: np.ndarray | None = None


def renders(count: int, attribute: str) -> Iterator[Case]:
    """Held-out scenes, and the same with one attribute changed."""
    for index in range(count):
        scene, seed = scene_at("heldout", index)
        before = replace(scene, colour=None)
        after = replace(before, **{attribute: other(index, attribute, getattr(scene, attribute))})
        image, truth = (Image.fromarray(render(one, seed)) for one in (before, after))
        subjects = mask(before, seed, "subject") | mask(after, seed, "subject")
        outside = ~subjects if attribute == "subject" else None
        yield Case(
            image, caption(before), caption(after), getattr(after, attribute), attribute, truth, outside
        )


def other(index: int, attribute: str, word: str) -> str:
    """Return what takes the place of a word in a picture."""
    others = [one for one in CHANGED[attribute] if one != word]
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
            subject = other(index, "subject", row["subject"])
            target = row["caption"].replace(row["subject"], subject)
        yield Case(image, row["caption"], target, subject)


def measured(model: wb.Model, case: Case, way: Way, steps: int | None, judges: Judges) -> dict[str, float]:
    """Invert, edit and measure one picture."""
    begun = time.perf_counter()
    start = wb.invert(
        model, case.image, case.prompt, method=way.method, steps=way.steps or steps, guidance=way.guidance
    )
    inverted = time.perf_counter()
    result = wb.edit(model, start, to=case.target or case.prompt, **(way.edit if case.target else UNEDITED))
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
    if case.expected is None:
        return row
    words = judges.read([case.image, edited]).words
    kept = [words[name][0] == words[name][1] for name in READ if name != case.attribute]
    row |= {
        "success": float(words[case.attribute][1] == case.expected),
        "kept": float(all(kept)),
        "unchanged psnr": psnr(case.image, edited),
    }
    if case.outside is not None:
        row["outside psnr"] = psnr(case.image, edited, case.outside)
    if case.truth is not None:
        row |= {"truth psnr": psnr(case.truth, edited), "truth ssim": ssim(case.truth, edited)}
    return row


def summary(rows: list[dict[str, float]]) -> dict[str, Any]:
    """Return the mean of every measure, with its interval."""
    return {name: mean([row[name] for row in rows]) for name in rows[0]}


def main(
    count: Annotated[int, typer.Option("--pictures", "-n", min=1, help="How many.")] = 24,
    folder: Annotated[Path | None, typer.Option(help="Pictures of your own instead of renders.")] = None,
    attribute: Annotated[
        str, typer.Option(help=f"What changes in renders: {', '.join(CHANGED)}.")
    ] = "subject",
    model: Annotated[str, typer.Option("--model", "-m", help="As for wordbrush edit.")] = "storybook",
    ways: Annotated[
        str | None,
        typer.Option(help="Names, with commas between them; all that are for the model unless given."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="The model's default unless given.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    minutes: Annotated[float, typer.Option(help="Stop after the picture that is worked on then.")] = float(
        "inf"
    ),
    name: Annotated[str | None, typer.Option(help="What the results are kept as.")] = None,
) -> None:
    """Measure the ways and keep the numbers."""
    began, judges = time.monotonic(), Judges()
    loaded = wb.load(model, device=device)
    chosen = {way: WAYS[way] for way in (ways.split(",") if ways else ways_for(loaded))}
    changing = "inversion" if attribute == "subject" else f"inversion-{attribute}"
    name = name or (f"inversion-{folder.resolve().name}" if folder else changing)
    record = RESULTS / f"{name}.jsonl"
    plan = wb.plan(loaded, "a cat on a beach", to="a dog on a beach").describe()
    head = {
        "model": model,
        "weights": digest(model, EMBEDDED),
        "steps": steps,
        "attribute": attribute,
        "plan": plan,
    }
    found = recorded(record, head)
    cases = list(pictures(folder, count) if folder else renders(count, attribute))
    for (index, case), way in product(enumerate(cases), (FLOOR, *chosen)):
        key = f"{index} {way}"
        if key in found:
            continue
        if time.monotonic() - began > 60 * minutes:
            break
        if way in chosen:
            found[key] = measured(loaded, case, chosen[way], steps, judges)
        else:
            back = loaded.decode(loaded.encode(case.image))[0]
            found[key] = {"returned psnr": psnr(case.image, back), "returned ssim": ssim(case.image, back)}
        append_json(record, [{"index": key, **found[key]}])
    report(
        name,
        {key: row for key, row in found.items() if int(key.partition(" ")[0]) < len(cases)},
        list(chosen),
    )


def report(name: str, found: dict[str, dict[str, float]], ways: list[str]) -> None:
    """Print the tables of what was found by picture and way, and keep the numbers.

    *Against* the first way, the model's default unless others were asked for: the differences in the pictures that both
    have, where different ways may have been measured on different numbers of pictures.
    """
    have = {way: {key.partition(" ")[0] for key in found if key.partition(" ")[2] == way} for way in ways}
    whole = sorted(set.intersection(*have.values()), key=int)
    print(f"{len(whole)} pictures are done in all ways")
    if not whole:
        return
    table = {way: summary([found[f"{i} {way}"] for i in whole]) for way in (FLOOR, *ways)}
    first, against = ways[0], dict[str, Any]()
    for way in ways[1:]:
        both = [(found[f"{i} {way}"], found[f"{i} {first}"]) for i in sorted(have[way] & have[first])]
        against[way] = summary([{name: one[name] - other[name] for name in one} for one, other in both])
    names = list(dict.fromkeys(measure for row in table.values() for measure in row))
    lines = [[way, *(shown(row.get(measure)) for measure in names)] for way, row in table.items()]
    show(f"{name}: {len(whole)} pictures", ["", *names], lines)
    named = [measure for measure in COMPARED if measure in names]
    lines = [[way, *(shown(row[one], interval=True) for one in named)] for way, row in against.items()]
    show(f"against {first}, with 95 % intervals and pictures", ["", *named], lines)
    keep(name, {"pictures": len(whole), "methods": table, "against": {first: against}})


def shown(found: dict[str, float] | None, *, interval: bool = False) -> str:
    """Return a mean as text, with its interval and the number of pictures if asked for."""
    if found is None:
        return ""
    between = f" ({found['low']:.3g} to {found['high']:.3g}, {found['of']})" if interval else ""
    return f"{found['mean']:.4g}{between}"


if __name__ == "__main__":
    typer.run(main)
