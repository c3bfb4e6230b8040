"""What every command shares: progress on stderr, JSON on stdout, and how errors and Ctrl-C end."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from wordbrush.errors import WordbrushError

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table


def plain(**settings: Any) -> Console:
    """Return a console that prints text as it is: paths and names may hold what Rich reads as markup or emoji."""
    return Console(markup=False, emoji=False, highlight=False, **settings)


out = plain()
err = plain(stderr=True)


def table(*headers: str, title: str | None = None) -> Table:
    """Return a table without lines, which breaks what is too long for its column and leaves nothing out."""
    from rich.table import Column, Table

    columns = (Column(header, overflow="fold") for header in headers)
    return Table(*columns, title=title, title_justify="left", box=None, pad_edge=False)


INTERRUPTED = 130  # what shells expect after SIGINT: 128 + 2
STOPPED = "Stopped; no file was left half-written."
EVERY = 30.0
"""Seconds between two lines about long work where there is no terminal."""

Report = Callable[[int, int], None]


class Commands(TyperGroup):
    """The root group: every error raised on purpose becomes one sentence on stderr and exit status 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = partial(_show_warning, warnings.showwarning)
                return super().invoke(ctx)
        except WordbrushError as error:
            typer.secho(f"wordbrush: {error.command}", err=True, fg=typer.colors.RED)
            raise typer.Exit(2) from error
        except typer.BadParameter as error:
            sentence = not_a_number(error)
            if sentence is None:
                raise
            typer.secho(f"wordbrush: {sentence}", err=True, fg=typer.colors.RED)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            typer.echo(f"\n{STOPPED}", err=True)
            raise typer.Exit(INTERRUPTED) from error


def not_a_number(error: typer.BadParameter) -> str | None:
    """Return what is wrong with the number of an option, in a sentence; None if the error is about something else.

    What was given is known from the error of pydantic, by which typer reads numbers; older versions have another.
    """
    cause: Any = error.__cause__
    found = cause.errors()[0] if hasattr(cause, "errors") else {}
    kind, parameter = found.get("type", ""), error.param
    whole = "a whole number" if kind.startswith("int_") else "a number"
    if parameter is None or not kind.startswith(("int_", "float_", "greater_than", "less_than")):
        return None
    least, most = getattr(parameter, "min", None), getattr(parameter, "max", None)
    limits = "" if least is None else f" of at least {least}" if most is None else f" from {least} to {most}"
    return f"{max(parameter.opts, key=len)} {found['input']!r} is not {whole}{limits}"


def _show_warning(
    usual: Callable[..., None], message: Any, category: type[Warning], *where: Any, **more: Any
) -> None:
    """Tell a warning that is meant for users as a sentence, and any other one as usual."""
    from wordbrush.vocabulary import UnknownWordWarning

    if issubclass(category, UnknownWordWarning):
        typer.secho(f"wordbrush: {message}", err=True, fg=typer.colors.YELLOW)
    else:
        usual(message, category, *where, **more)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show that something of unknown length is under way; silent where stderr is not a terminal."""
    if not err.is_terminal:
        yield
        return
    with err.status(Text(what)):
        yield


@contextmanager
def bars() -> Iterator[Progress]:
    """Lend bars on stderr, which disappear at the end; none are shown where stderr is not a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as shown:
        yield shown


@contextmanager
def progress(what: str) -> Iterator[Report]:
    """Show a bar on stderr that the yielded ``report(step, total)`` moves; silent where stderr is not a terminal.

    ``report`` may be used for several runs one after the other: the bar starts again with each.
    """
    with bars() as shown:
        task = shown.add_task(what, total=None)

        def report(step: int, total: int) -> None:
            shown.update(task, completed=step, total=total)

        yield report


def now_and_then() -> Callable[[], bool]:
    """Return a function that says once every ``EVERY`` seconds that another line is due."""
    last = time.monotonic()

    def due() -> bool:
        nonlocal last
        now = time.monotonic()
        if now - last < EVERY:
            return False
        last = now
        return True

    return due


def print_json(value: Any) -> None:
    """Print ``value`` as JSON, and nothing else, on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))
