"""``wordbrush figures``: the figures of the papers, with any model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from wordbrush.cli import options
from wordbrush.cli.console import err, out, print_json, progress
from wordbrush.cli.loading import load_editor, load_model
from wordbrush.cli.output import with_versions
from wordbrush.cli.parse import BadOption
from wordbrush.figures import FIGURES, GROUPS, chosen
from wordbrush.files import check_writable, write_files

NAMES = "  ".join([*FIGURES, *GROUPS])
OWN = tuple(name for name, entry in FIGURES.items() if entry.own)
MEASURED = tuple(name for name, entry in FIGURES.items() if entry.measured)
EDITING = "Editing by instruction"


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
    image: Annotated[
        Path | None,
        typer.Option(
            "--image",
            "-i",
            metavar="PICTURE",
            rich_help_panel=EDITING,
            help=f"A picture of your own, in {', '.join(OWN)}.",
        ),
    ] = None,
    instructions: Annotated[
        list[str] | None,
        typer.Option(
            "--instruction",
            metavar="TEXT",
            rich_help_panel=EDITING,
            help="What to ask for instead of what these figures do; repeat for several.",
        ),
    ] = None,
    editors: Annotated[
        list[str] | None,
        typer.Option(
            "--editor",
            "-e",
            metavar="[LABEL=]NAME|PATH",
            rich_help_panel=EDITING,
            help="Instruction editor. Default: storybook.",
        ),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            "--results",
            metavar="DIR",
            rich_help_panel=EDITING,
            help=f"What wordbrush evaluate measured, for {' and '.join(MEASURED)}.",
        ),
    ] = None,
    examples: Annotated[
        int,
        typer.Option(
            "--examples",
            min=1,
            metavar="N",
            rich_help_panel=EDITING,
            help="Without --results, on how many storybook edits they are measured now.",
        ),
    ] = 70,
    model: options.Model = "storybook",
    config: options.Config = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    offload: options.Offload = False,
    json: options.Json = False,
) -> None:
    """Make the papers' figures, as PNG and PDF."""
    if not names:
        list_figures(json)
        return
    wanted = chosen(names)
    check_writable(folder)
    if (image or instructions) and not any(FIGURES[name].own for name in wanted):
        raise BadOption(
            f"--image and --instruction are shown in {', '.join(OWN)}, none of which is among {' '.join(names)}"
        )
    labels = named_editors(editors or ["storybook"])
    if "ip2p-10" in wanted and "ip2p-10" not in names and len(labels) < 2 and not results:
        wanted.remove("ip2p-10")  # a group draws what can be drawn
        told = "ip2p-10 is left out: it compares editors, so give several with --editor"
        err.print(told, soft_wrap=True)
    reading = set(MEASURED) if results else set()
    needs = {need for name in wanted if name not in reading for need in FIGURES[name].needs}
    from wordbrush.figures import load
    from wordbrush.figures.brush import Brush
    from wordbrush.pictures import read_picture

    loading: dict[str, Any] = {"dtype": dtype, "device": device, "config": config, "offload": offload}
    own = read_picture(image).image if image else None
    loaded = load_model(model, **loading) if "model" in needs else None
    editing = (
        {label: load_editor(name, **loading) for label, name in labels.items()} if "editor" in needs else {}
    )
    written: list[str] = []
    for name in wanted:
        entry = FIGURES[name]
        with progress(name) as report:
            brush = Brush(loaded, seed=seed, steps=steps, progress=report, editors=editing,
                          own=own if entry.own else None,
                          instructions=(instructions or ()) if entry.own else (),
                          results=results, labels={name: label for label, name in labels.items()},
                          examples=examples)  # fmt: skip
            page = load(name)(brush)
        settings: dict[str, Any] = {"figure": name, "seed": seed, "steps": steps}
        settings |= {"model": model} if "model" in entry.needs else {}
        settings |= {"editors": labels} if "editor" in entry.needs else {}
        settings |= {"image": image, "instructions": instructions} if entry.own else {}
        settings |= {"results": results, "examples": None if results else examples} if entry.measured else {}
        files = {
            folder / f"{name}.{kind}": content
            for kind, content in page.render(with_versions(settings)).items()
        }
        write_files(files)
        written += [str(path) for path in files]
        if not json:
            out.print(f"{name}: {' and '.join(map(str, files))}", soft_wrap=True)
    if json:
        print_json({"files": written})


def named_editors(given: list[str]) -> dict[str, str]:
    """Read ``--editor``: names or paths by their labels; without a label, a name is its own.

    Raises ``BadOption`` for an empty part, or a label that stands twice.
    """
    named: dict[str, str] = {}
    for one in given:
        label, _, name = one.partition("=") if "=" in one else (one, "=", one)
        if not label or not name:
            raise BadOption(f"--editor {one!r} is LABEL=PATH, or a name or path alone")
        if label in named:
            raise BadOption(f"--editor {label!r} is given twice: give each a label of its own, as LABEL=PATH")
        named[label] = name
    return named


def list_figures(json: bool) -> None:
    """Print what each figure shows."""
    if json:
        print_json({name: entry.shows for name, entry in FIGURES.items()})
        return
    for name, entry in FIGURES.items():
        out.print(f"{name}  {entry.shows}")
