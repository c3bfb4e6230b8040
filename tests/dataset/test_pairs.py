"""Pairs made with a small random model: what is shared, what is drawn, what is kept, and making one again."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

import families
import pipelines
import small_clip
import toy
import wordbrush as wb
from wordbrush.dataset import run, weights
from wordbrush.dataset.engines.local import LocalEngine
from wordbrush.dataset.keys import caption_key, triplet_key
from wordbrush.dataset.manifest import Manifest
from wordbrush.dataset.pairs import PairStage, PairWorker
from wordbrush.dataset.records import PAIRS, TRIPLETS, Pair, Triplet
from wordbrush.dataset.shards import read_shard
from wordbrush.dataset.source import ShardSource
from wordbrush.dataset.stage import run_stage
from wordbrush.dataset.verdict import rejected

OPEN = {"clip_image": -1.0}
SHUT = {"clip_image": -1.0, "clip_direction": 2.0}


def triplet(before: str = "a cat on the beach", after: str = "a dog on the beach") -> Triplet:
    key = caption_key(before)
    return Triplet(triplet_key(key, 0), key, before, "make it a dog", after, "hand")


def worker(**settings: Any) -> PairWorker:
    given = {"candidates": 5, "per_source": 2, "steps": 2, "enough": None, "gates": OPEN, **settings}
    return PairWorker(PairStage(**given), pipelines.model("sd1", torch.float32), small_clip.clip(), None)


def test_candidates_of_a_group_share_the_picture_before():
    pairs = worker().of(triplet())
    assert [pair.candidate for pair in pairs] == [0, 1, 2, 3, 4]
    assert len({pair.before_image for pair in pairs}) == 3
    assert pairs[0].before_image == pairs[1].before_image
    assert pairs[0].seed == pairs[1].seed != pairs[2].seed
    assert len({pair.after_image for pair in pairs}) == 5
    assert len({pair.share for pair in pairs}) == 5
    assert all(0.1 <= pair.share <= 0.9 and 7.5 <= pair.guidance <= 15 for pair in pairs)


def test_the_rows_fit_the_schema():
    import pyarrow as pa

    rows = list(worker()([triplet().to_row()]))
    table = pa.Table.from_pylist(rows, schema=PAIRS)
    assert table.num_rows == 5
    assert [Pair.from_row(row) for row in table.to_pylist()] == worker().of(triplet())


@pytest.mark.parametrize("control", ["published", "full"])
def test_one_candidate_is_made_again_alone(control: str):
    one = worker(control=control, draft_steps=1, slack=2.0)
    pairs = one.of(triplet())
    assert one.remake(triplet(), 3, threads=torch.get_num_threads()) == pairs[3]
    assert pairs[3].after_image != pairs[1].after_image
    with pytest.raises(wb.InvalidInput, match="0 to 4"):
        one.remake(triplet(), 5)


@pytest.fixture
def made(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of two threads, with the pairs of one triplet."""
    monkeypatch.setattr("wordbrush.metrics.clip.load_clip", lambda name: small_clip.clip())
    out = tmp_path / "run"
    run_stage(Given([triplet().to_row()]), toy.Numbers(1), out, engine=LocalEngine())
    stage = PairStage(model=str(tiny_folder), candidates=3, steps=2, enough=None, gates=OPEN)
    run_stage(stage, ShardSource(out / "triplets"), out, engine=LocalEngine(2))
    return out


@dataclass(frozen=True)
class Given:
    """Writes down the triplets that it was given."""

    rows: list[dict[str, Any]]
    rows_per_unit: int = 1
    name: str = "triplets"
    schema: pa.Schema = TRIPLETS

    def fingerprint(self) -> dict[str, Any]:
        return {}

    def open(self) -> Any:
        return lambda rows: self.rows


def test_a_pair_of_a_run_is_made_again_with_the_threads_that_it_was_made_with(
    made: Path, monkeypatch: pytest.MonkeyPatch
):
    stored = read_shard(made / "pairs" / "00000.parquet").to_pylist()[2]
    before, used = torch.get_num_threads(), []
    edit = wb.edit
    monkeypatch.setattr(wb, "edit", lambda *a, **b: [used.append(torch.get_num_threads()), edit(*a, **b)][1])
    assert run.remake(made, stored["key"]) == Pair.from_row(stored)
    assert used[-1] == 2
    assert torch.get_num_threads() == before
    for key in (f"{triplet().key}-003", "7c-0-000", f"{triplet().key}-x"):
        with pytest.raises(wb.InvalidInput):
            run.remake(made, key)


