"""``wordbrush data``: a data set of edits, from captions to selected pairs; every command goes on where it stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wordbrush.cli import options
from wordbrush.cli.console import out, print_json, working
from wordbrush.cli.stages import as_json, print_selection, print_stage, stages, tell_stage
from wordbrush.errors import InvalidInput

if TYPE_CHECKING:
    from wordbrush.dataset.stage import Engine

app = typer.Typer(
    no_args_is_help=True,
    help="Make a data set of edits: captions, instructions, pairs of pictures, a selection. "
    "The same command goes on with what is missing.",
)

Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="The folder of the data set, with what was made before.")
]
Out = Annotated[
    Path, typer.Option("--out", "-o", metavar="DIR", help="The folder of the data set; it may be there.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="Another setting; an unknown name lists them. Repeatable."
    ),
]
Seed = Annotated[
    int,
    options.seed(
        "Everything random is drawn from it and the records' keys: the same seed, the same data set."
    ),
]
EngineName = Annotated[
    str, typer.Option("--engine", metavar="NAME", help="local, this process, or ray, a pool of workers.")
]
Workers = Annotated[
    int, typer.Option("--workers", min=1, metavar="N", help="Number of workers of the engine ray.")
]
Threads = Annotated[
    int,
    typer.Option(
        "--threads", min=1, metavar="N", help="Threads of a worker; the same number, the same bytes."
    ),
]
Format = Annotated[
    str,
    typer.Option(
        "--format",
        "-f",
        metavar="NAME",
        help="What to write, for example diffusers; an unknown name lists all.",
    ),
]
Licence = Annotated[
    str | None, typer.Option("--licence", metavar="NAME", help="For the card, for example cc-by-4.0.")
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address", metavar="ADDRESS", help="A running Ray cluster, as auto; without it one starts here."
    ),
]
Gpus = Annotated[
    float,
    typer.Option(
        "--gpus", min=0, metavar="N", help="GPUs of each worker of the engine ray; 0.5 lets two share one."
    ),
]


@app.command()
def captions(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help=".txt, .jsonl or .parquet files, a data set's folder, hf:owner/name, or storybook:COUNT.",
        ),
    ],
    folder: Out,
    settings: Settings = None,
    engine: EngineName = "local",
    workers: Workers = 1,
    threads: Threads = 1,
    json: options.Json = False,
) -> None:
    """Read captions, filter them, and leave out repetitions."""
    from wordbrush.dataset import config, run

    section = config.make(config.Captions, {"sources": sources, **_read(settings)}, where="data captions")
    with stages() as shown:
        done = run.make_captions(section, folder, engine=_engine(engine, workers, threads), progress=shown)
    tell_stage(done, json)


@app.command()
def write(
    folder: Folder,
    writer: Annotated[
        str,
        typer.Option(
            "--writer",
            metavar="NAME|PATH",
            help="storybook, a causal language model (a folder or hub id), or server:MODEL.",
        ),
    ] = "storybook",
    price: Annotated[
        tuple[float, float],
        typer.Option("--price", metavar="READ WRITTEN", help="What a million tokens cost, for the sum."),
    ] = (0.0, 0.0),
    seed: Seed = 0,
    settings: Settings = None,
    engine: EngineName = "local",
    workers: Workers = 1,
    threads: Threads = 1,
    address: Address = None,
    gpus: Gpus = 0,
    json: options.Json = False,
) -> None:
    """Write an instruction and the caption after it for every caption."""
    from dataclasses import asdict

    from wordbrush.dataset import config, run
    from wordbrush.dataset.triplets import spent
    from wordbrush.dataset.writers.base import Prices

    section = config.make(config.Writer, {**_writer(writer), **_read(settings)}, where="data write")
    with stages() as shown:
        done = run.write_triplets(
            section,
            folder,
            seed=seed,
            engine=_engine(engine, workers, threads, address, gpus),
            progress=shown,
        )
    total = spent(folder / run.TRIPLETS, Prices(*price))
    if json:
        print_json({**as_json(done), "spent": asdict(total)})
        return
    print_stage(done)
    cost = f", cost {total.cost:,.2f}" if any(price) else ""
    out.print(
        f"{total.attempts:,} texts; tokens: {total.tokens_in:,} read, {total.tokens_out:,} written{cost}",
        soft_wrap=True,
    )


@app.command()
def pairs(
    folder: Folder,
    model: options.Model = "storybook",
    seed: Seed = 0,
    settings: Settings = None,
    engine: EngineName = "local",
    workers: Workers = 1,
    threads: Threads = 1,
    address: Address = None,
    gpus: Gpus = 0,
    json: options.Json = False,
) -> None:
    """Make candidates for every triplet by Prompt-to-Prompt, and score them."""
    from dataclasses import replace

    from wordbrush.dataset import config, run
    from wordbrush.dataset.pairs import PairStage

    stage = config.make(PairStage, {"model": model, **_read(settings)}, where="data pairs")
    with stages() as shown:
        done = run.make_pairs(
            replace(stage, seed=seed),
            folder,
            engine=_engine(engine, workers, threads, address, gpus),
            progress=shown,
        )
    tell_stage(done, json)


@app.command()
def score(
    folder: Folder,
    scorer: Annotated[
        str,
        typer.Option("--scorer", metavar="NAME|PATH", help="storybook, or a CLIP model: a folder or hub id."),
    ],
    to: Annotated[
        Path, typer.Option("--to", metavar="DIR", help="Another folder, for the pairs with new scores.")
    ],
    engine: EngineName = "local",
    workers: Workers = 1,
    threads: Threads = 1,
    address: Address = None,
    gpus: Gpus = 0,
    json: options.Json = False,
) -> None:
    """Measure pairs again, with another CLIP model, into another folder."""
    from wordbrush.dataset import run

    with stages() as shown:
        done = run.score_pairs(
            folder, to, scorer=scorer, engine=_engine(engine, workers, threads, address, gpus), progress=shown
        )
    tell_stage(done, json)


@app.command()
def select(
    folder: Folder,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="NAME",
            help="published, paper, or unfiltered, the first candidate of each triplet. Default: the gates of the "
            "pairs.",
        ),
    ] = None,
    at_least: Annotated[
        list[str] | None,
        typer.Option("--at-least", metavar="SCORE=X", help="Another least value for a score. Repeatable."),
    ] = None,
    best: Annotated[
        int | None,
        typer.Option("--best", min=1, metavar="N", help="Pairs per triplet, best direction first."),
    ] = None,
    where: Annotated[
        str | None, typer.Option("--where", metavar="SQL", help="A condition over the columns of the pairs.")
    ] = None,
    unfinished: Annotated[
        bool,
        typer.Option("--unfinished", help="Choose among the pairs that there are, though not all are made."),
    ] = False,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="Keep it beside the run's own, for data.selection of `wordbrush train`.",
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Choose pairs by their scores; nothing is thrown away, so choose as often as you like."""
    from wordbrush.dataset import config, run

    given = {"preset": preset, "best": best, "where": where, "at_least": _read(at_least)}
    section = config.make(config.Select, given, where="data select")
    with working("Selecting"):
        chosen = run.select_pairs(section, folder, unfinished=unfinished, name=name)
    if json:
        print_json(chosen.to_json())
        return
    print_selection(chosen)
    out.print(f"The verdict on every pair is in {run.selection_path(folder, name)}.parquet", soft_wrap=True)


