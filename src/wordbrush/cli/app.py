"""The application: its commands and the options before them."""

from __future__ import annotations

from typing import Annotated

import typer

from wordbrush.cli import (
    data,
    doctor,
    edit,
    evaluate,
    figures,
    generate,
    instruct,
    invert,
    maps,
    models,
    push,
    storybook,
    studio,
    train,
    writer,
)
from wordbrush.cli.console import Commands
from wordbrush.version import __version__

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog='Start with: wordbrush edit "a cat on a beach at sunset" --to "a dog on a beach at sunset" --seed 6',
)
app.command()(edit.edit)
app.command()(instruct.instruct)
app.command()(generate.generate)
app.command()(invert.invert)
app.command()(maps.maps)
app.command()(figures.figures)
app.command()(evaluate.evaluate)
app.command()(models.models)
app.command()(studio.studio)
app.command()(train.train)
app.command()(push.push)
app.command()(doctor.doctor)
app.add_typer(data.app, name="data")
app.add_typer(storybook.app, name="storybook")
app.add_typer(writer.app, name="writer")


def show_version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        typer.echo(f"wordbrush {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Edit images by editing words."""