def test_a_pair_is_not_made_again_with_what_makes_another_one(made: Path, monkeypatch: pytest.MonkeyPatch):
    key = f"{triplet().key}-000"
    versions = {**Manifest.read(made / "pairs").versions, "torch": "0.1"}
    for name, value, sentence in (
        ("found_device", "cuda", "this process has device"),
        ("installed", versions, r"has torch 0\.1, not"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(run, name, lambda value=value: value)
            with pytest.raises(wb.DataError, match=sentence):
                run.remake(made, key)
    monkeypatch.setattr(weights, "digest", lambda *_: "other")
    with pytest.raises(wb.DataError, match=r"made with weights\.model = .*, and there is 'other' now"):
        run.remake(made, key)


def test_what_is_drawn_depends_on_the_keys_alone():
    alone = worker().of(triplet())
    among = [
        Pair.from_row(row) for row in worker()([triplet("a castle", "a car").to_row(), triplet().to_row()])
    ]
    assert among[5:] == alone
    other = worker(seed=1).of(triplet())
    assert {pair.seed for pair in other}.isdisjoint({pair.seed for pair in alone})


def test_groups_are_made_until_enough_pass():
    assert [pair.candidate for pair in worker(enough=1).of(triplet())] == [0, 1]
    assert [pair.candidate for pair in worker(enough=3).of(triplet())] == [0, 1, 2, 3]
    failed = worker(enough=1, gates=SHUT).of(triplet())
    assert len(failed) == 5
    assert not any(pair.kept for pair in failed)
    assert all(str(pair.reason).startswith("clip_direction: ") for pair in failed)


def test_a_draft_that_cannot_pass_is_not_finished():
    pairs = worker(draft_steps=1, gates=SHUT, slack=0.0).of(triplet())
    assert all(str(pair.reason).startswith("draft clip_direction: ") for pair in pairs)
    assert all(pair.after_image is None and pair.clip_image is not None for pair in pairs)
    # One step, two branches; the first of a group pays for its source too.
    assert [pair.forward_samples for pair in pairs] == [4, 2, 4, 2, 4]
    finished = worker(draft_steps=1, slack=2.0).of(triplet())
    assert [pair.forward_samples for pair in finished] == [12, 6, 12, 6, 12]
    assert [pair.after_image for pair in finished] == [pair.after_image for pair in worker().of(triplet())]


def test_controls_differ_from_each_other_and_from_none():
    made = {
        control: worker(control=control, share=(0.9, 0.9), candidates=1).of(triplet())[0].after_image
        for control in ("published", "full")
    }
    same_noise = worker(share=(0.0, 0.0), control="published", candidates=1).of(triplet())[0]
    assert len({*made.values(), same_noise.after_image}) == 3


def test_the_published_sampler_gives_both_pictures_the_same_noise():
    """Told the same and left alone, two candidates of a group are one picture; another group has other noise."""
    settings = {"scheduler": "euler_a", "control": "published", "share": (0.0, 0.0)}
    pairs = worker(**settings).of(triplet())
    assert pairs[0].after_image == pairs[1].after_image != pairs[2].after_image
    assert worker(**settings).remake(triplet(), 3, threads=torch.get_num_threads()) == pairs[3]
    assert worker(**{**settings, "scheduler": "euler"}).of(triplet())[0].after_image != pairs[0].after_image


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scheduler": "eular"}, "did you mean 'euler'"),
        ({"scheduler": "flow"}, "'flow' is for models that were trained on straight paths"),
        ({"steps": 2000}, "cannot be 2000 steps"),
        ({"draft_steps": 50}, "draft_steps must be fewer than the model's 50 steps, not 50"),
        ({"dtype": "float23"}, "'float23' is no dtype to compute in"),
    ],
)
def test_settings_that_no_triplet_can_be_made_with_stop_at_once(
    settings, message, tiny_folder, tmp_path, monkeypatch
):
    """Before anything is made, and when the stage begins."""
    monkeypatch.setattr("wordbrush.metrics.clip.load_clip", lambda name: small_clip.clip())
    model = shutil.copytree(tiny_folder, tmp_path / "model")
    (model / "wordbrush.json").write_text('{"steps": 50}')
    PairStage(model=str(model)).check()
    PairStage(model=str(model), scheduler="euler_a", steps=9, draft_steps=8).check()
    for begin in (PairStage.check, PairStage.open):
        with pytest.raises(wb.InvalidInput, match=message):
            begin(PairStage(model=str(model), **settings))


def test_a_model_of_the_hub_is_asked_for_schedulers_that_there_are(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weights, "check", lambda *_, **__: None)
    for name in (None, "euler_a", "flow", "DDIMScheduler", "lcm"):
        PairStage(model="owner/model", scheduler=name).check()
    with pytest.raises(
        wb.InvalidInput, match=r"unknown scheduler 'eular' \(did you mean 'euler'\?\); use one of"
    ):
        PairStage(model="owner/model", scheduler="eular").check()


def test_a_triplet_that_cannot_be_edited_is_one_reject():
    (pair,) = worker().of(triplet(after="cat " * 60))
    assert not pair.kept
    assert str(pair.reason).startswith("edit: the prompt has")
    assert pair.after_image is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a cat", "a cat and a dog"),
        ("a red cat and a dog", "a dog"),
        ("a cat and a dog", "a dog and a cat"),
        ("the cat", "a cat"),
        ("cat cat cat", "dog dog"),
        ("a cat!", "?"),
        ("在海滩", "a cat"),
    ],
)
@pytest.mark.parametrize("control", ["published", "full"])
def test_any_two_texts_that_are_read_make_a_pair(before: str, after: str, control: str):
    """What the texts are at fault for is found before anything is computed, so nothing else may stop a run."""
    (pair,) = worker(candidates=1, steps=1, control=control).of(triplet(before, after))
    assert pair.kept
    assert pair.forward_samples == 4


