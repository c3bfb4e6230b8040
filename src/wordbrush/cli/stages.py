"""How far a stage is, on stderr: a bar on a terminal, elsewhere a line from time to time; and what it has made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from wordbrush.cli.console import err, now_and_then, out, print_json

if TYPE_CHECKING:
    from wordbrush.dataset.selection import Selection
    from wordbrush.dataset.stage import Progress, StageReport


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
    """Return rate, time left and survival as text: ``"12.3 pairs/s · 0:04:05 left · 37 % kept"``."""
    parts = []
    if report.rate is not None:
        parts.append(f"{report.rate:.3g} {report.stage}/s")
    if report.remaining is not None and report.done < report.units:
        parts.append(f"{_clock(report.remaining)} left")
    if report.survival is not None:
        parts.append(f"{report.survival:.1%} kept".replace("%", " %"))
    return " · ".join(parts)


def tell_stage(stage: StageReport, json: bool) -> None:
    """Print what a stage has made, as JSON or in words."""
    if json:
        print_json(as_json(stage))
    else:
        print_stage(stage)


def as_json(stage: StageReport) -> dict[str, Any]:
    """Return a report as JSON values."""
    return {**asdict(stage), "survival": stage.survival, "rate": stage.rate}


def print_stage(stage: StageReport) -> None:
    """Print a report as one line."""
    kept = f"{stage.kept:,} of {stage.rows_out:,} kept"
    reasons = ", ".join(f"{gate} {count:,}" for gate, count in stage.reasons.items())
    made = f"{stage.made} {'unit' if stage.made == 1 else 'units'} made" + (
        f", {stage.reused} were there" if stage.reused else ""
    )
    out.print(
        f"{stage.stage}: {kept}{f' (rejected: {reasons})' if reasons else ''}; {made}",
        soft_wrap=True,
    )


def print_selection(selection: Selection) -> None:
    """Print a selection as one line."""
    reasons = ", ".join(f"{count.gate} {count.rejected:,}" for count in selection.counts if count.rejected)
    out.print(
        f"selection: {selection.selected:,} of {selection.pairs:,} pairs{f' (rejected: {reasons})' if reasons else ''}",
        soft_wrap=True,
    )


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description:<8}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}", markup=False),
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
    due = now_and_then()

    def show(report: StageReport) -> None:
        if due():
            told = (f"{report.stage}: {report.done} of {report.units} units", describe(report))
            err.print(" · ".join(filter(None, told)), soft_wrap=True)

    yield show


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