@app.command()
def calibrate(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="The pairs, scored with the CLIP model that needs thresholds."),
    ],
    reference: Annotated[
        Path,
        typer.Option(
            "--reference", metavar="DIR", help="The same pairs, scored with the model that the preset is for."
        ),
    ],
    preset: Annotated[
        str, typer.Option("--preset", metavar="NAME", help="Whose thresholds: published or paper.")
    ] = "published",
    json: options.Json = False,
) -> None:
    """Carry thresholds over to another CLIP model: as strict as they are, not the same numbers."""
    from wordbrush.dataset.calibrate import calibrate as calibrated
    from wordbrush.dataset.calibrate import percentiles
    from wordbrush.dataset.rules import Keep
    from wordbrush.dataset.rules import preset as rules_of

    rules = rules_of(preset)
    with working("Calibrating"):
        below = percentiles(reference, rules)
        moved = [rule for rule in calibrated(folder, below, rules) if isinstance(rule, Keep)]
    at_least = {rule.score: rule.at_least for rule in moved}
    if json:
        print_json({"preset": preset, "percentiles": below, "at_least": at_least})
        return
    for rule in moved:
        out.print(f"{rule}, which {below[rule.score]:.1f} % of the pairs do not reach", soft_wrap=True)
    chosen = " ".join(f"--at-least {score}={least!r}" for score, least in at_least.items())
    out.print(f"Select with: wordbrush data select {folder} --preset {preset} {chosen}", soft_wrap=True)


