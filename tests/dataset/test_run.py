"""A whole run with cheap stages: everything is made, and the same call makes nothing again."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

import toy
from edit_data import edit, pair, write_pairs
from wordbrush.cli import console, stages
from wordbrush.cli.app import app
from wordbrush.dataset import build, formats, run
from wordbrush.dataset.config import Config, read_config
from wordbrush.dataset.engines.ray import RayEngine
from wordbrush.dataset.filters import DEFAULTS, Filter
from wordbrush.dataset.keys import key_rng
from wordbrush.dataset.manifest import Manifest
from wordbrush.dataset.pairs import PairStage
from wordbrush.dataset.select import select
from wordbrush.dataset.selection import Selection
from wordbrush.dataset.shards import read_shard
from wordbrush.dataset.stage import StageReport
from wordbrush.dataset.triplets import TripletStage, checks_of
from wordbrush.dataset.verdict import rejected
from wordbrush.dataset.writers.base import Answer
from wordbrush.errors import DataError, InvalidInput, ModelError

FILE = """
[captions]
sources = ["storybook:40"]
rows_per_unit = 16

[pairs]
candidates = 3
gates = { clip_image = 0.5 }

[select]
best = 1

[export]
formats = ["diffusers"]
"""


@dataclass(frozen=True)
class SnowWriter:
    """Lets it snow; every fourth caption it leaves as it is."""

    name: str = "snow"

    def fingerprint(self) -> dict[str, Any]:
        return {}

    def check(self) -> None:
        """There is nothing to miss."""

    def open(self):
        def write(captions: Sequence[str], seeds: Sequence[int]) -> list[Answer]:
            return [
                Answer("let it snow", text if len(text) % 4 == 0 else f"{text} under snow", text, None, 3, 2)
                for text in captions
            ]

        return write


@dataclass(frozen=True)
class ColourStage(PairStage):
    """Pairs of plain colours, with scores drawn from the key."""

    def fingerprint(self) -> dict[str, Any]:
        return {"candidates": self.candidates, "gates": dict(self.gates)}

    def open(self):
        toys = toy.Pairs(seed=self.seed, candidates=self.candidates)

        def work(rows: list[dict[str, Any]]):
            for row in rows:
                for candidate in range(self.candidates):
                    pair = toys.pair({"key": row["caption_key"], "text": row["before"]}, candidate)
                    rng = key_rng(1, pair.key)
                    pair = replace(
                        pair,
                        triplet_key=row["key"],
                        instruction=row["instruction"],
                        after=row["after"],
                        before_image=colour(rng),
                        after_image=colour(rng),
                        clip_direction=rng.random(),
                    )
                    reason = rejected(pair, self.gates)
                    yield replace(pair, kept=reason is None, reason=reason).to_row()

        return work


def colour(rng: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), tuple(int(value) for value in rng.integers(0, 256, 3))).save(
        buffer, format="PNG"
    )
    return buffer.getvalue()


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the models stay at home."""

    def triplets(section: Any, *, seed: int, filters: Sequence[Filter] = DEFAULTS) -> TripletStage:
        checks = checks_of(filters)
        return TripletStage(SnowWriter(), seed=seed, rows_per_unit=10, attempts=1, checks=checks)

    make_pairs = run.make_pairs
    monkeypatch.setattr(build, "triplets", triplets)
    monkeypatch.setattr(PairStage, "check", lambda stage: None)
    monkeypatch.setattr(
        run,
        "make_pairs",
        lambda stage, out, **rest: make_pairs(
            ColourStage(candidates=stage.candidates, gates=stage.gates, seed=stage.seed), out, **rest
        ),
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(FILE)
    return path


@pytest.fixture
def config(file: Path) -> Config:
    return read_config(file)


@pytest.mark.usefixtures("cheap")
def test_a_run_makes_everything_once(config: Config, tmp_path: Path):
    out = tmp_path / "out"
    seen: list[StageReport] = []
    done = run.run(config, out, progress=seen.append)
    captions, triplets, pairs = done.stages
    assert (captions.rows_in, triplets.rows_in, pairs.rows_in) == (40, captions.kept, triplets.kept)
    assert set(triplets.reasons) == {"unchanged"}
    assert pairs.rows_out == 3 * triplets.kept
    assert {report.stage for report in seen} == {"captions", "triplets", "pairs"}
    assert 0 < done.selection.selected <= triplets.kept
    assert Selection.read(out / "selection").keys == done.selection.keys
    assert done.report.exists()
    assert len(list((done.exports[0] / "data").glob("*.parquet"))) > 0
    assert json.loads((out / "config.json").read_text())["pairs"]["candidates"] == 3

    before = toy.contents(out)
    again = run.run(config, out)
    assert [report.made for report in again.stages] == [0, 0, 0]
    assert again.exports == done.exports
    after = toy.contents(out)
    assert {name for name in before if before[name] != after[name]} <= {
        "report/report.png",
        "report/report.html",
    }


@pytest.mark.usefixtures("cheap")
def test_another_selection_is_another_export_beside_the_first(config: Config, tmp_path: Path):
    first = run.run(config, tmp_path / "out")
    stricter = config.model_copy(
        update={"select": config.select.model_copy(update={"at_least": {"clip_image": 0.8}})}
    )
    second = run.run(stricter, tmp_path / "out")
    assert second.selection.selected < first.selection.selected
    assert second.exports != first.exports
    assert first.exports[0].exists()


@pytest.mark.usefixtures("cheap")
def test_half_made_pairs_are_neither_selected_nor_shown_nor_exported(config: Config, tmp_path: Path):
    """Unless the user says so; and the selection of before does not stand for the pairs of now."""
    out = tmp_path / "out"
    done = run.run(config, out)
    (out / "pairs" / "00001.parquet").unlink()
    manifest = Manifest.read(out / "pairs")
    del manifest.shards[1]
    manifest.write(out / "pairs")
    with pytest.raises(
        DataError, match=rf"is not finished \(\d of \d units\): .* `wordbrush data pairs {out}`"
    ):
        run.select_pairs(config.select, out)
    told = CliRunner().invoke(app, ["data", "select", str(out)])
    assert (told.exit_code, "or give --unfinished to select" in told.stderr) == (2, True)
    for use in (run.write_page, lambda *given: run.export_pairs(*given, format="diffusers")):
        with pytest.raises(
            DataError, match=rf"of other pairs than .* run `wordbrush data select {out}` again"
        ):
            use(out, run.read_selection(out))
    with pytest.raises(DataError, match="is not finished"):
        run.write_page(out, replace(done.selection, content=None))
    chosen = invoke("select", out, "--unfinished", "--json")
    assert chosen["pairs"] < done.selection.pairs
    assert run.write_page(out, run.read_selection(out)).exists()


@pytest.mark.usefixtures("cheap")
def test_other_pairs_with_the_same_keys_are_another_export(config: Config, tmp_path: Path):
    done = run.run(config, tmp_path / "out")
    for stage in ("captions", "triplets", "pairs"):
        shutil.rmtree(tmp_path / "out" / stage)
    captions = config.captions.model_copy(update={"rows_per_unit": 20})
    again = run.run(config.model_copy(update={"captions": captions}), tmp_path / "out")
    assert again.selection.keys == done.selection.keys
    assert again.selection.content != done.selection.content
    assert again.exports != done.exports


@pytest.mark.usefixtures("cheap")
def test_other_settings_are_refused(config: Config, tmp_path: Path):
    run.run(config, tmp_path / "out")
    before = (tmp_path / "out" / "config.json").read_bytes()
    other = config.model_copy(update={"pairs": replace(config.pairs, candidates=4)})
    with pytest.raises(DataError, match="pairs was made with candidates = 3, not 4"):
        run.run(other, tmp_path / "out")
    assert (tmp_path / "out" / "config.json").read_bytes() == before


@pytest.mark.usefixtures("cheap")
def test_a_stage_that_rejects_everything_says_so(config: Config, tmp_path: Path):
    short = config.captions.model_copy(update={"words": (1, 2)})
    with pytest.raises(DataError, match=r"no captions are left in .*: length 40"):
        run.run(config.model_copy(update={"captions": short}), tmp_path / "out")


@pytest.mark.usefixtures("cheap")
def test_what_is_written_passes_the_filters_of_the_captions(file: Path, tmp_path: Path):
    with pytest.raises(DataError, match=r"no triplets are left in .*: text \d+"):
        run.run(read_config(file, ["captions.pattern=snow"]), tmp_path / "out")
    reasons = read_shard(tmp_path / "out" / "triplets" / "00000.parquet")["reason"].to_pylist()
    assert "text: instruction: pattern: 'snow'" in reasons


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ('export.formats=["difusers"]', r"no format 'difusers'.*did you mean 'diffusers'"),
        (
            'export.formats=["ultraedit_region"]',
            "the pairs of a run have no mask, which ultraedit_region needs",
        ),
        (
            "select.at_least={clip_directon = 0.3}",
            r"no score 'clip_directon' \(did you mean 'clip_direction'",
        ),
        ('select.where="no_such > 1"', "where 'no_such > 1' is not a condition: .*no_such"),
        ('select.where="l1 >"', "where 'l1 >' is not a condition"),
        ("select.preset=papers", r"no preset 'papers'.*did you mean 'paper'"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_made(
    change: str, sentence: str, file: Path, tmp_path: Path
):
    with pytest.raises(InvalidInput, match=sentence):
        run.run(read_config(file, [change]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("cheap")
def test_a_server_that_has_written_everything_is_needed_no_more(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def is_down(writer: SnowWriter) -> None:
        raise ModelError("the server is down")

    config = read_config(file, ["writer.kind=server", "writer.model=m"])
    done = run.run(config, tmp_path / "out")
    monkeypatch.setattr(SnowWriter, "check", is_down)
    shutil.rmtree(tmp_path / "out" / "pairs")
    assert run.run(config, tmp_path / "out").selection.keys == done.selection.keys
    (tmp_path / "out" / "triplets" / "manifest.json").unlink()
    for out in (tmp_path / "out", tmp_path / "new"):
        with pytest.raises(ModelError, match="is down"):
            run.run(config, out)


@pytest.mark.usefixtures("cheap")
def test_rules_over_all_columns_of_the_pairs_pass_the_check(file: Path, tmp_path: Path):
    where = "select.where=\"guidance < 12 AND before NOT LIKE '%zebra%' AND triplet_key IS NOT NULL\""
    changes = ["select.at_least={ssim = -1.0}", where, "pairs.gates={clip_image = 0.0}"]
    run.check(read_config(file, [*changes, 'export.formats=["original", "magicbrush", "imagefolder"]']))


@pytest.mark.usefixtures("cheap")
def test_the_command_line_does_it_in_one_command_or_in_many(file: Path, tmp_path: Path):
    one, many = tmp_path / "one", tmp_path / "many"
    done = invoke("run", file, "--out", one, "--json")
    assert [stage["stage"] for stage in done["stages"]] == ["captions", "triplets", "pairs"]
    invoke("captions", "storybook:40", "--out", many, "--set", "rows_per_unit=16", "--json")
    written = invoke("write", many, "--json", "--price", "1e6", "2e6")
    assert written["spent"] == {
        "attempts": written["rows_out"],
        "tokens_in": 3 * written["rows_out"],
        "tokens_out": 2 * written["rows_out"],
        "cost": 7 * written["rows_out"],
    }
    gates = "gates={clip_image = 0.5}"
    assert invoke("pairs", many, "--set", "candidates=3", "--set", gates, "--json")["rows_out"] > 0
    chosen = invoke("select", many, "--best", "1", "--json")
    assert chosen["selected"] == done["selection"]["selected"]
    assert Path(invoke("report", many, "--json")["files"][0]).exists()
    assert Path(invoke("export", many, "--json")["folder"]).name == Path(done["exports"][0]).name
    for stage in ("captions", "triplets", "pairs"):
        assert toy.contents(one / stage) == toy.contents(many / stage)
    assert (one / "selection.parquet").read_bytes() == (many / "selection.parquet").read_bytes()


def test_thresholds_are_carried_over_from_the_command_line(tmp_path: Path):
    """The scores of the other model are half as large: so are the thresholds, and the same pairs are selected."""
    scores = [0.1 * n for n in range(1, 10)]
    names = ("clip_image", "clip_before", "clip_after", "clip_direction")
    for folder, scale in (("reference", 1.0), ("other", 0.5)):
        pairs = [pair(n, **dict.fromkeys(names, scale * score)) for n, score in enumerate(scores)]
        write_pairs(tmp_path / folder, pairs)
    asked = ["calibrate", tmp_path / "other", "--reference", tmp_path / "reference"]
    found = invoke(*asked, "--json")
    assert found["percentiles"]["clip_image"] == pytest.approx(600 / 9)
    assert found["at_least"]["clip_image"] == pytest.approx(0.35)
    told = CliRunner().invoke(app, ["data", *map(str, asked)])
    command = told.stdout.splitlines()[-1].partition("Select with: wordbrush data ")[2].split()
    Manifest("pairs", {"settings": {}, "source": {}, "rows_per_unit": 3}, 9).write(
        tmp_path / "other" / "pairs"
    )
    assert (
        invoke(*command, "--unfinished", "--json")["selected"] == select(tmp_path / "reference").selected == 3
    )
    told = CliRunner().invoke(app, ["data", *map(str, asked), "--preset", "papers"])
    assert (told.exit_code, "did you mean 'paper'" in told.stderr) == (2, True)


def test_a_data_set_is_converted_from_the_command_line(tmp_path: Path):
    formats.write("clip_filtered", [edit(n) for n in range(2)], tmp_path / "in")
    asked = ["convert", tmp_path / "in", "--from", "clip_filtered", "--to", tmp_path / "out"]
    done = invoke(*asked, "--json")
    assert (done["pairs"], done["left_out"]) == (2, ["captions"])
    read = list(formats.read("diffusers", tmp_path / "out"))
    assert [one.instruction for one in read] == [edit(n).instruction for n in range(2)]
    assert "license: cc-by-4.0" not in (tmp_path / "out" / "README.md").read_text()
    told = CliRunner().invoke(app, ["data", *map(str, asked)])
    assert (told.exit_code, "exists: choose another folder" in told.stderr) == (2, True)
    asked[3] = "magicbrus"
    told = CliRunner().invoke(app, ["data", *map(str, asked)])
    assert "did you mean 'magicbrush'" in told.stderr


@pytest.mark.parametrize("command", ["write", "pairs", "score"])
def test_stages_reach_a_cluster_and_its_gpus(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As ``data run`` does: the engine of the command is the one that the settings of a file make."""
    made: list[object] = []

    def stop(*_: object, engine: object, **__: object) -> None:
        made.append(engine)
        raise DataError("far enough")

    for name in ("write_triplets", "make_pairs", "score_pairs"):
        monkeypatch.setattr(run, name, stop)
    ray = ["--engine", "ray", "--workers", "3", "--address", "10.0.0.1:6379", "--gpus", "0.5"]
    own = ["--scorer", "storybook", "--to", str(tmp_path / "to")] if command == "score" else []
    told = CliRunner().invoke(app, ["data", command, str(tmp_path), *own, *ray])
    assert "far enough" in told.stderr
    assert made == [RayEngine(3, address="10.0.0.1:6379", gpus=0.5)]
    told = CliRunner().invoke(app, ["data", command, str(tmp_path), *own, "--gpus", "1"])
    assert "use the engine 'ray'" in told.stderr


@pytest.mark.usefixtures("cheap")
def test_the_command_line_says_in_words_what_was_made(file: Path, tmp_path: Path):
    told = CliRunner().invoke(app, ["data", "run", str(file), "--out", str(tmp_path / "out")])
    assert told.exit_code == 0, told.output
    assert "captions: " in told.stdout
    assert "(rejected: unchanged " in told.stdout
    assert "The report is in" in told.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["captions", "storybook:3", "--out", "OUT", "--set", "limits=3"], "did you mean 'limit'"),
        (["captions", "storybook:3", "--out", "OUT", "--engine", "spark"], "--engine is local or ray"),
        (["write", "OUT"], "holds no rows of a stage"),
        (["select", "OUT"], "holds no rows of a stage"),
        (["report", "OUT"], "there is no selection in"),
        (["run", "OUT/none.toml", "--out", "OUT"], "cannot read"),
    ],
)
@pytest.mark.usefixtures("cheap")
def test_what_cannot_be_done_is_a_sentence(arguments: list[str], sentence: str, tmp_path: Path):
    told = CliRunner().invoke(
        app, ["data", *(word.replace("OUT", str(tmp_path / "out")) for word in arguments)]
    )
    assert told.exit_code == 2
    assert sentence in told.stderr
    assert "Traceback" not in told.stderr


def test_settings_can_be_looked_at_first(file: Path, tmp_path: Path):
    shown = invoke("run", file, "--out", tmp_path / "out", "--set", "pairs.candidates=7", "--dry-run")
    assert (shown["pairs"]["candidates"], shown["captions"]["language"]) == (7, "en")
    assert not (tmp_path / "out").exists()


def test_progress_has_rate_time_left_and_survival():
    report = StageReport("pairs", 10, 2, 2, 40, 400, 100, {}, rows_made=200, seconds=100.0)
    assert stages.describe(report) == "2 pairs/s · 0:05:00 left · 25.0 % kept"


def test_a_damaged_file_is_named_once(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(console, "EVERY", 0.0)
    report = StageReport("pairs", 10, 2, 2, 40, 400, 100, {}, 200, 100.0, ("x/00001.parquet.corrupt",))
    with stages.stages() as tell:
        tell(report)
        tell(report)
    told = capfd.readouterr().err
    assert told.count("set aside as x/00001.parquet.corrupt") == 1
    assert told.count("pairs: 4 of 10 units") == 2
    assert not console.err.is_terminal


def invoke(*arguments: object) -> Any:
    told = CliRunner().invoke(app, ["data", *map(str, arguments)])
    assert told.exit_code == 0, told.output
    return json.loads(told.stdout)
