"""All stages in order, from captions to exported data sets; calling it again goes on where it stopped."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from wordbrush.dataset import build
from wordbrush.dataset import select as selecting
from wordbrush.dataset.config import Captions, Config, Select, Writer
from wordbrush.dataset.filters import DEFAULTS, Filter, from_settings
from wordbrush.dataset.manifest import NAME, Manifest, as_json, differences, installed
from wordbrush.dataset.pairs import PairStage
from wordbrush.dataset.records import Pair, Triplet
from wordbrush.dataset.score import ScoreStage
from wordbrush.dataset.selection import Selection
from wordbrush.dataset.source import ShardSource
from wordbrush.dataset.stage import Engine, Progress, StageReport, run_stage
from wordbrush.dataset.threads import found_device
from wordbrush.dataset.verdict import gates_for
from wordbrush.errors import DataError, InvalidInput
from wordbrush.files import write_files
from wordbrush.version import __version__

CAPTIONS, TRIPLETS, PAIRS = "captions", "triplets", "pairs"
SELECTION = "selection"
REPORT = "report"
EXPORT = "export"
CONFIG = "config.json"
TOGETHER = 1000
"""Triplets that are read at once where one is looked for."""


@dataclass(frozen=True)
class RunReport:
    """What a run has made.

    Args:
        stages: the reports of captions, triplets and pairs.
        selection: the verdicts on the pairs.
        report: the page that shows them.
        exports: folders of data sets.
    """

    stages: tuple[StageReport, ...]
    selection: Selection
    report: Path
    exports: tuple[Path, ...]


def run(config: Config, out: Path, *, progress: Progress | None = None) -> RunReport:
    """Make everything that ``config`` asks for and that is not there yet.

    ``out`` then holds ``captions``, ``triplets``, ``pairs``, ``selection.parquet`` and ``.json``, ``report``,
    ``export`` and ``config.json``.

    Raises:
        WordbrushError: settings, inputs or models that cannot be used, a folder made with other settings, a full disk.
    """
    check(config, out)
    engine = build.engine(config.engine)
    shared = {"engine": engine, "progress": progress}
    stages = (
        make_captions(config.captions, out, **shared),
        write_triplets(config.writer, out, seed=config.seed, **shared),
        make_pairs(config.pair_stage, out, **shared),
    )
    described = {"wordbrush": __version__, **config.model_dump(mode="json")}
    write_files({out / CONFIG: (json.dumps(described, indent=1, ensure_ascii=False) + "\n").encode()})
    selection = select_pairs(config.select, out)
    report = write_page(out, selection)
    exports = [
        export_pairs(out, selection, format=name, licence=config.export.licence)
        for name in config.export.formats
        if selection.selected
    ]
    return RunReport(stages, selection, report, tuple(exports))


def check(config: Config, out: Path | None = None) -> None:
    """Raise now, not after hours, for a source, writer, model, scorer, rule or format that cannot be used.

    Args:
        out: the folder of the run. A server that has written all its triplets may have made room for what comes next.
    """
    from wordbrush.dataset.export import check_format

    build.captions(config.captions)
    triplets = build.triplets(config.writer, seed=config.seed)
    if config.writer.kind != "server" or out is None or not _is_finished(out / TRIPLETS):
        triplets.check()
    config.pair_stage.check()
    selecting.check_query(build.rules(config.select, config.pairs.gates), config.select.where)
    for name in config.export.formats:
        check_format(name)


def _is_finished(folder: Path) -> bool:
    try:
        return Manifest.read(folder).complete
    except DataError:
        return False


def make_captions(
    section: Captions, out: Path, *, engine: Engine, progress: Progress | None = None
) -> StageReport:
    """Read, filter and deduplicate captions into ``out/captions``."""
    source, stage = build.captions(section)
    return run_stage(stage, source, out, engine=engine, progress=progress)


def write_triplets(
    section: Writer, out: Path, *, seed: int, engine: Engine, progress: Progress | None = None
) -> StageReport:
    """Write triplets for the captions of ``out`` into ``out/triplets``; they pass the captions' own filters."""
    source = kept(out, CAPTIONS)
    stage = build.triplets(section, seed=seed, filters=filters_of(out))
    return run_stage(stage, source, out, engine=engine, progress=progress)


