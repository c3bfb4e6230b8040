"""``wordbrush evaluate``: methods that edit pictures, measured on a data set; the same command goes on."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column, Table
from rich.text import Text

from wordbrush.cli import options
from wordbrush.cli.console import err, out, plain, print_json, progress
from wordbrush.cli.loading import load_editor, load_model
from wordbrush.cli.parse import BadOption, parse_guided, parse_scales, slug
from wordbrush.errors import counted, nearest
from wordbrush.files import write_files

if TYPE_CHECKING:
    from wordbrush.evaluation.data import Data
    from wordbrush.evaluation.measures import Measure
    from wordbrush.evaluation.method import Method
    from wordbrush.evaluation.rows import Row
    from wordbrush.evaluation.summary import Curve, Point
    from wordbrush.metrics.clip import Clip

DEFAULT = "instruct,sdedit,identity,generation"
BACKGROUNDS = ("area", "pie")
NONE = "none"
FAILED = 2
TOLD = 5
"""Of how many edits it is told why they could not be made, or not be measured."""

WIDTH = 140
"""Columns of a terminal that the tables need."""

USUAL = {"image_guidance": 1.5, "strength": 0.6}
"""The point of a curve for which the kinds of edits are told apart: the one that is nearest to this."""

SHOWN = {
    "clip_direction": "direction",
    "clip_image": "image",
    "structure": "structure",
    "background_psnr": "background dB",
}
"""Scores of the first table; all others are in the summary."""

SHOWN_BY_KIND = {
    "success": "success",
    "kept": "kept",
    "truth_psnr": "PSNR dB",
    "truth_ssim": "SSIM",
    "truth_l1": "L1",
    "clip_direction": "direction",
}
"""Scores of the second table, of every kind of edit by itself."""

DATA = "Data"
METHODS = "Methods"
MEASURES = "Measures"


def evaluate(
    data: Annotated[
        str,
        typer.Argument(
            metavar="[DATA]",
            help="storybook, storybook:COUNT, or a folder: PIE-Bench, MagicBrush, Emu Edit, or pairs as wordbrush data "
            "makes and reads them.",
        ),
    ] = "storybook",
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            rich_help_panel=DATA,
            help="Of the folder, where its files do not tell.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", metavar="NAME", rich_help_panel=DATA, help="Of parquet files with several."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, metavar="N", rich_help_panel=DATA, help="The first N examples only."),
    ] = None,
    methods: Annotated[
        str,
        typer.Option(
            "--methods",
            metavar="NAME[,NAME...]",
            rich_help_panel=METHODS,
            help="instruct, sdedit (with the caption after the edit), sdedit-instruction, p2p (on the inverted "
            "picture), text2live (minutes for an edit), and the controls generation, identity and truth.",
        ),
    ] = DEFAULT,
    editors: Annotated[
        list[str] | None,
        typer.Option(
            "--editor",
            "-e",
            metavar="NAME|PATH",
            rich_help_panel=METHODS,
            help="Instruction editor; repeat to compare several. Default: storybook.",
        ),
    ] = None,
    scales: Annotated[
        str | None,
        typer.Option(
            "--scales",
            metavar="X[,X...]",
            rich_help_panel=METHODS,
            help="Image guidance of instruct. Default: 1.0 to 2.2, as published.",
        ),
    ] = None,
    strengths: Annotated[
        str | None,
        typer.Option(
            "--strengths", metavar="X[,X...]", rich_help_panel=METHODS, help="Of SDEdit. Default: 0.3 to 0.9."
        ),
    ] = None,
    text_guidance: Annotated[
        float | None,
        typer.Option(
            "--text-guidance",
            metavar="X",
            rich_help_panel=METHODS,
            help="Of instruct, and guidance of SDEdit. Default: the editor's and the model's own.",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="published|default|fast",
            rich_help_panel=METHODS,
            help="Sampler and steps of instruct.",
        ),
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option(
            "--mask",
            metavar="auto",
            rich_help_panel=METHODS,
            help="Of instruct: what an edit left alone keeps its pixels.",
        ),
    ] = None,
    guided: Annotated[
        str | None,
        typer.Option(
            "--guided",
            metavar="START:STOP[/EVERY]",
            rich_help_panel=METHODS,
            help="Steps of instruct that ask all three branches, as 0:0.8/2: every second one of the first 80 %.",
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME|PATH",
            rich_help_panel=METHODS,
            help="Text-to-image model of sdedit, p2p and generation.",
        ),
    ] = "storybook",
    clip: Annotated[
        str,
        typer.Option(
            "--clip",
            metavar="NAME|PATH",
            rich_help_panel=MEASURES,
            help="CLIP model of the two axes, and of text2live.",
        ),
    ] = "storybook",
    structure: Annotated[
        str,
        typer.Option(
            "--structure",
            metavar="NAME|PATH|none",
            rich_help_panel=MEASURES,
            help="Vision transformer whose keys show structure, as facebook/dino-vitb8.",
        ),
    ] = "storybook",
    background: Annotated[
        str,
        typer.Option(
            "--background",
            metavar="area|pie",
            rich_help_panel=MEASURES,
            help="What is outside a mask, by its area, or as PIE-Bench's published code measures it, and structure.",
        ),
    ] = "area",
    seed: Annotated[
        int,
        typer.Option("--seed", "-s", min=0, metavar="N", help="All noise is drawn from it and the examples."),
    ] = 0,
    batch: Annotated[
        int,
        typer.Option(
            "--batch", min=1, metavar="N", help="Examples edited at once; results do not depend on it."
        ),
    ] = 4,
    dtype: options.Dtype = None,
    device: options.Device = None,
    offload: options.Offload = False,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            rich_help_panel=options.OUTPUT,
            help="Results, a line for every edit; what is there is not made again. Default: a folder under out/.",
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Measure how well methods edit pictures: the paper's curves, and storybook edits against their truth."""
    named = [name.strip() for name in methods.split(",")]
    chosen_scales = parse_scales(scales, "--scales")
    chosen_strengths = parse_scales(strengths, "--strengths")
    asking = parse_guided(guided)
    if background not in BACKGROUNDS:
        raise BadOption(
            f"--background {background!r} is not one of {', '.join(BACKGROUNDS)}{nearest(background, BACKGROUNDS)}"
        )
    place = folder or Path("out") / f"evaluate-{slug(data)}"
    from wordbrush.changed import AUTO
    from wordbrush.evaluation.data import open_data
    from wordbrush.evaluation.methods import EDITOR_METHODS, MODEL_METHODS, check_methods, make_methods
    from wordbrush.evaluation.run import evaluate as measure
    from wordbrush.metrics.clip import load_clip

    if mask not in (None, AUTO):
        raise BadOption(f"--mask is {AUTO}, found from each edit itself, not {mask!r}")
    check_methods(named)
    examples = open_data(data, format=format, split=split)
    editing = (editors or ["storybook"]) if set(named) & set(EDITOR_METHODS) else []
    drawing = model if set(named) & set(MODEL_METHODS) else None
    loading: dict[str, Any] = {"dtype": dtype, "device": device, "config": None, "offload": offload}
    contrastive = load_clip(clip, device=device)
    made = make_methods(
        named,
        editors=[load_editor(name, **loading) for name in editing],
        model=load_model(drawing, **loading) if drawing else None,
        clip=contrastive,
        text_guidance=text_guidance,
        sampling={
            name: value
            for name, value in {"preset": preset, "guided": asking, "mask": mask}.items()
            if value is not None
        },
        **({"scales": chosen_scales} if chosen_scales else {}),
        **({"strengths": chosen_strengths} if chosen_strengths else {}),
    )
    with progress("Measuring") as shown:
        rows = measure(
            examples,
            made,
            _measures(examples, clip=contrastive, structure=structure, background=background, device=device),
            out=place,
            made_with=_made_with(examples, editing, drawing, clip, structure, background),
            seed=seed,
            batch=batch,
            limit=limit,
            total=min([count for count in (examples.total, limit) if count], default=None),
            progress=lambda done, total: shown(done, total or done),  # of some folders it is not known
        )
    _finish(rows, examples, made, place, json)


