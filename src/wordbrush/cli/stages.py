"""How far a stage is, on stderr: a bar on a terminal, and elsewhere a line from time to time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wordbrush.cli.console import err

if TYPE_CHECKING:
    from wordbrush.dataset.stage import Progress, StageReport

EVERY = 30.0
"""Seconds between two lines where there is no terminal."""


@contextmanager
def stages() -> Iterator[Progress]:
    """Yield what ``run_stage`` calls with its reports; several stages may follow each other."""
    with _bars() if err.is_terminal else _lines() as show:
        told: set[str] = set()

        def tell(report: StageReport) -> None:
            for path in report.set_aside:
                if path not in told:
                    told.add(path)
                    err.print(f"A damaged file was set aside as {path} and is made again.", soft_wrap=True)
            show(report)

        yield tell


def describe(report: StageReport) -> str:
    """Return rate, time left and survival as text: ``"12.3 rows/s · 0:04:05 left · 37 % kept"``."""
    parts = []
    if report.rate is not None:
        parts.append(f"{report.rate:.3g} rows/s")
    if report.remaining is not None and report.done < report.units:
        parts.append(f"{_clock(report.remaining)} left")
    if report.survival is not None:
        parts.append(f"{report.survival:.1%} kept".replace("%", " %"))
    return " · ".join(parts)


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description:<8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}"),
    )
    tasks: dict[str, int] = {}
    with Progress(*columns, console=err) as bars:

        def show(report: StageReport) -> None:
            if report.stage not in tasks:
                tasks[report.stage] = bars.add_task(report.stage, told="")
            bars.update(
                tasks[report.stage],  # pyright: ignore[reportArgumentType]
                completed=report.done,
                total=report.units,
                told=describe(report),
            )

        yield show


@contextmanager
def _lines() -> Iterator[Progress]:
    last = time.monotonic()

    def show(report: StageReport) -> None:
        nonlocal last
        if time.monotonic() - last >= EVERY:
            last = time.monotonic()
            told = describe(report)
            err.print(f"{report.stage}: {report.done} of {report.units} units · {told}", soft_wrap=True)

    yield show


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
