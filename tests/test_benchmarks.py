"""The benchmarks' own arithmetic, and that the settings they name exist; what they measure takes minutes."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import pipelines
from wordbrush.dataset.pairs import PairStage
from wordbrush.sampling import make_scheduler

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
def test_inversions_of_a_folder_are_kept_beside_those_of_renders(
    folder: str | None, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    inversion, kept = benchmark("inversion", monkeypatch), dict[str, Any]()
    case = inversion.Case(Image.fromarray(pipelines.drawn()), "a cat", None)
    model = pipelines.model("sd1", torch.float32)
    fakes = {"Judges": lambda: None, "renders": lambda n: [case], "pictures": lambda where, n: [case]}
    for faked, value in {**fakes, "keep": kept.setdefault}.items():
        monkeypatch.setattr(inversion, faked, value)
    monkeypatch.setattr(inversion.wb, "load", lambda name, device: model)
    place = folder and tmp_path / folder
    inversion.main(count=1, folder=place, model="m", methods="ddim", steps=1, device="cpu")
    assert list(kept) == [name]
    assert kept[name]["methods"]["ddim"]["forward-samples to invert"]["mean"] == 1


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