def _measures(
    examples: Data, *, clip: Clip, structure: str, background: str, device: str | None
) -> list[Measure]:
    """Load what measures, in the order of the tables."""
    from wordbrush.evaluation.measures import (
        AgainstTruth,
        Change,
        ClipScores,
        Judged,
        Outside,
        PieClip,
        Structure,
    )
    from wordbrush.metrics.structure import load_keys

    pie = background == "pie"
    measures: list[Measure] = [ClipScores(clip)]
    if structure != NONE:
        measures.append(Structure(load_keys(structure, levels=pie, device=device)))
    measures += [PieClip(clip)] if pie else []
    measures += [Change(), Outside("pie" if pie else "area"), AgainstTruth()]
    if examples.judged:
        from wordbrush.storybook.judges import Judges

        measures.append(Judged(Judges()))
    return measures


def _made_with(
    examples: Data, editors: Sequence[str], model: str | None, clip: str, structure: str, background: str
) -> dict[str, Any]:
    """Return what scores depend on, with checksums of the models and of the storybook's world."""
    from wordbrush.dataset.weights import digest
    from wordbrush.metrics.clip import EMBEDDED as EMBEDDED_CLIPS
    from wordbrush.models import EMBEDDED, EMBEDDED_EDITORS

    models = {f"editor {name}": digest(name, EMBEDDED_EDITORS) for name in editors}
    if model:
        models[f"model {model}"] = digest(model, EMBEDDED)
    for role, name in (("clip", clip), ("structure", structure)):
        models[f"{role} {name}"] = digest(name, EMBEDDED_CLIPS)
    named = {"clip": clip, "structure": structure, "background": background}
    world = {}
    if examples.judged:
        from wordbrush.evaluation.data.storybook import digest_of_world
        from wordbrush.storybook.judges import FOLDER

        models["judges"] = digest(str(FOLDER))
        world["world"] = digest_of_world()
    return {"data": examples.name, **named, **world, "models": models}


