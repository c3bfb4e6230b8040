"""``wordbrush figures``: the figures of the papers, with any model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wordbrush.cli import options
from wordbrush.cli.console import out, print_json, progress
from wordbrush.cli.loading import load_model
from wordbrush.cli.output import with_versions
from wordbrush.figures import FIGURES, GROUPS, chosen
from wordbrush.files import check_writable, write_files

NAMES = "  ".join([*FIGURES, *GROUPS])


def figures(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FIGURE...]", help=f"{NAMES}; without any, what each one shows."),
    ] = None,
    folder: Annotated[Path, options.output("FOLDER", "Folder for PNG and PDF.")] = Path("out/figures"),
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", "-s", min=0, metavar="N", help="One seed for every row instead of the chosen ones."
        ),
    ] = None,
    steps: options.Steps = None,
    model: options.Model = "storybook",
    config: options.Config = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    json: options.Json = False,
) -> None:
    """Make the papers' figures, as PNG and PDF."""
    if not names:
        list_figures(json)
        return
    wanted = chosen(names)
    check_writable(folder)
    from wordbrush.figures import load
    from wordbrush.figures.brush import Brush

    loaded = load_model(model, dtype=dtype, device=device, config=config)
    written: list[str] = []
    for name in wanted:
        with progress(name) as report:
            page = load(name)(Brush(loaded, seed=seed, steps=steps, progress=report))
        known = with_versions({"figure": name, "model": model, "seed": seed, "steps": steps})
        files = {folder / f"{name}.{kind}": content for kind, content in page.render(known).items()}
        write_files(files)
        written += [str(path) for path in files]
        if not json:
            out.print(f"{name}: {' and '.join(map(str, files))}", soft_wrap=True, highlight=False)
    if json:
        print_json({"files": written})


def list_figures(json: bool) -> None:
    """Print what each figure shows."""
    if json:
        print_json({name: entry.shows for name, entry in FIGURES.items()})
        return
    for name, entry in FIGURES.items():
        out.print(f"{name}  {entry.shows}", highlight=False)