@app.command()
def report(folder: Folder, json: options.Json = False) -> None:
    """Show the selection on a page: the funnel, the scores, pairs kept and rejected."""
    from wordbrush.dataset import run

    with working("Drawing"):
        page = run.write_page(folder, run.read_selection(folder))
    if json:
        print_json({"files": [page, page.with_suffix(".png")]})
    else:
        out.print(f"The report is in {page}", soft_wrap=True)


@app.command()
def export(
    folder: Folder,
    format: Format = "diffusers",
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FOLDER", help="A new folder. Default: one below DIR/export."),
    ] = None,
    licence: Licence = None,
    json: options.Json = False,
) -> None:
    """Write the selected pairs as a data set that other programs read, with a card."""
    from wordbrush.dataset import run

    with working("Exporting"):
        place = run.export_pairs(folder, run.read_selection(folder), format=format, licence=licence, to=to)
    if json:
        print_json({"folder": place, "format": format})
    else:
        out.print(f"The data set is in {place}", soft_wrap=True)


@app.command()
def convert(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="A data set that is here: a folder, or a parquet file.")
    ],
    read_as: Annotated[
        str,
        typer.Option(
            "--from", metavar="NAME", help="Its format, for example magicbrush; an unknown name lists all."
        ),
    ],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="A new folder.")],
    format: Format = "diffusers",
    split: Annotated[
        str | None,
        typer.Option("--split", metavar="NAME", help="Which of several, or a pattern such as FreeForm_*."),
    ] = None,
    licence: Licence = None,
    json: options.Json = False,
) -> None:
    """Write a data set of one format as one of another, with a card; nothing but the folder is made."""
    from wordbrush.dataset.export import convert as converted

    with working("Converting"):
        written = converted(source, read_as=read_as, format=format, out=to, split=split, licence=licence)
    if json:
        left = list(written.left_out)
        print_json({"folder": to, "format": format, "pairs": written.pairs, "left_out": left})
        return
    out.print(f"The data set is in {to}: {written.pairs:,} pairs", soft_wrap=True)
    if written.left_out:
        out.print(f"{format} has no place for {' and '.join(written.left_out)}", soft_wrap=True)


@app.command()
def run(
    file: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="The settings of all stages.")],
    folder: Out,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="SECTION.NAME=VALUE", help="In place of the file's setting. Repeatable."
        ),
    ] = None,
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Print all settings as JSON, with the defaults, and stop.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Do everything that a file says, from captions to exported data sets."""
    from wordbrush.dataset.config import read_config

    config = read_config(file, settings or [])
    if dry:
        print_json(config.model_dump(mode="json"))
        return
    from wordbrush.dataset import run as running

    with stages() as shown:
        done = running.run(config, folder, progress=shown)
    if json:
        print_json(
            {
                "stages": [as_json(stage) for stage in done.stages],
                "selection": done.selection.to_json(),
                "report": done.report,
                "exports": done.exports,
            }
        )
        return
    for stage in done.stages:
        print_stage(stage)
    print_selection(done.selection)
    out.print(f"The report is in {done.report}", soft_wrap=True)
    for place in done.exports:
        out.print(f"A data set is in {place}", soft_wrap=True)


def _read(settings: list[str] | None) -> dict[str, Any]:
    from wordbrush.config import read_setting

    return dict(map(read_setting, settings or []))


def _writer(name: str) -> dict[str, str]:
    if name == "storybook":
        return {"kind": name}
    kind, _, model = name.partition(":")
    return {"kind": kind, "model": model} if kind == "server" else {"kind": "local", "model": name}


def _engine(name: str, workers: int, threads: int, address: str | None = None, gpus: float = 0) -> Engine:
    from wordbrush.dataset import build, config

    if name not in ("local", "ray"):
        raise InvalidInput(f"--engine is local or ray, not {name!r}")
    given = {"name": name, "workers": workers, "threads": threads, "address": address, "gpus": gpus}
    return build.engine(config.make(config.Engine, given, where="data"))