def _finish(rows: Sequence[Row], examples: Data, methods: Sequence[Method], place: Path, json: bool) -> None:
    """Write the summary and the chart, show them, and end with status 2 if an edit could not be made."""
    from wordbrush.evaluation.chart import chart, drawable
    from wordbrush.evaluation.summary import by_kind, curves

    found, kinds = curves(rows), by_kind(rows)
    summary = {
        "data": examples.name,
        "examples": len({row.key for row in rows}),
        "curves": [curve.to_json() for curve in found],
        "kinds": {kind: [curve.to_json() for curve in own] for kind, own in kinds.items()}
        if len(kinds) > 1
        else {},
    }
    files = {place / "summary.json": (jsonlib.dumps(summary, indent=1, ensure_ascii=False) + "\n").encode()}
    if drawable(found):
        title = f"{examples.name.partition(' ')[0]}, {summary['examples']} examples"
        files[place / "curves.png"] = chart(found, title=title)
    write_files(files)
    failed = [row for row in rows if row.failed is not None]
    unmeasured = [row for row in rows if row.unmeasured is not None]
    for row in [*failed[:TOLD], *unmeasured[:TOLD]]:
        err.print(f"{row.method}, {row.key}: {row.failed or row.unmeasured}", soft_wrap=True)
    if json:
        print_json({**summary, "files": [str(path) for path in files]})
    else:
        wide = plain(width=max(out.width, WIDTH))  # rather lines that a terminal wraps than numbers cut off
        wide.print(_table({"": found}, SHOWN))
        if len(kinds) > 1:
            usual = {kind: [_usual(curve) for curve in own] for kind, own in kinds.items()}
            out.print()
            wide.print(_table(usual, SHOWN_BY_KIND))
        out.print(f"\nResults in {place}", soft_wrap=True)
    if unmeasured:
        err.print(f"{counted(len(unmeasured), 'edit')} could not be measured in full")
    if failed:
        err.print(f"{counted(len(failed), 'edit')} could not be made", style="red")
        raise typer.Exit(FAILED)


def _usual(curve: Curve) -> Curve:
    """Return a curve with the one point that is nearest to what is usual."""
    wanted = USUAL.get(curve.along, 0.0)
    return replace(curve, points=(min(curve.points, key=lambda point: abs((point.at or 0.0) - wanted)),))


def _table(groups: Mapping[str, Sequence[Curve]], shown: Mapping[str, str]) -> Table:
    """Return a table with a line for every point of the curves of each group; what nothing is known of is left out."""
    points = [point for curves in groups.values() for curve in curves for point in curve.points]
    names = [name for name in shown if any(name in point.scores for point in points)]
    first = Column("method", no_wrap=True)
    table = Table(first, *(shown[name] for name in names), "samples", "s", "MiB", box=None, pad_edge=False)
    for group, curves in groups.items():
        if group:
            table.add_row(Text(group, "bold"))
        for curve in curves:
            for point in curve.points:
                at = "" if point.at is None else f" {point.at:g}"
                table.add_row(f"{curve.label}{at}", *_cells(point, names))
    return table


def _cells(point: Point, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        yield _shown(point.scores[name]) if name in point.scores else "–"
    yield f"{point.forward_samples:.0f}"
    yield f"{point.seconds:.2f}"
    yield "–" if point.memory is None else f"{point.memory / 2**20:.0f}"


def _shown(interval: Mapping[str, float | int]) -> str:
    """Return a mean or share with half the width of its interval: ``"0.812±0.010"``; decibels with one digit."""
    value = interval["share"] if "share" in interval else interval["mean"]
    digits = 1 if abs(value) >= 2 else 3
    return f"{value:.{digits}f}±{(interval['high'] - interval['low']) / 2:.{digits}f}"
