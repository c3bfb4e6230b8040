"""A stage is continued by the same call, and never mixed with what was made otherwise."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path

import pytest

import toy
from wordbrush.dataset import stage as stages
from wordbrush.dataset.engines.local import LocalEngine
from wordbrush.dataset.manifest import Manifest, differences
from wordbrush.dataset.query import shards
from wordbrush.dataset.shards import read_shard
from wordbrush.dataset.source import ShardSource
from wordbrush.dataset.stage import StageReport, UnitTask, run_stage
from wordbrush.errors import DataError

LOCAL = LocalEngine()


@dataclass(frozen=True)
class Counting(LocalEngine):
    """Remembers the units that it was asked for."""

    asked: list[int] = field(default_factory=list)

    def run(self, task, units):
        self.asked.extend(units)
        return super().run(task, units)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    toy.run(tmp_path, LOCAL)
    return tmp_path


def test_reports_add_up(tmp_path: Path):
    seen = []
    captions = run_stage(toy.Captions(), toy.Numbers(62), tmp_path, engine=LOCAL, progress=seen.append)
    assert (captions.units, captions.made, captions.reused) == (13, 13, 0)
    assert (captions.rows_in, captions.rows_out, captions.kept) == (62, 62, 41)
    assert captions.reasons == {"third": 21}
    assert captions.survival == pytest.approx(41 / 62)
    assert (captions.rows_made, captions.remaining) == (62, 0)
    assert seen[0].rate is seen[0].remaining is seen[0].survival is None
    assert seen[4].rate == pytest.approx(20 / seen[4].seconds)
    assert seen[4].remaining == pytest.approx(seen[4].seconds / 4 * 9)
    assert [report.done for report in seen] == list(range(14))
    assert [report.rows_in for report in seen] == [*range(0, 61, 5), 62]


def test_a_second_call_makes_nothing_and_changes_nothing(made: Path):
    before = toy.contents(made)
    engine = Counting()
    reports = toy.run(made, engine)
    assert engine.asked == []
    assert [(report.made, report.reused, report.kept) for report in reports] == [(0, 12, 40), (0, 10, 48)]
    assert toy.contents(made) == before


def test_only_what_is_missing_is_made(made: Path):
    before = toy.contents(made)
    for name in ("captions/00002.parquet", "pairs/00007.parquet", "pairs/00009.parquet"):
        (made / name).unlink()
    engine = Counting()
    toy.run(made, engine)
    assert engine.asked == [2, 7, 9]
    assert toy.contents(made) == before


def test_a_lost_manifest_is_made_again_from_the_shards(made: Path):
    before = toy.contents(made)
    (made / "pairs" / "manifest.json").unlink()
    engine = Counting()
    toy.run(made, engine)
    assert engine.asked == []
    assert toy.contents(made) == before


@pytest.mark.parametrize("damage", ["truncated", "changed", "emptied"])
@pytest.mark.parametrize("manifest", [True, False], ids=["known", "unknown"])
def test_a_damaged_shard_is_named_set_aside_and_made_again(made: Path, damage: str, manifest: bool):
    before = toy.contents(made)
    path = made / "pairs" / "00004.parquet"
    content = path.read_bytes()
    bad = {
        "truncated": content[:-100],
        "changed": content[:3000] + bytes(50) + content[3050:],
        "emptied": b"",
    }[damage]
    path.write_bytes(bad)
    if not manifest:
        (made / "pairs" / "manifest.json").unlink()
    report = toy.run(made, LOCAL)[1]
    aside = made / "pairs" / "00004.parquet.corrupt"
    assert report.set_aside == (str(aside),)
    assert (report.made, report.reused) == (1, 9)
    assert aside.read_bytes() == bad
    aside.unlink()
    assert toy.contents(made) == before


@pytest.mark.parametrize(
    ("stage", "source", "sentence"),
    [
        (toy.Pairs(seed=2), None, "made with seed = 1, not 2"),
        (toy.Pairs(rows_per_unit=5), None, "made with rows_per_unit = 4, not 5"),
        (toy.Pairs(), toy.Numbers(9), 'made from other rows, with source.stage = "captions", not null'),
        (toy.Captions(), toy.Numbers(61), "made from other rows, with source.rows = 60, not 61"),
    ],
    ids=["setting", "unit", "source", "rows"],
)
def test_other_settings_are_refused_by_name(made: Path, stage, source, sentence: str):
    before = toy.contents(made)
    with pytest.raises(DataError, match=sentence):
        run_stage(stage, source or ShardSource(made / "captions"), made, engine=LOCAL)
    assert toy.contents(made) == before


def test_a_stage_that_stopped_before_its_first_unit_takes_other_settings(tmp_path: Path):
    """A model whose name was misspelt is found missing when the worker opens: the right name goes on there."""
    toy.run(tmp_path, LOCAL)
    failing = replace(toy.Captions(fails=ZeroDivisionError), rows_per_unit=20)
    with pytest.raises(ZeroDivisionError):
        run_stage(failing, toy.Numbers(60), tmp_path / "new", engine=LOCAL)
    assert Manifest.read(tmp_path / "new" / "captions").shards == {}
    assert run_stage(toy.Captions(), toy.Numbers(60), tmp_path / "new", engine=LOCAL).made == 12
    assert toy.contents(tmp_path / "new" / "captions") == toy.contents(tmp_path / "captions")


@pytest.fixture
def other_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "9.9" if name == "torch" else version(name))


def test_a_half_made_stage_is_not_finished_with_other_versions(made: Path, request: pytest.FixtureRequest):
    (made / "pairs" / "00007.parquet").unlink()
    before = toy.contents(made)
    request.getfixturevalue("other_torch")
    with pytest.raises(
        DataError, match=r"pairs, which is not finished, was made with torch \S+, not 9\.9, which may"
    ):
        toy.run(made, LOCAL)
    assert toy.contents(made) == before
    for path in (made / "pairs").glob("*.parquet"):
        path.unlink()
    assert toy.run(made, LOCAL)[1].made == 10  # there is nothing to mix
    assert json.loads((made / "pairs" / "manifest.json").read_text())["versions"]["torch"] == "9.9"


def test_a_finished_stage_stays_as_it_is_with_other_versions(made: Path, request: pytest.FixtureRequest):
    before = toy.contents(made)
    versions = json.loads(before["pairs/manifest.json"])["versions"]
    assert set(versions) == {"wordbrush", "torch", "diffusers", "transformers", "pyarrow"}
    request.getfixturevalue("other_torch")
    assert [report.made for report in toy.run(made, LOCAL)] == [0, 0]
    assert toy.contents(made) == before
    (made / "pairs" / "manifest.json").unlink()
    with pytest.raises(DataError, match="is not of this run: it was made with other settings or versions"):
        toy.run(made, LOCAL)


def test_a_worker_with_other_versions_makes_nothing(tmp_path: Path, request: pytest.FixtureRequest):
    task = UnitTask(toy.Captions(), toy.Numbers(5), tmp_path, Manifest("captions", {"rows_per_unit": 5}, 5))
    task.open()
    request.getfixturevalue("other_torch")
    with pytest.raises(DataError, match=r"this worker has torch 9\.9, not "):
        task.open()


@dataclass(frozen=True)
class Computed(toy.Pairs):
    """Computes, on whatever it finds."""

    def computes_on(self, found: str) -> str:
        return found


@pytest.fixture
def half(made: Path) -> Path:
    """A run whose pairs were computed, and are half made."""
    for path in (made / "pairs").iterdir():
        path.unlink()
    run_stage(Computed(), ShardSource(made / "captions"), made, engine=LOCAL)
    (made / "pairs" / "00007.parquet").unlink()
    return made


def go_on(out: Path, engine: LocalEngine) -> StageReport:
    return run_stage(Computed(), ShardSource(out / "captions"), out, engine=engine)


def test_a_half_made_stage_is_not_finished_with_other_threads_or_devices(
    half: Path, monkeypatch: pytest.MonkeyPatch
):
    assert Manifest.read(half / "captions").computed == {}
    assert Manifest.read(half / "pairs").computed == {"threads": 1, "device": "cpu"}
    before = toy.contents(half)
    with pytest.raises(DataError, match=r"not finished, was made with threads = 1, not 2, which rounds"):
        go_on(half, LocalEngine(2))
    with monkeypatch.context() as patch:
        patch.setattr("wordbrush.dataset.engines.local.found_device", lambda: "cuda")
        with pytest.raises(DataError, match=r'was made with device = "cpu", not "cuda"'):
            go_on(half, LOCAL)
    assert toy.contents(half) == before
    assert go_on(half, LOCAL).made == 1
    assert go_on(half, LocalEngine(2)).made == 0  # what is finished stays
    assert Manifest.read(half / "pairs").computed["threads"] == 1


def test_a_worker_on_another_device_makes_nothing(half: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("wordbrush.dataset.stage.found_device", lambda: "cuda")
    with pytest.raises(DataError, match=r'this worker has device = "cuda", not "cpu"'):
        go_on(half, LOCAL)


def test_shards_of_another_run_are_refused_without_their_manifest_too(made: Path):
    (made / "pairs" / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"00000\.parquet is not of this run"):
        run_stage(toy.Pairs(seed=2), ShardSource(made / "captions"), made, engine=LOCAL)


def test_a_folder_with_narrow_names_goes_on(made: Path, monkeypatch: pytest.MonkeyPatch):
    """As if it had more units than five digits can name: what is there keeps its name, and rows their order."""
    rows = ShardSource(made / "pairs").rows(0, 99)
    name = stages.shard_name
    monkeypatch.setattr(stages, "shard_name", lambda unit, units: name(unit, units and 10**6))
    (made / "pairs" / "00007.parquet").unlink()
    for manifest in (True, False):
        assert [report.made for report in toy.run(made, LOCAL)] == [0, int(manifest)]
        assert ShardSource(made / "pairs").rows(0, 99) == rows
        (made / "pairs" / "manifest.json").unlink()
    names = [path.name for path in shards(made, "pairs")]
    assert names[6:9] == ["00006.parquet", "000007.parquet", "00008.parquet"]
    (made / "pairs" / "00007.parquet").write_bytes((made / "pairs" / "000007.parquet").read_bytes())
    with pytest.raises(DataError, match=r"/00007\.parquet is not of this run"):
        toy.run(made, LOCAL)


def test_the_manifest_is_saved_less_often_the_longer_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A unit takes 5 seconds and the manifest 1, of which it may have 2 %: every 50 seconds, after the first 10."""
    clock, saved = [0.0], []
    write = Manifest.write

    def slow(manifest: Manifest, folder: Path) -> None:
        saved.append(clock[0])
        clock[0] += 1
        write(manifest, folder)

    def work(stage: toy.Captions, rows: list) -> list:
        clock[0] += 5
        return []

    monkeypatch.setattr(Manifest, "write", slow)
    monkeypatch.setattr(toy.Captions, "work", work)
    monkeypatch.setattr(stages.time, "monotonic", lambda: clock[0])
    run_stage(toy.Captions(), toy.Numbers(200), tmp_path, engine=LOCAL)
    assert saved == [0, 16, 72, 128, 184, 205]