def make_pairs(
    stage: PairStage, out: Path, *, engine: Engine, progress: Progress | None = None
) -> StageReport:
    """Make pairs for the triplets of ``out`` in ``out/pairs``."""
    return run_stage(stage, kept(out, TRIPLETS), out, engine=engine, progress=progress)


def kept(out: Path, stage: str) -> ShardSource:
    """Return the rows that a finished stage hands on.

    Raises:
        DataError: the stage is not finished, or has rejected everything.
    """
    source = ShardSource(out / stage)
    if not len(source):
        reasons = Manifest.read(out / stage).reasons
        told = ", ".join(f"{gate} {count}" for gate, count in reasons.items())
        raise DataError(f"no {stage} are left in {out / stage}: {told or 'there were none'}")
    return source


def filters_of(out: Path) -> tuple[Filter, ...]:
    """Return the filters that the captions of ``out`` have passed; the usual ones where their source names none.

    Raises:
        DataError: there are no captions, or they passed a filter that there is not.
    """
    passed = Manifest.read(out / CAPTIONS).made_with["source"].get("filters")
    return DEFAULTS if passed is None else from_settings(passed)


def select_pairs(
    section: Select, out: Path, *, unfinished: bool = False, name: str | None = None
) -> Selection:
    """Judge the pairs of ``out`` and write ``out/selection.parquet`` and ``.json``.

    Args:
        unfinished: judge those that there are, though not all are made.
        name: write ``selection-NAME`` beside it instead.

    Raises:
        InvalidInput: an unknown preset, or a name that is none.
        DataError: there are no pairs, or not all of them are made.
    """
    place = selection_path(out, name)
    manifest = Manifest.read(out / PAIRS)
    if not unfinished:
        _check_finished(manifest, out)
    preset = section.preset or "gates"
    rules = build.rules(section, gates_of(out))
    chosen = selecting.select(out, preset, rules=rules, where=section.where)
    chosen = replace(chosen, content=manifest.content)
    chosen.write(place)
    return chosen


def selection_path(out: Path, name: str | None = None) -> Path:
    """Return where a selection of ``out`` is, without the endings; the one without a name is the run's own.

    Raises:
        InvalidInput: a name that is not made of letters, digits, ``-`` and ``_``.
    """
    if name is None:
        return out / SELECTION
    if not re.fullmatch(r"[\w-]+", name):
        raise InvalidInput(f"the name of a selection has letters, digits, - and _ alone, not {name!r}")
    return out / f"{SELECTION}-{name}"


def _check_finished(manifest: Manifest, out: Path) -> None:
    if not manifest.complete:
        told = (
            f"{out / PAIRS} is not finished ({len(manifest.shards)} of {manifest.units} units): the command that began "
            f"it, `wordbrush data run` or `wordbrush data pairs {out}`, goes on"
        )
        raise DataError(f"{told}, or pass unfinished=True", command=f"{told}, or give --unfinished to select")


def _check_current(selection: Selection, out: Path) -> None:
    """Raise ``DataError`` for a selection of other pairs than there are now, or of unfinished ones unsaid."""
    if selection.content is None:
        if (out / PAIRS / NAME).exists():
            _check_finished(Manifest.read(out / PAIRS), out)
    elif selection.content != Manifest.read(out / PAIRS).content:
        raise DataError(
            f"the selection is of other pairs than there are in {out / PAIRS} now: run `wordbrush data select {out}` "
            "again"
        )


