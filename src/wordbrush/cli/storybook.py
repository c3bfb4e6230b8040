"""``wordbrush storybook``: the embedded world, its pictures and its models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from wordbrush.cli import options
from wordbrush.cli.console import out, print_json, progress, table, working
from wordbrush.cli.output import destination, tell, with_versions
from wordbrush.cli.parse import parse_settings, slug
from wordbrush.cli.stages import print_selection, stages
from wordbrush.errors import InvalidInput, counted
from wordbrush.files import png, write_files

app = typer.Typer(
    no_args_is_help=True, help="The embedded picture-book world: render it, train on it, measure with it."
)


@app.command()
def render(
    caption: Annotated[
        str | None, typer.Argument(help="A scene in words; without it, a contact sheet of random scenes.")
    ] = None,
    seed: options.DrawnSeed = 0,
    count: Annotated[
        int | None,
        typer.Option(
            "--count",
            "-n",
            min=1,
            metavar="N",
            help="Number of pictures: seeds from --seed up, or random scenes.",
        ),
    ] = None,
    output: options.Output = None,
    json: options.Json = False,
) -> None:
    """Render scenes of the storybook world (ground truth, no model)."""
    if caption is not None and not caption.strip():
        raise InvalidInput(
            "an empty caption describes no scene: say what it shows, or leave it out for random ones"
        )
    pictures = count or (1 if caption else 24)
    name = slug(caption) if caption else "scenes"
    place = destination(output or Path("out") / f"storybook-{name}-seed{seed}.png", name)
    import numpy as np
    from PIL import Image

    from wordbrush.contact import contact_sheet
    from wordbrush.storybook.scene import caption as describe
    from wordbrush.storybook.scene import parse, random_scene
    from wordbrush.storybook.world import render as draw

    rng = np.random.default_rng(seed)
    scenes = [parse(caption) if caption else random_scene(rng) for _ in range(pictures)]
    with working("Rendering"):
        images = [Image.fromarray(draw(scene, seed + number)) for number, scene in enumerate(scenes)]
    settings = [
        with_versions({}, prompt=describe(scene), seed=seed + number) for number, scene in enumerate(scenes)
    ]
    if place.folder:
        files = {
            place.folder / f"{number:03d}-{slug(known['prompt'])}.png": png(image, known)
            for number, (image, known) in enumerate(zip(images, settings, strict=True), start=1)
        }
    elif pictures == 1:
        files = {place.place: png(images[0], settings[0])}
    else:
        sheet = contact_sheet(images, [known["prompt"] for known in settings])
        files = {place.place: png(sheet, with_versions({}, seed=seed, count=pictures))}
    write_files(files)
    tell(files, f"{counted(pictures, 'scene')} in {place.place}", json=json, scenes=settings)


@app.command()
def train(
    stage: Annotated[
        str, typer.Option("--stage", metavar="NAME", help="What to train; an unknown name lists the stages.")
    ],
    minutes: Annotated[
        float,
        typer.Option(
            "--minutes",
            min=0,
            metavar="N",
            help="Stop after this time; --resume goes on later. Short stages run through.",
        ),
    ],
    folder: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FOLDER", help="Where checkpoints, samples and losses go."),
    ] = Path("runs"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the saved state in the folder.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Override one setting of the stage. Repeatable."),
    ] = None,
    device: options.Device = None,
    json: options.Json = False,
) -> None:
    """Train one of the storybook's models; exact resume after any stop."""
    chosen = parse_settings(settings or [])
    from wordbrush.storybook.recipe.cli import train as run

    with progress("Training") as shown:
        done = run(
            stage, minutes=minutes, out=folder, resume=resume, device=device, settings=chosen, progress=shown
        )
    report(done, json)


