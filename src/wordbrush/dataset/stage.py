"""A stage turns rows into rows; a run of it is the list of units whose file does not exist yet."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from wordbrush.dataset.manifest import NAME, Manifest, as_json, installed
from wordbrush.dataset.shards import (
    DamagedShard,
    Shard,
    Tag,
    check_shard,
    describe,
    encode,
    in_order,
    number_of,
    set_aside,
    shard_name,
)
from wordbrush.dataset.source import Source
from wordbrush.dataset.threads import Computing, found_device
from wordbrush.errors import DataError
from wordbrush.files import CannotWrite, locked, write_files

SAVE_EVERY = 10.0
"""Least seconds between two writings of the manifest; units that it does not know are decoded when a run goes on."""

SAVING = 0.02
"""The most of a run's time that the manifest, which grows with every unit, may take."""

Worker = Callable[[list[dict[str, Any]]], Iterable[dict[str, Any]]]
"""One unit's input rows → its output rows, in order; a pure function."""


class Stage(Protocol):
    """What a stage is; light and picklable, since ``open`` is called in the process that works.

    Attributes:
        name: of the stage and of its folder: ``"captions"``, ``"triplets"``, ``"pairs"``.
        rows_per_unit: input rows of a unit.
        schema: of the output rows; one of ``records``.
    """

    @property
    def name(self) -> str: ...
    @property
    def rows_per_unit(self) -> int: ...
    @property
    def schema(self) -> pa.Schema: ...

    def fingerprint(self) -> dict[str, Any]:
        """Return everything the rows depend on beside the input and the packages, as JSON values: settings, models."""
        ...

    def open(self) -> Worker:
        """Load what is needed, once per process."""
        ...


@dataclass(frozen=True)
class UnitTask:
    """Everything a process needs to make units of a stage.

    Args:
        stage: what makes the rows.
        source: where its input comes from.
        folder: where the files go.
        manifest: the plan: the rows of every unit, and the hash of the settings.
    """

    stage: Stage
    source: Source
    folder: Path
    manifest: Manifest

    def open(self, threads: int = 1) -> Callable[[int], Shard]:
        """Return the function that makes one unit's file and says what is in it.

        Args:
            threads: of torch in this process from now on. Sums in another order are rounded differently, so the
                same bytes take the same number, whatever the machine.
        """
        self.manifest.refuse_other_versions(installed(), "this worker has")
        if self.manifest.computed:
            found = computed(self.stage, threads, found_device())
            self.manifest.refuse_other_computing(found, "this worker has")
        worker = self.stage.open()
        torch = sys.modules.get("torch")  # a stage that computes with it has loaded it by now
        if torch is not None:
            torch.set_num_threads(threads)
        return lambda unit: self._make(worker, unit)

    def tag(self, unit: int) -> Tag:
        """Return what the unit's file says about itself."""
        return {"stage": self.stage.name, "unit": unit, "config": self.manifest.config}

    def _make(self, worker: Worker, unit: int) -> Shard:
        start, stop = self.manifest.span(unit)
        given = self.source.rows(start, stop)
        if len(given) != stop - start:
            raise DataError(f"the source has {len(given)} rows from {start} to {stop}: it has changed")
        rows = list(worker(given))
        content = encode(rows, self.stage.schema, self.tag(unit))
        file = shard_name(unit, self.manifest.units)
        write_files({self.folder / file: content})
        return describe(unit, len(given), [(row["kept"], row["reason"]) for row in rows], content, file)


def computed(stage: Stage, threads: int, device: str) -> dict[str, Any]:
    """Return what the manifest has to know of the computation: nothing of a stage that does not compute.

    Args:
        threads: of torch in each worker.
        device: the kind that workers find.
    """
    used = stage.computes_on(device) if isinstance(stage, Computing) else None
    return {} if used is None else {"threads": threads, "device": used}


class Engine(Protocol):
    """What makes units: in this process, or in many.

    Attributes:
        threads: of torch in each worker.
    """

    @property
    def threads(self) -> int: ...

    def device(self) -> str:
        """Return the kind of device that workers find."""
        ...

    def run(self, task: UnitTask, units: Sequence[int]) -> Iterator[Shard]:
        """Make every unit once, in any order, and yield each when its file is written."""
        ...


@dataclass(frozen=True)
class StageReport:
    """How far a stage is.

    Args:
        stage: its name.
        units: of the whole stage; ``made`` in this run, ``reused`` from runs before.
        rows_in: input rows of the units that are done; ``rows_out`` came of them, ``kept`` are handed on.
        reasons: rejected rows by gate.
        rows_made: output rows of the units made in this run.
        seconds: wall-clock time since this run began to make units.
        set_aside: damaged files that were renamed and are made again.
    """

    stage: str
    units: int
    made: int
    reused: int
    rows_in: int
    rows_out: int
    kept: int
    reasons: dict[str, int]
    rows_made: int
    seconds: float
    set_aside: tuple[str, ...] = ()

    @property
    def done(self) -> int:
        """Units whose file exists."""
        return self.made + self.reused

    @property
    def survival(self) -> float | None:
        """Share of the output rows that are kept, in [0, 1]; None before there are any."""
        return self.kept / self.rows_out if self.rows_out else None

    @property
    def rate(self) -> float | None:
        """Output rows per second of this run, loading included; None before the first unit."""
        return self.rows_made / self.seconds if self.made and self.seconds else None

    @property
    def remaining(self) -> float | None:
        """Seconds until the end at the speed of this run; None before its first unit."""
        return self.seconds / self.made * (self.units - self.done) if self.made else None