def remake(out: Path, key: str) -> Pair:
    """Make a pair of ``out`` again: the bytes that its shard has, with the number of threads that the manifest records.

    Args:
        key: of the pair, whatever its verdict.

    Raises:
        DataError: the pairs were made with other models or versions, on another kind of device, or by ``score_pairs``.
        InvalidInput: there is no such pair.
    """
    manifest = Manifest.read(out / PAIRS)
    stage = _stage_of(manifest, out / PAIRS)
    manifest.refuse_other_versions(installed(), "this installation has")
    if manifest.computed:
        here = {**manifest.computed, "device": stage.computes_on(found_device())}
        manifest.refuse_other_computing(here, "this process has")
    wanted, _, candidate = key.rpartition("-")
    source = ShardSource(out / TRIPLETS)
    starts = range(0, len(source), TOGETHER)
    rows = (row for start in starts for row in source.rows(start, min(start + TOGETHER, len(source))))
    triplet = next((Triplet.from_row(row) for row in rows if row["key"] == wanted), None)
    if triplet is None or not candidate.isdecimal():
        raise InvalidInput(f"no triplet in {out / TRIPLETS} has a pair {key!r}")
    return stage.open().remake(triplet, int(candidate), threads=manifest.computed.get("threads", 1))


def _stage_of(manifest: Manifest, folder: Path) -> PairStage:
    """Return the stage that a manifest describes, with the models that are there now."""
    made = manifest.made_with["settings"]
    own = {one.name for one in fields(PairStage)}
    if not own <= made.keys():
        raise DataError(
            f"the pairs in {folder} were scored or rendered there: one can be made again only where a model made it"
        )
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in made.items()
        if name in own
    }
    stage = PairStage(**given)
    for name, old, new in differences(made, as_json(stage.fingerprint())):
        raise DataError(f"{folder} was made with {name} = {old!r}, and there is {new!r} now")
    return stage


def gates_of(out: Path) -> Mapping[str, float]:
    """Return the gates that the pairs of ``out`` were made with."""
    settings = Manifest.read(out / PAIRS).made_with["settings"]
    return settings.get("gates", {})


def read_selection(out: Path, name: str | None = None) -> Selection:
    """Return the selection of this name that was made last. Raises ``DataError`` if there is none."""
    path = selection_path(out, name)
    if not path.with_name(f"{path.name}.json").exists():
        called, option = (f" {name!r}", f" --name {name}") if name else ("", "")
        raise DataError(
            f"there is no selection{called} in {out}: run `wordbrush data select {out}{option}` first"
        )
    return Selection.read(path)


def score_pairs(
    out: Path, to: Path, *, scorer: str, engine: Engine, progress: Progress | None = None
) -> StageReport:
    """Measure all pairs of ``out`` again and write them to ``to/pairs``.

    Raises:
        InvalidInput: ``to`` is ``out``.
    """
    if to.resolve() == out.resolve():
        raise InvalidInput(f"the pairs with new scores need a folder of their own, not {out} again")
    source = ShardSource(out / PAIRS, rejected=True)
    made = Manifest.read(out / PAIRS).made_with["settings"]
    before = made.get("gates", {})
    # Gates of the user's own stay; those that came with the scorer before go with it.
    gates = {} if before == gates_for(made.get("scorer", "")) else before
    return run_stage(ScoreStage(scorer, gates), source, to, engine=engine, progress=progress)


def write_page(out: Path, selection: Selection) -> Path:
    """Write the report of a selection into ``out/report`` and return its page.

    Raises:
        DataError: the selection is of other pairs than there are now.
    """
    from wordbrush.dataset.report import write_report

    _check_current(selection, out)
    return write_report(out, selection=selection, out=out / REPORT).html


def export_pairs(
    out: Path, selection: Selection, *, format: str, licence: str | None = None, to: Path | None = None
) -> Path:
    """Write the selected pairs as a data set and return its folder.

    Args:
        to: a folder that does not exist yet. Without it, a folder below ``out/export`` whose name tells this selection
            from others; if it is there, it is complete, and nothing is done.

    Raises:
        DataError: the selection is of other pairs than there are now.
    """
    from wordbrush.dataset.export import export

    _check_current(selection, out)
    described = selection.to_json()
    asked = {
        "keys": selection.keys,
        "licence": licence,
        "rules": described["rules"],
        "content": described["content"],
    }
    folder = to or out / EXPORT / f"{format}-{_digest(asked)}"
    if to is None and folder.exists():
        return folder
    return export(out, selection=selection, format=format, out=folder, licence=licence).folder


def _digest(value: Any) -> str:
    return blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=4).hexdigest()