@app.command()
def evaluate(
    model: options.Model = "storybook",
    prompts: Annotated[
        int | None,
        typer.Option(
            "--prompts", "-n", min=1, metavar="N", help="Prompts to judge (500), or with --p2p sources (200)."
        ),
    ] = None,
    p2p: Annotated[
        bool, typer.Option("--p2p", help="Judge Prompt-to-Prompt edits against ground truth.")
    ] = False,
    kinds: Annotated[
        list[str] | None,
        typer.Option("--kind", metavar="NAME", help="With --p2p, only this kind of edit. Repeatable."),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            "--record", metavar="FILE", help="With --p2p, keep each source's measures, to go on from later."
        ),
    ] = None,
    writer: Annotated[
        bool,
        typer.Option(
            "--writer",
            help="Judge a writer's triplets; --model is storybook or a language model (500 captions).",
        ),
    ] = False,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    device: options.Device = None,
    json: options.Json = False,
) -> None:
    """Measure a model, or its edits, by classifiers that were trained on rendered scenes; or a writer, by grammar."""
    if writer and (p2p or kinds or record or steps is not None or guidance is not None):
        raise InvalidInput(
            "--writer measures texts: leave out --p2p, --kind, --record, --steps and --guidance"
        )
    if writer:
        report(_evaluate_writer(model, captions=prompts or 500, device=device), json)
        return
    if (kinds or record) and not p2p:
        raise InvalidInput("--kind and --record say how edits are measured: give --p2p, too")
    from wordbrush.storybook.evaluate import evaluate as measure

    count = prompts or (200 if p2p else 500)
    with progress("Measuring") as shown:
        measured = measure(
            model,
            prompts=count,
            p2p=p2p,
            kinds=kinds or (),
            record=record,
            steps=steps,
            guidance=guidance,
            device=device,
            progress=shown,
        )
    report(measured, json)


@app.command()
def paraphrase(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A folder of `wordbrush data`.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write them (JSON lines).")
    ],
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, metavar="N", help="Wordings for each triplet, at most.")
    ] = 24,
    seed: options.DrawnSeed = 0,
    json: options.Json = False,
) -> None:
    """Say the instructions of storybook triplets in other words, for `data.paraphrases` of `wordbrush train`."""
    import json as text

    from wordbrush.storybook.recipe.paraphrases import paraphrased

    with working("Reading"):
        lines = paraphrased(folder, count, seed=seed)
    files = {output: "".join(text.dumps(line) + "\n" for line in lines).encode()}
    write_files(files)
    tell(
        files,
        f"other wordings of {counted(len(lines), 'instruction')} in {output}",
        json=json,
        count=len(lines),
    )


@app.command()
def pairs(
    folder: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="The folder of the data set; it may be there."),
    ],
    count: Annotated[int, typer.Option("--count", "-n", min=1, metavar="N", help="Number of pairs.")] = 5000,
    seed: options.DrawnSeed = 0,
    json: options.Json = False,
) -> None:
    """Render pairs of scenes before and after an edit, to train an editor on the truth; the same command goes on."""
    from wordbrush.storybook.recipe.rendered_pairs import write_rendered_pairs

    with stages() as shown:
        selection = write_rendered_pairs(folder, count, seed=seed, progress=shown)
    if json:
        print_json(selection.to_json())
    else:
        print_selection(selection)


def _evaluate_writer(model: str, *, captions: int, device: str | None) -> Mapping[str, Any]:
    from wordbrush.dataset.writers.local import LocalWriter
    from wordbrush.dataset.writers.storybook import NAME, storybook_writer
    from wordbrush.storybook.evaluate_writer import evaluate_writer

    chosen = storybook_writer(device=device) if model == NAME else LocalWriter(model, device=device)
    with progress("Measuring") as shown:
        return evaluate_writer(chosen, captions=captions, progress=shown)


def report(values: Mapping[str, Any], json: bool) -> None:
    """Print measures as JSON or as a table."""
    if json:
        print_json(values)
        return
    listed = table("measure", "value")
    for name, value in flatten(values):
        listed.add_row(name, f"{value:.4g}" if isinstance(value, float) else str(value))
    out.print(listed)


def flatten(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested values with their names joined by dots."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
