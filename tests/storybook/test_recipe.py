"""The recipe's promises: exact resume, pure schedules, an honest vocabulary, judges that see what they should."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTokenizer

from wordbrush.errors import WordbrushError
from wordbrush.storybook import font
from wordbrush.storybook.recipe import cli, contrastive, judge, renders, vocabulary
from wordbrush.storybook.recipe.budget import Budget
from wordbrush.storybook.recipe.loop import Run, Schedule
from wordbrush.storybook.recipe.renders import LATE, Renders, is_held_out, make_renders, rendered_at, scene_at
from wordbrush.storybook.scene import PLACES, SUBJECTS, Scene, caption, random_scene
from wordbrush.training.order import indices_at

SCHEDULE = Schedule(batch=4, peak=1e-2, total=480, decay=240, warmup=40, ema=60)


def fit(out: Path, stop_after: int | None = None) -> Run:
    """Fit a line; ``stop_after`` ends the run after so many steps, as an interruption would."""
    torch.manual_seed(0)
    run = Run(nn.Linear(3, 2), SCHEDULE, out, seed=5)
    run.resume()

    def loss(step: int, indices: np.ndarray, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        if stop_after is not None and step >= stop_after:
            raise KeyboardInterrupt
        x = torch.randn(4, 3, generator=generator) + torch.tensor(indices / 100.0).float()[:, None]
        return (run.module(x) - x[:, :2]).square().mean(), {}

    try:
        run.fit(loss, 50, budget=Budget())
    except KeyboardInterrupt:
        run.save()
    return run


def test_resumed_run_equals_uninterrupted_run_bit_for_bit(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole")
    interrupted = fit(tmp_path / "parts", stop_after=37)
    assert interrupted.step == 37
    interrupted.log.write_text('{"samples": 20}\n{"samples": 14')
    resumed = fit(tmp_path / "parts")
    assert resumed.log.read_text() == '{"samples": 20}\n', "what a kill has cut is taken back"
    torch.manual_seed(0)
    start = nn.Linear(3, 2)
    assert not torch.equal(whole.module.weight, start.weight)  # type: ignore[attr-defined]
    assert resumed.step == whole.step == 120
    one, other = load_file(whole.checkpoint), load_file(resumed.checkpoint)
    assert len(one) == 10  # weight, average and three optimizer values of two parameters
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_state_of_another_model_is_refused(tmp_path: Path) -> None:
    fit(tmp_path, stop_after=1)
    other = Run(nn.Linear(4, 2), SCHEDULE, tmp_path)
    with pytest.raises(WordbrushError, match=r"holds no weight 'weight' of shape \(2, 4\)"):
        other.load()


def test_truncated_state_is_named(tmp_path: Path) -> None:
    run = fit(tmp_path, stop_after=1)
    run.checkpoint.write_bytes(run.checkpoint.read_bytes()[:100])
    with pytest.raises(WordbrushError, match=r"state\.safetensors cannot be read; it may be truncated"):
        run.load()


def test_resuming_with_another_batch_is_refused(tmp_path: Path) -> None:
    fit(tmp_path / "autoencoder", stop_after=1)
    (tmp_path / "autoencoder" / "settings.json").write_text('{"batch": 4, "total": 100}')
    with pytest.raises(WordbrushError, match="was trained with batch 4, not 8: add --set batch=4"):
        cli.train("autoencoder", minutes=1, out=tmp_path, resume=True)
    assert json.loads((tmp_path / "autoencoder" / "settings.json").read_text())["total"] == 100


def test_schedule_warms_up_holds_and_decays_to_zero() -> None:
    rates = [SCHEDULE.rate(seen) for seen in range(0, 481, 4)]
    assert rates[0] == pytest.approx(1e-3)
    assert max(rates) == rates[20] == pytest.approx(1e-2)
    assert rates[-1] == 0.0
    assert all(a >= b for a, b in itertools.pairwise(rates[60:]))
    assert SCHEDULE.ema_keep(0) < SCHEDULE.ema_keep(400) < SCHEDULE.ema_keep(4000) == 0.5 ** (4 / 60)


def test_every_epoch_is_a_permutation_of_its_own() -> None:
    batches = [indices_at(step, 6, 30, seed=1) for step in range(10)]
    first, second = np.concatenate(batches[:5]), np.concatenate(batches[5:])
    assert sorted(first) == sorted(second) == list(range(30))
    assert list(first) != list(second)


def test_splits_keep_the_held_out_combinations_apart() -> None:
    train = [scene_at("train", index)[0] for index in range(300)]
    heldout = [scene_at("heldout", index)[0] for index in range(300)]
    assert not any(is_held_out(scene) for scene in train)
    assert all(is_held_out(scene) for scene in heldout)
    assert scene_at("train", 7) == scene_at("train", 7) != scene_at("train", 8)


def test_late_subjects_come_more_often_in_training_alone() -> None:
    scenes = [rendered_at("train", index)[0] for index in range(600)]
    assert not any(is_held_out(scene) for scene in scenes)
    assert sum(scene.subject in LATE for scene in scenes) > 0.15 * len(scenes)
    for split in ("judge", "heldout"):
        assert all(rendered_at(split, index) == scene_at(split, index) for index in range(50))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> CLIPTokenizer:
    return vocabulary.train(tmp_path_factory.mktemp("tokenizer"), captions=4000)


def test_words_are_one_token_and_compounds_two(tokenizer: CLIPTokenizer) -> None:
    compounds = {compound.replace("|", "") for compound in vocabulary.COMPOUNDS}
    assert len(compounds) == 8
    for word in (*SUBJECTS, *PLACES):
        assert len(tokenizer.tokenize(word)) == (2 if word in compounds else 1), word


def test_any_text_survives_the_tokenizer(tokenizer: CLIPTokenizer) -> None:
    for text in ("émile’s 🙂 cat", "xyzzy", "a cat on a beach at sunset"):
        ids = tokenizer(text).input_ids[1:-1]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids).replace(" ", "") == text.replace(" ", "")


def test_no_caption_is_longer_than_the_encoder(tokenizer: CLIPTokenizer) -> None:
    rng = np.random.default_rng(0)
    lengths = [len(tokenizer(caption(random_scene(rng), k)).input_ids) for k in range(2000)]
    assert max(lengths) <= vocabulary.MAX_TOKENS


def test_shape_judge_is_blind_to_colour_balance_and_look_judge_is_not() -> None:
    torch.manual_seed(0)
    pixels = torch.rand(2, 3, 128, 128) * 1.2 - 0.6
    grey = (
        (pixels * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1))
        .sum(1, keepdim=True)
        .expand(-1, 3, -1, -1)
    )
    shape, look = judge.Judge("shape").eval(), judge.Judge("look").eval()
    with torch.no_grad():
        for name, logits in shape(pixels).items():
            torch.testing.assert_close(logits, shape(grey)[name], rtol=1e-4, atol=1e-4)
        assert not torch.allclose(look(pixels)["colour"], look(grey)["colour"], atol=1e-3)


def test_turning_the_hue_keeps_grey_and_comes_round() -> None:
    pixels = torch.rand(3, 3, 4, 4) * 0.8 - 0.4
    turned = judge.turn_hue(pixels, torch.full((3,), 2.0))
    assert not torch.allclose(turned, pixels, atol=0.05)
    torch.testing.assert_close(
        judge.turn_hue(pixels, torch.full((3,), 2 * torch.pi)), pixels, atol=1e-5, rtol=0
    )
    grey = pixels[:, :1].expand(-1, 3, -1, -1)
    torch.testing.assert_close(judge.turn_hue(grey, torch.full((3,), 1.0)), grey, atol=1e-5, rtol=0)


def test_overlap_of_masks() -> None:
    a = torch.zeros(3, 4, 4, dtype=torch.bool)
    b = a.clone()
    a[0, :2], b[0, 1:3] = True, True
    a[1, 0] = True
    assert judge.overlap(a, b).tolist() == pytest.approx([1 / 3, 0.0, 1.0])


def test_strengths_are_zero_for_what_is_not_there() -> None:
    pytest.importorskip("scipy")
    rows = judge.strengths([Scene("cat", "beach", "snow"), Scene("cat", "beach", "noon")], [3, 3])
    assert rows.shape == (2, 5)
    assert 0.5 <= rows[0, judge.STRENGTHS.index("snow")] <= 1.0
    assert rows[0].sum() == rows[0].max()
    assert rows[1].sum() == 0


class Reader:
    """A contrastive model that prefers the first caption to every one that differs in its last word."""

    def __call__(self, input_ids: Tensor, pixel_values: Tensor) -> SimpleNamespace:
        assert pixel_values.shape == (1, 3, 128, 128)
        return SimpleNamespace(logits_per_image=-(input_ids != input_ids[0]).any(1).float()[None])


def test_accuracy_asks_for_every_attribute_of_a_picture(tokenizer: CLIPTokenizer) -> None:
    scenes = [scene_at("judge", index)[0] for index in range(20)]
    data: Any = [(np.zeros((128, 128, 3), dtype=np.uint8), scene) for scene in scenes]
    assert contrastive.accuracy(Reader(), tokenizer, data, range(20)) == dict.fromkeys(contrastive.WORDS, 1.0)
    for scene in scenes:
        others = contrastive._one_word_away(scene, np.random.default_rng(0))
        assert {"place", "time", "style"} <= others.keys()
        for name, other in others.items():
            assert getattr(other, name) != getattr(scene, name)
            assert replace(other, **{name: getattr(scene, name)}) == scene
        assert ("companion" in others) == (scene.companion is not None)


def test_bad_stages_and_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WordbrushError, match=r"unknown stage 'autoencodr' \(did you mean 'autoencoder'"):
        cli.train("autoencodr", minutes=1, out=tmp_path)
    with pytest.raises(WordbrushError, match=r"no setting 'totl' \(did you mean 'total'"):
        cli.train("autoencoder", minutes=1, out=tmp_path, settings={"totl": "3"})
    with pytest.raises(WordbrushError, match="no rendered pictures"):
        cli.train("autoencoder", minutes=1, out=tmp_path)
    (tmp_path / "tokenizer").mkdir(exist_ok=True)
    (tmp_path / "tokenizer" / "state.safetensors").write_bytes(b"")
    with pytest.raises(WordbrushError, match="holds a saved run: add --resume"):
        cli.train("tokenizer", minutes=1, out=tmp_path)
    assert json.loads((tmp_path / "autoencoder" / "settings.json").read_text())["batch"] == 8


@pytest.mark.skipif(not font.FONT_PATH.exists(), reason="renders need Noto Color Emoji")
def test_renders_stop_in_time_and_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(renders, "SHARD", 2)
    told: list[tuple[int, int]] = []
    assert not make_renders(tmp_path, "train", 6, workers=1, budget=Budget(minutes=0))
    assert not list(tmp_path.rglob("*.npy"))
    assert make_renders(tmp_path, "train", 4, workers=1)
    shown = Budget(progress=lambda done, total: told.append((done, total)))
    assert make_renders(tmp_path, "train", 6, workers=1, budget=shown)
    assert told == [(3, 3)]
    assert len(Renders(tmp_path, "train")) == 6


def test_training_says_how_far_it_is(tmp_path: Path):
    told: list[tuple[int, int]] = []
    run = Run(nn.Linear(3, 2), SCHEDULE, tmp_path, seed=5)
    shown = Budget(progress=lambda done, total: told.append((done, total)))
    run.fit(lambda *_: (run.module.weight.square().sum(), {}), 50, budget=shown)
    assert told[0] == (SCHEDULE.batch, SCHEDULE.total)
    assert told[-1] == (run.seen, SCHEDULE.total)
