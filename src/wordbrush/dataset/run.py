"""All stages in order, from captions to exported data sets; calling it again goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from wordbrush.dataset import build
from wordbrush.dataset import select as selecting
from wordbrush.dataset.config import Captions, Config, Select, Writer
from wordbrush.dataset.manifest import Manifest
from wordbrush.dataset.pairs import PairStage
from wordbrush.dataset.score import ScoreStage
from wordbrush.dataset.selection import Selection
from wordbrush.dataset.source import ShardSource
from wordbrush.dataset.stage import Engine, Progress, StageReport, run_stage
from wordbrush.dataset.verdict import gates_for
from wordbrush.errors import DataError, InvalidInput
from wordbrush.files import write_files
from wordbrush.version import __version__

CAPTIONS, TRIPLETS, PAIRS = "captions", "triplets", "pairs"
SELECTION = "selection"
REPORT = "report"
EXPORT = "export"
CONFIG = "config.json"


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
    check(config)
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


def check(config: Config) -> None:
    """Raise now, not after hours, for a source, writer, model, scorer, rule or format that cannot be used."""
    from wordbrush.dataset.export import check_format

    build.captions(config.captions)
    build.triplets(config.writer, seed=config.seed).check()
    config.pair_stage.check()
    selecting.check_query(build.rules(config.select, config.pairs.gates), config.select.where)
    for name in config.export.formats:
        check_format(name)


def make_captions(
    section: Captions, out: Path, *, engine: Engine, progress: Progress | None = None
) -> StageReport:
    """Read, filter and deduplicate captions into ``out/captions``."""
    source, stage = build.captions(section)
    return run_stage(stage, source, out, engine=engine, progress=progress)


def write_triplets(
    section: Writer, out: Path, *, seed: int, engine: Engine, progress: Progress | None = None
) -> StageReport:
    """Write triplets for the captions of ``out`` into ``out/triplets``."""
    source = kept(out, CAPTIONS)
    return run_stage(build.triplets(section, seed=seed), source, out, engine=engine, progress=progress)


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


def select_pairs(section: Select, out: Path) -> Selection:
    """Judge the pairs of ``out`` and write ``out/selection.parquet`` and ``.json``."""
    gates = gates_of(out)
    preset = section.preset or "gates"
    chosen = selecting.select(out, preset, rules=build.rules(section, gates), where=section.where)
    chosen.write(out / SELECTION)
    return chosen


def gates_of(out: Path) -> Mapping[str, float]:
    """Return the gates that the pairs of ``out`` were made with."""
    settings = Manifest.read(out / PAIRS).made_with["settings"]
    return settings.get("gates", {})


def read_selection(out: Path) -> Selection:
    """Return the selection that was made last. Raises ``DataError`` if there is none."""
    if not (out / f"{SELECTION}.json").exists():
        raise DataError(f"there is no selection in {out}: run `wordbrush data select {out}` first")
    return Selection.read(out / SELECTION)


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
    """Write the report of a selection into ``out/report`` and return its page."""
    from wordbrush.dataset.report import write_report

    return write_report(out, selection=selection, out=out / REPORT).html


def export_pairs(
    out: Path, selection: Selection, *, format: str, licence: str | None = None, to: Path | None = None
) -> Path:
    """Write the selected pairs as a data set and return its folder.

    Args:
        to: a folder that does not exist yet. Without it, a folder below ``out/export`` whose name tells this selection
            from others; if it is there, it is complete, and nothing is done.
    """
    from wordbrush.dataset.export import export

    asked = {"keys": selection.keys, "licence": licence, "rules": selection.to_json()["rules"]}
    folder = to or out / EXPORT / f"{format}-{_digest(asked)}"
    if to is None and folder.exists():
        return folder
    return export(out, selection=selection, format=format, out=folder, licence=licence).folder


def _digest(value: Any) -> str:
    return blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=4).hexdigest()