def broken(*_: Any, **__: Any) -> None:
    raise wb.ModelError("the model made NaN")


def test_what_is_no_fault_of_the_texts_stops_the_run(monkeypatch: pytest.MonkeyPatch):
    one = worker()
    monkeypatch.setattr(wb, "edit", broken)
    with pytest.raises(wb.ModelError, match="NaN"):
        one.of(triplet())


def test_a_caption_too_long_for_the_scorer_costs_nothing(monkeypatch: pytest.MonkeyPatch):
    one = worker()
    monkeypatch.setattr(one._clip, "text_length", 4)
    monkeypatch.setattr(wb, "edit", broken)
    (pair,) = one.of(triplet())
    assert str(pair.reason).startswith("edit: the caption has")
    assert pair.forward_samples == 0


@pytest.mark.parametrize("kind", ["sana", "pixart-alpha"])
def test_models_of_other_families_make_pairs(kind: str, monkeypatch: pytest.MonkeyPatch):
    """Sana's self-attention is linear, so full control injects none, and published control has nothing to share."""
    model = families.model(kind, torch.float32)
    monkeypatch.setattr(wb, "load", lambda name, dtype: model)
    monkeypatch.setattr("wordbrush.metrics.clip.load_clip", lambda name: small_clip.clip())
    settings: dict[str, Any] = {"candidates": 2, "per_source": 2, "steps": 2, "enough": None, "gates": OPEN}
    pairs = PairStage(**settings, control="full").open().of(triplet("a cat", "a dog"))
    assert [(pair.kept, pair.after_image is None) for pair in pairs] == [(True, False)] * 2
    if kind == "sana":
        with pytest.raises(wb.InvalidInput, match="'published' shares self-attention, and sana has none"):
            PairStage(**settings, control="published").open()
    else:
        assert PairStage(**settings, control="published").open().of(triplet("a cat", "a dog"))[0].kept


def test_the_weights_of_the_judges_are_in_the_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert "judges" not in PairStage().fingerprint()["weights"]
    before = PairStage(truth=True).fingerprint()
    monkeypatch.setattr("wordbrush.storybook.judges.FOLDER", tmp_path)
    (tmp_path / "shape.safetensors").write_bytes(b"other")
    assert PairStage(truth=True).fingerprint()["weights"]["judges"] != before["weights"]["judges"]


def test_judges_that_cannot_read_the_pictures_stop_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(wb, "load", lambda name, dtype: pipelines.model("sd1", torch.float32))
    monkeypatch.setattr("wordbrush.metrics.clip.load_clip", lambda name: small_clip.clip())
    PairStage(steps=2).open()
    with pytest.raises(wb.InvalidInput, match="the judges read pictures of 128 × 128 pixels, not 32 × 32"):
        PairStage(steps=2, truth=True).open()


def test_a_truth_that_is_not_known_is_not_measured():
    class Blind:
        def read(self, images: Any) -> None:
            """Look, and say nothing."""

    one = PairWorker(
        PairStage(candidates=1, steps=1, gates=OPEN, truth=True),
        pipelines.model("sd1", torch.float32),
        small_clip.clip(),
        Blind(),  # pyright: ignore[reportArgumentType]
    )
    (pair,) = one.of(triplet("a zebra at a bus stop", "a dog at a bus stop"))
    assert (pair.kept, pair.truth_before, pair.truth_after) == (True, None, None)


def test_gates():
    pair = Pair(
        "k", "t", "a", "b", "c", 0, 1, 0.5, 7.5, "full", 2, 8, clip_image=0.7, clip_direction=float("nan")
    )
    assert rejected(pair, {"clip_image": 0.7}) is None
    assert rejected(pair, {"clip_image": 0.71}) == "clip_image: 0.700 is below 0.71"
    assert rejected(pair, {"clip_direction": -1.0}) == "clip_direction: nan is below -1"
    with pytest.raises(wb.InvalidInput, match="no score 'clip_imagination'"):
        rejected(pair, {"clip_imagination": 0.1})


def test_bad_settings():
    for settings, message in (
        ({"candidates": 0}, "candidates must be at least 1"),
        ({"control": "half"}, "'published' or 'full'"),
        ({"share": (0.9, 0.1)}, "interval within 0 and 1"),
        ({"guidance": (9.0, 7.0)}, "lower end first"),
        ({"enough": 0}, "enough must be at least 1"),
        ({"draft_steps": 0}, "draft_steps must be at least 1"),
        ({"draft_steps": 20, "steps": 20}, "draft_steps must be fewer than the 20 steps, not 20"),
        ({"gates": {"clip_imag": 0.5}}, r"no gate 'clip_imag' \(did you mean 'clip_image'"),
        ({"gates": {"truth_after": 0.5}}, "no gate 'truth_after'"),
    ):
        with pytest.raises(wb.InvalidInput, match=message):
            PairStage(**settings)  # pyright: ignore[reportArgumentType]