def test_files_that_are_no_unit_are_refused(made: Path):
    (made / "pairs" / "00010.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"00010\.parquet is not of this run: move it away"):
        toy.run(made, LOCAL)


def test_an_unreadable_manifest_is_named(made: Path):
    (made / "pairs" / "manifest.json").write_text("{")
    with pytest.raises(DataError, match=r"manifest\.json cannot be understood; delete it"):
        toy.run(made, LOCAL)


def test_two_runs_do_not_work_in_one_folder(tmp_path: Path):
    def intrude(report):
        with pytest.raises(DataError, match="another run is working in"):
            run_stage(toy.Captions(), toy.Numbers(9), tmp_path, engine=LOCAL)

    assert run_stage(toy.Captions(), toy.Numbers(9), tmp_path, engine=LOCAL, progress=intrude).made == 2
    assert run_stage(toy.Captions(), toy.Numbers(9), tmp_path, engine=LOCAL).reused == 2


def test_a_stage_without_input_is_finished(tmp_path: Path):
    report = run_stage(toy.Captions(), toy.Numbers(0), tmp_path, engine=LOCAL)
    assert (report.units, report.made) == (0, 0)
    assert len(ShardSource(tmp_path / "captions")) == 0


def test_the_manifest_says_what_is_there(made: Path):
    manifest = json.loads((made / "pairs" / "manifest.json").read_text())
    assert manifest["complete"] is True
    assert manifest["rows"] == 120 == sum(shard["rows"] for shard in manifest["shards"])
    assert manifest["kept"] + manifest["reasons"]["clip_image"] == 120
    assert manifest["made_with"]["settings"] == {"seed": 1, "candidates": 3}
    assert manifest["config"] == Manifest.read(made / "pairs").config


def test_a_source_gives_the_kept_rows_in_order_wherever_shards_end(made: Path):
    source = ShardSource(made / "captions")
    kept = [
        row
        for path in sorted((made / "captions").glob("*.parquet"))
        for row in read_shard(path).to_pylist()
        if row["kept"]
    ]
    assert len(source) == len(kept) == 40
    assert source.rows(0, 40) == kept
    for start in range(0, 40, 3):
        for stop in range(start, 41, 4):
            assert source.rows(start, stop) == kept[start:stop]
    assert len(ShardSource(made / "captions", rejected=True).rows(0, 60)) == 60
    assert pickle.loads(pickle.dumps(source)).rows(5, 9) == kept[5:9]


def test_a_source_knows_whether_its_stage_is_finished_and_whole(made: Path):
    before = ShardSource(made / "captions")
    path = made / "captions" / "00003.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    before.rows(0, 3)
    with pytest.raises(DataError, match=r"00003\.parquet is damaged.*; run the command that made it again"):
        before.rows(0, 40)
    with pytest.raises(DataError, match="holds no rows of a stage"):
        ShardSource(made)
    manifest = Manifest.read(made / "pairs")
    replace(manifest, shards={0: manifest.shards[0]}).write(made / "pairs")
    with pytest.raises(DataError, match="is not finished \\(1 of 10 units\\)"):
        ShardSource(made / "pairs")


def test_differences_are_found_at_any_depth():
    before, after = {"a": {"b": 1, "c": [1]}, "d": 0}, {"a": {"b": 2, "c": [1]}, "e": 0}
    assert list(differences(before, after)) == [("a.b", 1, 2), ("d", 0, None), ("e", None, 0)]
    assert list(differences(before, before)) == []


def test_the_most_telling_difference_is_named():
    def manifest(rows: int, content: str) -> Manifest:
        made_with = {"settings": {}, "source": {"content": content, "rows": rows}, "rows_per_unit": 1}
        return Manifest("captions", made_with, rows)

    with pytest.raises(DataError, match=r"with source\.rows = 1, not 2"):
        manifest(2, "b").refuse_other(manifest(1, "a"), Path("out"))
    with pytest.raises(DataError, match=r"with source\.content = \"a\", not \"b\""):
        manifest(1, "b").refuse_other(manifest(1, "a"), Path("out"))
    manifest(1, "a").refuse_other(manifest(1, "a"), Path("out"))