Progress = Callable[[StageReport], None]


def run_stage(
    stage: Stage, source: Source, out: Path, *, engine: Engine, progress: Progress | None = None
) -> StageReport:
    """Make the units of ``stage`` that do not exist yet, in the folder ``out/<stage.name>``.

    Calling it again goes on after any stop, ``kill -9`` included, and gives the same bytes as a run that was never
    stopped. Damaged files are renamed to ``NAME.parquet.corrupt`` and made again.

    Args:
        progress: called with the state of the stage after each file that is found, before the first unit is made and
            after each that is.

    Raises:
        DataError: the folder was made with other settings, or in part with other versions of packages, threads or
            another kind of device, holds other files, or another run is working in it.
        CannotWrite: the disk is full, or the folder cannot be written; no file is left half-written.
    """
    task = UnitTask(stage, source, out / stage.name, _plan(stage, source, engine))
    with locked(task.folder):
        run = _Run(task, progress)
        run.find_done()
        task.manifest.write(task.folder)
        run.make_missing(engine)
        return run.report()


def _plan(stage: Stage, source: Source, engine: Engine) -> Manifest:
    if stage.rows_per_unit < 1:
        raise DataError(f"a unit of {stage.name} has at least 1 row, not {stage.rows_per_unit}")
    made_with = {
        "settings": stage.fingerprint(),
        "source": {**source.fingerprint(), "rows": len(source)},
        "rows_per_unit": stage.rows_per_unit,
    }
    device = engine.device() if isinstance(stage, Computing) else ""
    return Manifest(
        stage.name,
        as_json(made_with),
        len(source),
        computed=computed(stage, engine.threads, device),
    )


class _Run:
    """One call of ``run_stage``: what it has found, and what it makes."""

    def __init__(self, task: UnitTask, progress: Progress | None) -> None:
        self.task, self.plan, self.progress = task, task.manifest, progress
        self.began = time.monotonic()
        self.reused = self.rows_reused = 0
        self.damaged: list[str] = []

    def find_done(self) -> None:
        """Enter the units that are done into the manifest; damaged files are set aside.

        A stage that other versions of packages, threads or another kind of device have finished stays as it is, and so
        do they in its manifest.
        """
        folder = self.task.folder
        paths = in_order(folder.glob("*.parquet"))
        before = Manifest.read(folder) if (folder / NAME).exists() else None
        if before and not (before.shards or paths):
            before = (
                None  # it stopped before anything was made: nothing to go on with, so any settings will do
            )
        if before:
            self.plan.refuse_other(before, folder)
        known = before.shards if before else {}
        for path in paths:
            unit = number_of(path)
            # Folders of long runs from before their names were made to sort go on as they are.
            own = {shard_name(unit, self.plan.units), shard_name(unit, 0)}
            if not 0 <= unit < self.plan.units or path.name not in own or unit in self.plan.shards:
                raise DataError(f"{path} is not of this run: move it away, or choose another folder")
            start, stop = self.plan.span(unit)
            try:
                self.plan.add(check_shard(path, self.task.tag(unit), stop - start, known.get(unit)))
            except DamagedShard:
                self.damaged.append(str(set_aside(path)))
            self.reused, self.rows_reused = len(self.plan.shards), self.plan.rows
            self.tell()
        if before and self.plan.complete:
            self.plan.versions, self.plan.computed = before.versions, before.computed
        elif before and self.plan.shards:
            told = f"{folder}, which is not finished, was made with"
            self.plan.refuse_other_versions(before.versions, told)
            self.plan.refuse_other_computing(before.computed, told)

    def make_missing(self, engine: Engine) -> None:
        """Make the units that are not done and enter them into the manifest, which is saved however this ends."""
        plan, folder = self.plan, self.task.folder
        missing = [unit for unit in range(plan.units) if unit not in plan.shards]
        self.began = time.monotonic()
        due = self.began + SAVE_EVERY
        self.tell()
        if not missing:
            return
        bare = replace(self.task, manifest=replace(plan, shards={}))
        try:
            for shard in engine.run(bare, missing):
                plan.add(shard)
                if (begins := time.monotonic()) > due:
                    plan.write(folder)
                    ends = time.monotonic()
                    due = ends + max(SAVE_EVERY, (ends - begins) / SAVING)
                self.tell()
        except BaseException:
            with suppress(CannotWrite):  # the failure to report is the first one
                plan.write(folder)
            raise
        plan.write(folder)

    def tell(self) -> None:
        if self.progress:
            self.progress(self.report())

    def report(self) -> StageReport:
        plan = self.plan
        return StageReport(
            stage=plan.stage,
            units=plan.units,
            made=len(plan.shards) - self.reused,
            reused=self.reused,
            rows_in=plan.rows_done,
            rows_out=plan.rows,
            kept=plan.kept,
            reasons=dict(sorted(plan.reasons.items())),
            rows_made=plan.rows - self.rows_reused,
            seconds=time.monotonic() - self.began,
            set_aside=tuple(self.damaged),
        )
