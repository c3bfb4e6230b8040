"""The benchmarks' own arithmetic, and that the settings they name exist; what they measure takes minutes."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import families
import pipelines
import storybook_like
import wordbrush as wb
from wordbrush.dataset.pairs import PairStage
from wordbrush.files import read_settings
from wordbrush.inversion.methods import names_for
from wordbrush.metrics.clip import EMBEDDED
from wordbrush.sampling import make_scheduler
from wordbrush.storybook import font
from wordbrush.storybook.judges import FOLDER as JUDGES
from wordbrush.storybook.recipe.rendered_pairs import write_rendered_pairs
from wordbrush.training.config import read_config
from wordbrush.training.data import pairs

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def pair_cost(monkeypatch: pytest.MonkeyPatch) -> Any:
    return benchmark("pair_cost", monkeypatch)


def benchmark(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [*sys.path, str(FOLDER)])
    return import_module(name)


def test_every_way_to_make_pairs_can_be_run_and_adds_to_the_one_before(pair_cost: Any):
    ways = pair_cost.ways(per_source=3, enough=2)
    stages = pair_cost.stages(PairStage(candidates=6), ways)
    trained = pipelines.model("sd1", torch.float32).scheduler
    for stage in stages:
        make_scheduler(stage.sampler(0), trained).set_timesteps(stage.steps)
    assert [stage.per_source for stage in stages] == [1, 3, 3, 3, 3, 3, 3]
    assert [stage.draft_steps for stage in stages] == [None, None, None, 5, None, None, None]
    assert [stage.steps for stage in stages] == [100, 100, 20, 20, 8, 8, 8]
    assert [stage.control for stage in stages] == ["published"] * 5 + ["full"] * 2
    assert [stage.enough for stage in stages] == [None] * 6 + [2]


@pytest.mark.parametrize(("folder", "name"), [(None, "inversion"), ("drawn", "inversion-drawn")])
def test_inversions_are_gone_on_from_where_they_were_stopped(
    folder: str | None, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    inversion, kept = benchmark("inversion", monkeypatch), list[tuple[str, Any]]()
    case = inversion.Case(Image.fromarray(pipelines.drawn()), "a cat", None)
    model = pipelines.model("sd1", torch.float32)
    fakes = {
        "Judges": lambda: None,
        "renders": lambda n, attribute: [case] * n,
        "pictures": lambda where, n: [case] * n,
    }
    for faked, value in {**fakes, "keep": lambda *one: kept.append(one), "RESULTS": tmp_path}.items():
        monkeypatch.setattr(inversion, faked, value)
    monkeypatch.setattr(inversion.wb, "load", lambda name, device: model)
    asked = {
        "folder": folder and tmp_path / folder,
        "model": "m",
        "steps": 1,
        "device": "cpu",
        "name": None,
        "attribute": "subject",
    }
    inversion.main(count=1, ways="ddim", minutes=0, **asked)
    assert not kept, "the time was over before the first"
    inversion.main(count=1, ways="ddim", minutes=9, **asked)
    monkeypatch.setattr(inversion.wb, "invert", None)  # nothing is measured again
    inversion.main(count=1, ways="ddim", minutes=9, **asked)
    assert [one[0] for one in kept] == [name] * 2
    assert kept[0] == kept[1]
    assert kept[0][1]["methods"]["ddim"]["forward-samples to invert"]["mean"] == 1
    with pytest.raises(wb.DataError, match="is a record of"):
        inversion.main(count=1, ways="ddim", minutes=9, **{**asked, "steps": 2})


def test_ways_are_compared_in_the_pictures_that_both_have(monkeypatch: pytest.MonkeyPatch):
    inversion, kept = benchmark("inversion", monkeypatch), dict[str, Any]()
    monkeypatch.setattr(inversion, "keep", kept.setdefault)
    values = {
        "0 autoencoder alone": 9.0,
        "0 a": 1.0,
        "1 a": 2.0,
        "10 a": 6.0,
        "0 b": 4.0,
        "10 b": 7.0,
        "0 c": 0.5,
    }
    inversion.report("few", {key: {"outside psnr": value} for key, value in values.items()}, ["a", "b", "c"])
    assert kept["few"]["pictures"] == 1, "only the first has all three"
    assert kept["few"]["methods"]["a"]["outside psnr"]["mean"] == 1.0
    against = kept["few"]["against"]["a"]
    assert (against["b"]["outside psnr"]["mean"], against["b"]["outside psnr"]["of"]) == (2.0, 2)
    assert (against["c"]["outside psnr"]["mean"], against["c"]["outside psnr"]["of"]) == (-0.5, 1)


def test_every_method_is_a_way_of_its_kind_of_model(monkeypatch: pytest.MonkeyPatch):
    inversion = benchmark("inversion", monkeypatch)
    for model in (pipelines.model("sd1", torch.float32), families.model("sd3", torch.float32)):
        names = inversion.ways_for(model)
        assert set(names_for(model)) <= set(names)
        assert len(names) > len(names_for(model))


@pytest.mark.parametrize("source", ["generated", "inverted"])
def test_what_later_edits_cost(source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    bench, model = benchmark("source_cache", monkeypatch), benchmark("subjects", monkeypatch).small("cpu")
    given = bench.sources(model, 2)[source]
    found = bench.measure(model, given, bench.ways(tmp_path), 1, "cpu")
    first = 4 * 2 + 1 if source == "generated" else 3 * 2 + 1
    assert found["no cache"]["forward_samples"] == first - 1
    for way in ("memory", "memory, lean", "disk"):
        cached = found["ways"][way]
        assert cached["forward_samples_first"] == first
        assert cached["forward_samples_second"] == 2 * 2 + 1
        assert cached["differs"] < 1e-5
    bench.table(source, found)


def test_silhouettes_at_the_size_of_joint_maps(monkeypatch: pytest.MonkeyPatch):
    joint = benchmark("joint", monkeypatch)
    outline = np.zeros((32, 32), dtype=bool)
    outline[:4, :6] = True  # one place of 8 × 8, and half of the next
    covered = joint.covered(outline, (8, 8))
    assert covered[0, :3].tolist() == [1.0, 0.5, 0.0]
    assert covered.sum() == 1.5


def test_the_errors_of_the_predicted_reject(pair_cost: Any, monkeypatch: pytest.MonkeyPatch):
    def row(key: str, kept: bool, reason: str | None = None) -> dict[str, Any]:
        return {"key": key, "kept": kept, "reason": reason}

    late, early = "clip_image: 0.1 is below 0.7", "draft clip_image: 0.1 is below 0.65"
    finished = [row("a", True), row("b", True), row("c", False, late), row("d", False, late)]
    drafted = [row("a", True), row("b", False, early), row("c", False, early), row("d", False, late)]
    monkeypatch.setattr(pair_cost, "read", {"finished": finished, "drafted": drafted}.__getitem__)
    found = pair_cost.prediction("finished", "drafted")
    assert (found["drafts"], found["rejected"]) == (4, 2)
    assert (found["wrong_rejects"]["share"], found["wrong_rejects"]["of"]) == (0.5, 2)  # b of a and b
    assert (found["vain"]["share"], found["vain"]["of"]) == (0.5, 2)  # d of a and d
    assert "2 of 4 drafts given up" in pair_cost.told(found)


def test_how_much_better_the_accepted_pairs_of_a_way_are(pair_cost: Any, monkeypatch: pytest.MonkeyPatch):
    def row(triplet: str, image: float) -> dict[str, Any]:
        return {"triplet_key": triplet, "clip_direction": 0.5, "clip_image": image, "truth_after": None}

    folders = {
        "published": [row("a", 0.2), row("a", 0.4), row("b", 0.6)],
        "shifted": [row("a", 0.4), row("a", 0.6), row("b", 0.8)],
        "none": [],
    }
    monkeypatch.setattr(pair_cost, "accepted", folders.__getitem__)
    found = pair_cost.differences("published", "shifted", 0)
    assert found["clip_image"] == {name: pytest.approx(0.2) for name in ("difference", "low", "high")}
    assert found["clip_direction"] == {"difference": 0.0, "low": 0.0, "high": 0.0}
    assert found["truth_after"] is None, "no judge has read them"
    uneven = pair_cost.differences("published", "published", 0)
    assert uneven["clip_image"]["difference"] == 0.0
    folders["mixed"] = [row("a", 0.3), row("b", 0.9)]
    mixed = pair_cost.differences("published", "mixed", 0)["clip_image"]
    assert mixed["low"] == pytest.approx(0.0), "only triplet a was drawn"
    assert mixed["high"] == pytest.approx(0.3), "only triplet b was drawn"
    assert pair_cost.differences("published", "none", 0) is None


@pytest.mark.skipif(not font.FONT_PATH.exists(), reason="renders need Noto Color Emoji")
def test_every_ablation_trains_on_what_it_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    ablations = benchmark("ablations", monkeypatch)
    run = tmp_path / "run"
    write_rendered_pairs(run, 70)
    ablations.select(run, preset=ablations.UNFILTERED, name=ablations.UNFILTERED)
    found = ablations.ways(run, tmp_path / "other")
    file = FOLDER.parent / "configs" / "train-storybook.toml"
    data = {label: read_config(file, settings).data for label, settings in found.items()}
    assert [one.source for one in data.values()] == [[str(run)]] * 4 + [[str(tmp_path / "other")]]
    assert "published control" not in ablations.ways(run, None)
    counts = {label: sum(1 for _ in pairs(one)) for label, one in list(data.items())[:4]}
    assert counts["all"] == counts["no CLIP filter"] == 70
    assert 0 < counts["10 % of the data"] < 20
    assert counts["1 % of the data"] < 7


@pytest.mark.slow
@pytest.mark.skipif(
    not (font.FONT_PATH.exists() and JUDGES.exists() and EMBEDDED["storybook"].exists()),
    reason="renders need Noto Color Emoji, and the judges are needed",
)
def test_ablations_are_trained_measured_and_drawn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    ablations = benchmark("ablations", monkeypatch)
    model, run = storybook_like.save_model(tmp_path / "model"), tmp_path / "run"
    write_rendered_pairs(run, 4)
    few = {
        "all": [ablations.source(run)],
        "no CLIP filter": [ablations.source(run), "data.selection=unfiltered"],
    }
    monkeypatch.setattr(ablations, "ways", lambda *_: few)
    file = tmp_path / "config.toml"
    file.write_text(
        f'steps = 1\n[model]\nbase = "{model}"\n[data]\nsource = "elsewhere"\nsize = 32\n'
        'long_instructions = "truncate"\n[batch]\nsize = 2\n[export]\n'
        'defaults = { preset = "fast", text_guidance = 3.0 }\n'
    )
    asked = {"config": file, "examples": 1, "device": "cpu", "output": tmp_path / "out"}
    ablations.main(run, minutes=0, **asked)
    assert "Not finished yet" in capsys.readouterr().out
    ablations.main(run, **asked)
    rows = (tmp_path / "out" / "measured" / "rows.jsonl").read_text().splitlines()
    assert len(rows) == 2 * 7
    settings = read_settings(tmp_path / "out" / "ip2p-10.png")
    assert list(settings["editors"]) == list(few)
