"""``wordbrush train``: an editor from pairs; the same command goes on where it stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wordbrush.cli import options
from wordbrush.cli.console import bars, err, now_and_then, out, print_json
from wordbrush.errors import InvalidInput

if TYPE_CHECKING:
    from wordbrush.training.loop import Progress


def train(
    file: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="The settings of the training.")],
    folder: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="States, log, samples, and at the end DIR/editor."
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="SECTION.NAME=VALUE", help="In place of the file's setting. Repeatable."
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--change",
            metavar="SECTION.NAME=VALUE",
            help="Go on with another value than until now: of optimizer.rate, optimizer.clip, speed.precision or "
            "batch.micro. run.json keeps what it was. Repeatable.",
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", min=0, metavar="N", help="Stop after this time; the same command goes on."),
    ] = None,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Cache latents and texts, and stop; then launch on many GPUs.")
    ] = False,
    export: Annotated[
        bool, typer.Option("--export", help="Write the editor of the last state, and stop.")
    ] = False,
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Print all settings as JSON, with the defaults, and stop.")
    ] = False,
    device: options.Device = None,
    json: options.Json = False,
) -> None:
    """Train an editor that follows instructions, on pairs of pictures."""
    if prepare and export:
        raise InvalidInput("--prepare and --export do different things: give one of them")
    if device not in (None, "cpu", "cuda"):
        raise InvalidInput(
            f"--device is cpu or cuda, not {device!r}: several GPUs are used with accelerate launch"
        )
    from wordbrush.config import read_setting
    from wordbrush.training.config import read_config

    config = read_config(file, [*(settings or []), *(changes or [])])
    if dry:
        print_json(config.model_dump(mode="json"))
        return
    from wordbrush.training import loop

    with _progress() as shown:
        done = loop.train(
            config,
            folder,
            minutes=float("inf") if minutes is None else minutes,
            device=device,
            only="prepare" if prepare else "export" if export else None,
            change=[read_setting(change)[0] for change in changes or []],
            progress=shown,
        )
    from accelerate import PartialState

    if not PartialState().is_main_process:  # one process speaks for all
        return
    if json:
        print_json(asdict(done))
    elif prepare:
        out.print(f"{done.pairs:,} pairs are prepared in {folder}", soft_wrap=True)
    elif done.editor is not None:
        out.print(f"The editor after {done.step:,} steps is in {done.editor}", soft_wrap=True)
    elif not done.finished:
        out.print(
            f"Stopped after {done.step:,} of {config.steps:,} steps; the same command goes on",
            soft_wrap=True,
        )


@contextmanager
def _progress() -> Iterator[Progress]:
    """Show a bar on a terminal, elsewhere a line from time to time."""
    if not err.is_terminal:
        due = now_and_then()

        def tell(what: str, done: int, total: int | None) -> None:
            if due():
                err.print(f"{what}: {done:,}" + (f" of {total:,}" if total else ""), soft_wrap=True)

        yield tell
        return
    with bars() as shown:
        tasks = {}

        def show(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = shown.add_task(what, total=total)
            shown.update(tasks[what], completed=done)

        yield show
