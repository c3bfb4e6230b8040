"""Training as a whole: it learns, it resumes exactly, its editor loads anywhere, and what is wrong is refused."""

from __future__ import annotations

import json
import multiprocessing
import re
import shutil
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import training_data
import wordbrush as wb
from edit_data import edit, pair, shown, write_pairs
from wordbrush.dataset import formats
from wordbrush.dataset.rules import Keep
from wordbrush.dataset.run import SELECTION, selection_path
from wordbrush.dataset.select import select
from wordbrush.errors import DataError, InvalidInput, ModelError, PromptTooLong, TrainingError
from wordbrush.training import loop, state
from wordbrush.training import loss as objective
from wordbrush.training.batches import open_batches
from wordbrush.training.config import Data, Optimizer
from wordbrush.training.data import digest, pairs
from wordbrush.training.ema import Average
from wordbrush.training.loop import Trained, train
from wordbrush.training.lora import add_adapters
from wordbrush.training.network import network_with
from wordbrush.training.widen import load_base

FILES = ("weights", "average", "optimizer")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training_data.write_data(tmp_path_factory.mktemp("pairs") / "data")


@pytest.fixture(scope="module")
def whole(tiny_folder: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of an uninterrupted training of six steps."""
    out = tmp_path_factory.mktemp("whole") / "out"
    run(tiny_folder, data, out)
    return out


def run(model: Path, data: Path, out: Path, /, **changes: Any) -> Trained:
    return train(training_data.config(model, data, **changes), out, device="cpu")


def tensors(out: Path, step: int = 6) -> dict[str, torch.Tensor]:
    folder = out / "states" / f"step-{step:08d}"
    return {
        f"{name}/{key}": value
        for name in FILES
        for key, value in load_file(folder / f"{name}.safetensors").items()
    }


def assert_same(one: Path, other: Path, step: int = 6) -> None:
    first, second = tensors(one, step), tensors(other, step)
    assert set(first) == set(second)
    assert [name for name, value in first.items() if not torch.equal(value, second[name])] == []


def log(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


class Stop(Exception):
    """Ends a training as a crash does."""


def stop_at(step: int):
    def progress(what: str, done: int, total: int | None) -> None:
        if what == "Training" and done == step:
            raise Stop

    return progress


def test_a_training_changes_every_weight_and_keeps_the_last_two_states(whole: Path, tiny_folder: Path):
    base = load_base(tiny_folder).unet.state_dict()
    found = tensors(whole)
    assert len(found) == 5 * len(base)  # weight, average, and AdamW's two moments and step
    unchanged = [name for name, value in base.items() if torch.equal(found[f"weights/unet.{name}"], value)]
    assert unchanged == []
    assert found["weights/unet.conv_in.weight"][:, 4:].abs().max() > 0
    assert [path.name for path in state.saved(whole)] == ["step-00000004", "step-00000006"]
    assert [line["step"] for line in log(whole)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("step", [1, 4])
def test_a_stopped_run_ends_with_the_same_bits(
    step: int, whole: Path, tiny_folder: Path, data: Path, tmp_path: Path
):
    config, out = training_data.config(tiny_folder, data), tmp_path / "out"
    with pytest.raises(Stop):
        train(config, out, device="cpu", progress=stop_at(step))
    assert not (out / "editor").exists()
    done = train(config, out, device="cpu")
    assert (done.step, done.finished) == (6, True)
    assert_same(whole, out)
    assert log(out) == log(whole)


def test_out_of_time_is_a_stop_with_a_state(whole: Path, tiny_folder: Path, data: Path, tmp_path: Path):
    config = training_data.config(tiny_folder, data)
    first = train(config, tmp_path, device="cpu", minutes=0)
    assert (first.step, first.finished, first.editor) == (0, False, None)
    assert train(config, tmp_path, device="cpu").finished
    assert_same(whole, tmp_path)


def test_killed_at_any_moment_a_run_ends_with_the_same_bits(tiny_folder: Path, data: Path, tmp_path: Path):
    changes: dict[str, Any] = {"steps": 24, "save": {"every": 1}}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["wordbrush.training.loop", "diffusers.models.unets.unet_2d_condition", "transformers.models.clip"]
    )
    out, rng, killed, writing = tmp_path / "out", np.random.default_rng(0), 0, 0
    for attempt in range(8):
        child = context.Process(
            target=training_data.train_in_child, args=(tiny_folder, data, out, changes), daemon=True
        )
        child.start()
        before = newest(out)
        limit = time.monotonic() + 300
        while child.is_alive() and newest(out) <= before and time.monotonic() < limit:
            time.sleep(0.002)
        if attempt % 2:  # in the middle of writing a state
            while child.is_alive() and not any((out / "states").glob(".step-*")):
                time.sleep(0.0005)
        else:
            time.sleep(rng.uniform(0, 0.2))
        killed += child.is_alive()
        child.kill()
        child.join()
        writing += any((out / "states").glob(".step-*"))
        if killed >= 4 and writing:
            break
    assert killed >= 2
    assert writing >= 1
    for place in (tmp_path / "whole", out):
        assert run(tiny_folder, data, place, **{**changes, "save": {"every": 100}}).finished
    assert_same(tmp_path / "whole", out, 24)
    assert not any((out / "states").glob(".step-*"))
    assert not out.with_suffix(".error").exists()


def newest(out: Path) -> int:
    found = state.saved(out)
    return int(found[-1].name.removeprefix("step-")) if found else 0


def test_a_full_disk_is_one_sentence_and_keeps_the_state_before(
    tiny_folder: Path, data: Path, tmp_path: Path
):
    out = tmp_path / "out"
    changes: dict[str, Any] = {"steps": 2, "save": {"every": 2}}
    run(tiny_folder, data, out, **changes)
    before = tensors(out, 2)
    size = (out / "states" / "step-00000002" / "optimizer.safetensors").stat().st_size
    child = multiprocessing.get_context("forkserver").Process(
        target=training_data.train_in_child,
        args=(tiny_folder, data, out, {**changes, "steps": 4}, size - 1000),
    )
    child.start()
    child.join(300)
    said = out.with_suffix(".error").read_text()
    assert said.startswith(f"CannotWrite: cannot write {out / 'states' / 'step-00000004'}: the disk is full")
    assert [path.name for path in (out / "states").iterdir()] == ["step-00000002"]
    assert all(torch.equal(value, before[name]) for name, value in tensors(out, 2).items())
    assert run(tiny_folder, data, out, **{**changes, "steps": 4}).finished


def test_cached_and_uncached_are_the_same_training(
    whole: Path, tiny_folder: Path, data: Path, tmp_path: Path
):
    run(tiny_folder, data, tmp_path, cache={"latents": False, "text": False}, speed={"workers": 2})
    assert [line["loss"] for line in log(tmp_path)] == pytest.approx(
        [line["loss"] for line in log(whole)], rel=1e-5
    )


@pytest.mark.parametrize("changes", [{"speed": {"gradient_checkpointing": True}}, {"speed": {"workers": 2}}])
def test_what_is_about_speed_changes_nothing(
    changes: dict, whole: Path, tiny_folder: Path, data: Path, tmp_path: Path
):
    run(tiny_folder, data, tmp_path, **changes)
    assert [line["loss"] for line in log(tmp_path)] == pytest.approx(
        [line["loss"] for line in log(whole)], rel=1e-6
    )


def test_accumulated_gradients_are_those_of_the_whole_batch(tiny_folder: Path, data: Path, tmp_path: Path):
    found = []
    for micro in (4, 1):
        out = tmp_path / str(micro)
        run(tiny_folder, data, out, steps=1, batch={"size": 4, "micro": micro}, optimizer={"clip": 1e9})
        found.append({name: v for name, v in tensors(out, 1).items() if "exp_avg/" in name})
    assert len(found[0]) > 50
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-4, atol=1e-7, msg=name)


def test_the_published_average_is_updated_after_every_micro_batch(
    tiny_folder: Path, data: Path, tmp_path: Path
):
    updates = {}
    for per in ("batch", "step"):
        run(tiny_folder, data, tmp_path / per, steps=2, batch={"size": 4, "micro": 1}, ema={"per": per})
        folder = tmp_path / per / "states" / "step-00000002"
        updates[per] = json.loads((folder / "state.json").read_text())["updates"]
    assert updates == {"batch": 8, "step": 2}
    assert not torch.equal(
        tensors(tmp_path / "batch", 2)["average/unet.conv_in.bias"],
        tensors(tmp_path / "step", 2)["average/unet.conv_in.bias"],
    )


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_stays_near_float32(
    precision: str, whole: Path, tiny_folder: Path, data: Path, tmp_path: Path
):
    run(tiny_folder, data, tmp_path, steps=3, speed={"precision": precision})
    full, mixed = ([line["loss"] for line in log(out)] for out in (whole, tmp_path))
    assert mixed != full[:3]
    assert mixed == pytest.approx(full[:3], rel=2e-2)
    assert tensors(tmp_path, 3)["weights/unet.conv_in.weight"].dtype == torch.float32


def test_diffusers_loads_the_editor_and_predicts_the_same(whole: Path):
    from diffusers import StableDiffusionInstructPix2PixPipeline

    pipeline = StableDiffusionInstructPix2PixPipeline.from_pretrained(whole / "editor")
    assert type(pipeline.scheduler).__name__ == "EulerAncestralDiscreteScheduler"
    average = load_file(whole / "states" / "step-00000006" / "average.safetensors")
    theirs = {f"unet.{name}": value for name, value in pipeline.unet.state_dict().items()}
    assert set(theirs) == set(average)
    assert all(torch.equal(value, average[name]) for name, value in theirs.items())
    weights = load_file(whole / "states" / "step-00000006" / "weights.safetensors")
    assert not torch.equal(weights["unet.conv_in.weight"], average["unet.conv_in.weight"])
    ours = load_base(whole / "editor").unet
    generator = torch.Generator().manual_seed(0)
    inputs = (
        torch.randn(2, 8, 4, 4, generator=generator),
        torch.tensor([7, 900]),
        torch.randn(2, 77, 16, generator=generator),
    )
    with torch.no_grad():
        assert torch.equal(ours(*inputs).sample, pipeline.unet(*inputs).sample)
    pipeline.set_progress_bar_config(disable=True)
    picture = edit(0).before_image.resize((32, 32))
    made = pipeline(
        "make it night", image=picture, num_inference_steps=2, generator=torch.Generator().manual_seed(0)
    )
    assert made.images[0].size == (32, 32)


def test_the_editor_edits_with_the_defaults_of_its_training(whole: Path):
    result = wb.load_editor(whole / "editor", device="cpu")(
        edit(0).before_image, "make it night", preset="fast"
    )
    assert (result.settings["text_guidance"], result.settings["image_guidance"]) == (6.0, 1.5)
    assert result.images[0].size == edit(0).before_image.size


def test_the_editor_is_described(whole: Path):
    editor = whole / "editor"
    text = (editor / "README.md").read_text()
    assert "12 pairs" in text
    assert "steps: 6 of 4 pairs each" in text
    assert json.loads((editor / "wordbrush.json").read_text())["image_guidance"] == 1.5
    assert json.loads((editor / "training.json").read_text())["step"] == 6
    assert not list(editor.rglob("*.bin"))
    assert not [path for path in editor.rglob("*.json") if "_name_or_path" in path.read_text()]
    keys = load_file(editor / "text_encoder" / "model.safetensors")
    assert all(key.startswith("text_model.") for key in keys)
    vocabulary = json.loads((editor / "tokenizer" / "vocab.json").read_text())
    assert vocabulary["<|endoftext|>"] == 513
    (use,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    named: dict[str, Any] = {"folder": editor, "picture": edit(0).before_image}
    exec(use, named)
    assert named["edited"].size == edit(0).before_image.size


def test_a_trained_text_encoder_changes_resumes_and_loads(
    tiny_folder: Path, data: Path, whole: Path, tmp_path: Path
):
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_instruct_pix2pix import (
        StableDiffusionInstructPix2PixPipeline,
    )

    changes: dict[str, Any] = {"text_encoder": "trained", "cache": {"text": False}}
    run(tiny_folder, data, tmp_path / "one", **changes)
    config, out = training_data.config(tiny_folder, data, **changes), tmp_path / "other"
    with pytest.raises(Stop):
        train(config, out, device="cpu", progress=stop_at(3))
    train(config, out, device="cpu")
    assert_same(tmp_path / "one", out)

    base = load_base(tiny_folder).text_encoder.state_dict()
    trained, frozen = (
        StableDiffusionInstructPix2PixPipeline.from_pretrained(folder / "editor").text_encoder.state_dict()
        for folder in (out, whole)
    )
    average = tensors(out)
    moved = [name for name in base if not torch.equal(base[name], trained[name])]
    assert any("token_embedding" in name for name in moved)
    assert all(torch.equal(trained[name], average[f"average/text_encoder.{name}"]) for name in base)
    assert all(torch.equal(base[name], frozen[name]) for name in base)


def test_a_damaged_editor_is_told_as_that(whole: Path, data: Path, tmp_path: Path):
    shutil.copytree(whole / "editor", tmp_path / "editor")
    weights = tmp_path / "editor" / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"the vae of .* cannot be read"):
        run(tmp_path / "editor", data, tmp_path / "out")


def test_an_editor_is_continued(whole: Path, data: Path, tmp_path: Path):
    before = load_base(whole / "editor").unet.state_dict()
    run(whole / "editor", data, tmp_path, steps=1, optimizer={"rate": 1e-9, "weight_decay": 0.0})
    after = tensors(tmp_path, 1)
    assert before["conv_in.weight"].shape[1] == 8
    for name, value in before.items():
        torch.testing.assert_close(after[f"weights/unet.{name}"], value, atol=1e-7, rtol=0)


def test_adapters_are_merged_to_the_same_network(tiny_folder: Path):
    config = training_data.config(tiny_folder, tiny_folder, lora={"rank": 2, "alpha": 4.0})
    unet: Any = load_base(tiny_folder).unet
    plain = {name: value.clone() for name, value in unet.state_dict().items()}
    add_adapters(unet, config.lora, seed=0)
    trained = {name: p for name, p in unet.named_parameters() if p.requires_grad}
    assert {name for name in trained if "lora" not in name} == {"conv_in.weight", "conv_in.bias"}
    generator = torch.Generator().manual_seed(0)
    values = {name: torch.randn(p.shape, generator=generator) * 0.2 for name, p in trained.items()}
    inputs = (
        torch.randn(2, 8, 4, 4, generator=generator),
        torch.tensor([7, 900]),
        torch.randn(2, 77, 16, generator=generator),
    )
    with torch.no_grad():
        start = unet(*inputs).sample
        merged = network_with(unet, values, adapters=True)
        for name, p in trained.items():
            p.copy_(values[name])
        adapted = unet(*inputs).sample
        assert not torch.allclose(adapted, start, atol=1e-2)
        torch.testing.assert_close(merged(*inputs).sample, adapted, rtol=1e-4, atol=1e-4)
    assert set(merged.state_dict()) == set(plain)
    changed = {name for name, value in merged.state_dict().items() if not torch.equal(value, plain[name])}
    assert any("to_q" in name for name in changed)
    assert all(".to_" in name or "conv_in" in name for name in changed)


def test_adapters_train_resume_and_load(tiny_folder: Path, data: Path, tmp_path: Path):
    changes = {"lora": {"rank": 2}, "steps": 4}
    run(tiny_folder, data, tmp_path / "whole", **changes)
    with pytest.raises(Stop):
        train(
            training_data.config(tiny_folder, data, **changes),
            tmp_path / "parts",
            device="cpu",
            progress=stop_at(3),
        )
    run(tiny_folder, data, tmp_path / "parts", **changes)
    assert_same(tmp_path / "whole", tmp_path / "parts", 4)
    names = load_file(tmp_path / "whole" / "states" / "step-00000004" / "weights.safetensors")
    assert all("lora_" in name or "conv_in" in name for name in names)
    unet = load_base(tmp_path / "whole" / "editor").unet
    assert not any("lora" in name for name in unet.state_dict())


def test_a_learnable_toy_is_learnt(tiny_folder: Path, tmp_path: Path):
    """The after is the before with its halves exchanged: the loss falls, and more than without the condition."""
    rng = np.random.default_rng(0)

    def toy(number: int):
        left, right = rng.integers(0, 256, (2, 1, 1, 3), dtype=np.uint8)
        before = np.concatenate([left.repeat(32, 0).repeat(16, 1), right.repeat(32, 0).repeat(16, 1)], axis=1)
        pictures = [shown(Image.fromarray(one)) for one in (before, before[:, ::-1].copy())]
        return edit(number, instruction="swap", before_picture=pictures[0], after_picture=pictures[1])

    data = training_data.write_data(tmp_path / "data", (toy(number) for number in range(24)))
    changes = {
        "steps": 160,
        "batch": {"size": 8},
        "optimizer": {"rate": 4e-3},
        "save": {"every": 1000, "log_every": 20},
        "ema": {"decay": 0.9},
    }
    run(tiny_folder, data, tmp_path / "out", **changes)
    means = [line["loss"] for line in log(tmp_path / "out")]
    assert len(means) == 8
    assert means[-1] < 0.6 * means[0]


def test_samples_are_drawn_while_training(tiny_folder: Path, data: Path, whole: Path, tmp_path: Path):
    samples = {"every": 3, "count": 3, "steps": 2}
    run(tiny_folder, data, tmp_path, samples=samples)
    sheets = sorted((tmp_path / "samples").iterdir())
    assert [path.name for path in sheets] == ["step-00000003.png", "step-00000006.png"]
    with Image.open(sheets[0]) as sheet:
        assert sheet.size == (3 * 32, 3 * 32)
    assert_same(whole, tmp_path)  # drawing them has changed nothing


def test_tensorboard_is_told_what_the_log_is(tiny_folder: Path, data: Path, tmp_path: Path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run(tiny_folder, data, tmp_path, steps=2, save={"tensorboard": True})
    board = events.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    for name in ("loss", "gradient", "rate"):
        told = [(event.step, event.value) for event in board.Scalars(name)]
        assert told == [(line["step"], pytest.approx(line[name])) for line in log(tmp_path)]


def test_adam_of_8_bits_is_taken_where_it_is_installed(monkeypatch: pytest.MonkeyPatch):
    class AdamW8bit(torch.optim.AdamW):
        pass

    stub = types.ModuleType("bitsandbytes.optim")
    stub.AdamW8bit = AdamW8bit  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "bitsandbytes", types.ModuleType("bitsandbytes"))
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", stub)
    section = Optimizer(name="adamw8bit", rate=2e-4, betas=(0.8, 0.9))
    made = loop.make_optimizer(section, [torch.nn.Parameter(torch.zeros(2))])
    assert isinstance(made, AdamW8bit)
    assert (made.defaults["lr"], made.defaults["betas"]) == (2e-4, (0.8, 0.9))


def test_another_sampler_can_be_used(tiny_folder: Path, data: Path, tmp_path: Path):
    asked = []

    def sampler(editor: Any, pictures: Any, instructions: Any, settings: Any) -> list[Image.Image]:
        asked.append((editor.unet.config.in_channels, [one.size for one in pictures], len(instructions)))
        return list(pictures)

    config = training_data.config(
        tiny_folder, data, steps=2, samples={"every": 2, "count": 2}, cache={"latents": False}
    )
    train(config, tmp_path, device="cpu", sampler=sampler)
    assert asked == [(8, [(32, 32)] * 2, 2)]


def test_prepare_and_export_do_their_part_alone(whole: Path, tiny_folder: Path, data: Path, tmp_path: Path):
    config = training_data.config(tiny_folder, data, export={"weights": "raw", "dtype": "float16"})
    assert train(config, tmp_path, device="cpu", only="prepare").pairs == 12
    assert (tmp_path / "cache" / "latents" / "complete.json").exists()
    with pytest.raises(DataError, match="has no state to export yet"):
        train(config, tmp_path, device="cpu", only="export")
    with pytest.raises(Stop):
        train(config, tmp_path, device="cpu", progress=stop_at(3))
    done = train(config, tmp_path, device="cpu", only="export")
    assert (done.step, done.finished) == (2, False)
    stored = load_file(done.editor / "unet" / "diffusion_pytorch_model.safetensors")  # pyright: ignore
    assert {value.dtype for value in stored.values()} == {torch.float16}
    raw = tensors(tmp_path, 2)["weights/unet.conv_in.weight"]
    assert torch.equal(stored["conv_in.weight"], raw.half())


def test_a_loss_that_is_not_finite_names_the_pair_and_keeps_the_state(
    whole: Path, tiny_folder: Path, data: Path, tmp_path: Path
):
    config = training_data.config(tiny_folder, data, save={"every": 1})
    train(config, tmp_path, device="cpu", only="prepare")
    path = tmp_path / "cache" / "latents" / "000000.safetensors"
    latents = load_file(path)
    batches = open_batches(config, load_base(tiny_folder), tmp_path)
    (row,), _ = batches.drawn(3, [2])  # seen first in the fourth step, or before
    steps = [step for step in range(6) if row in batches.drawn(step, range(4))[0]]
    for name in latents:
        if name.startswith(f"{row}/"):
            latents[name] = torch.full_like(latents[name], torch.nan)
    save_file(latents, path)
    with pytest.raises(TrainingError) as raised:
        train(config, tmp_path, device="cpu")
    sentence = str(raised.value)
    assert "set optimizer.rate = 0.0005 with change=['optimizer.rate']" in sentence
    assert f"the loss of step {steps[0] + 1} is not finite, for the pairs {batches.keys[row]!r}" in sentence
    if steps[0]:
        kept = tensors(tmp_path, steps[0])
        assert f"the last good state is {tmp_path / 'states' / f'step-{steps[0]:08d}'}" in sentence
        assert all(value.isfinite().all() for value in kept.values())
    else:
        assert "no state has been saved yet" in sentence


@pytest.mark.parametrize(("what", "per"), [("loss", "batch"), ("gradient", "step")])
def test_what_was_good_before_a_step_that_fails_is_saved(
    what: str, per: str, tiny_folder: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Long before a state is due, and so that the run goes on from it to the same bits."""
    changes: dict[str, Any] = {
        "save": {"every": 500},
        "ema": {"per": per},
        "batch": {"micro": 2},
        "steps": 4,
    }
    run(tiny_folder, data, tmp_path / "whole", **changes)
    if what == "loss":
        losses, seen = objective.per_sample, []

        def failing(*arguments: Any) -> torch.Tensor:
            seen.append(0)
            return losses(*arguments) * (
                torch.nan if len(seen) == 6 else 1
            )  # in the last half of the third step

        target, broken = "wordbrush.training.loss.per_sample", failing
    else:
        clip, calls = torch.nn.utils.clip_grad_norm_, []

        def no_norm(*arguments: Any) -> torch.Tensor:
            calls.append(0)
            return clip(*arguments) * (torch.inf if len(calls) == 3 else 1)

        target, broken = "torch.nn.utils.clip_grad_norm_", no_norm
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(target, broken)
        with pytest.raises(TrainingError) as raised:
            run(tiny_folder, data, out, **changes)
    saved = out / "states" / "step-00000002"
    assert f"the {what} of step 3 is not finite" in str(raised.value)
    assert f"the last good state is {saved}; look" in str(raised.value)
    assert run(tiny_folder, data, out, **changes).finished
    assert_same(tmp_path / "whole", out, 4)


def test_weights_that_are_not_finite_are_not_saved(
    tiny_folder: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    update = Average.update

    def spoiling(self: Average, parameters: Any) -> None:
        update(self, parameters)
        if self.updates == 3:
            next(iter(parameters.values())).data.fill_(torch.nan)

    monkeypatch.setattr(Average, "update", spoiling)
    with pytest.raises(
        TrainingError, match=r"weights are not finite any more, the last state is .*step-00000002; "
    ):
        run(tiny_folder, data, tmp_path)
    assert [path.name for path in state.saved(tmp_path)] == ["step-00000002"]


def test_too_little_memory_says_what_to_lower(
    tiny_folder: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*args: Any, **kwargs: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("wordbrush.training.loss.noisy", full)
    with pytest.raises(
        TrainingError, match=r"the memory is full.*lower batch.micro \(now 4;.*gradient_check.*lora"
    ):
        run(tiny_folder, data, tmp_path)


@pytest.mark.parametrize(
    ("cache", "says"),
    [
        ({}, r"lower data\.size \(now 32; cache\.latents = true encodes .*set cache\.text = false$"),
        ({"text": False}, r"lower data\.size \(now 32; cache\.latents = true encodes both pictures"),
    ],
)
def test_too_little_memory_for_the_caches_says_what_to_change(
    cache: dict,
    says: str,
    tiny_folder: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    def full(*args: Any, **kwargs: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("wordbrush.training.conditioning.posterior", full)
    with pytest.raises(TrainingError, match=f"the memory is full while the caches are made: .*{says}"):
        run(tiny_folder, data, tmp_path, cache=cache)


def test_too_little_memory_of_a_gpu_sends_the_caches_to_the_cpu(tiny_folder: Path, data: Path):
    config, model = training_data.config(tiny_folder, data), load_base(tiny_folder)
    with (
        pytest.raises(TrainingError, match="on the CPU first, by device='cpu' and only='prepare'") as raised,
        loop._enough_memory_for_caches(config, model, torch.device("cuda")),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert raised.value.command.endswith("on the CPU first, by --device cpu --prepare")


@pytest.mark.parametrize("device", ["gpu", "cpu:x", "xpu"])
def test_a_device_that_is_not_there_is_refused(device: str, tiny_folder: Path, data: Path, tmp_path: Path):
    with pytest.raises(InvalidInput, match=f"there is no device '{device}' on this machine: use 'cpu'"):
        train(training_data.config(tiny_folder, data), tmp_path, device=device)


def test_the_device_that_was_asked_for_is_the_one_trained_on(
    tiny_folder: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run(tiny_folder, data, tmp_path, steps=1)  # Accelerate stays with the CPU from now on
    monkeypatch.setattr("wordbrush.training.loop.as_device", torch.device)  # as if there were GPUs
    with pytest.raises(
        InvalidInput, match="Accelerate trains on 'cpu' here, not on 'cuda': ask for that, or"
    ):
        train(training_data.config(tiny_folder, data), tmp_path, device="cuda")
    with pytest.raises(
        InvalidInput, match="not on 'cuda:1': ask for 'cuda', with the GPU chosen by CUDA_VIS"
    ):
        loop._check_device(torch.device("cuda:1"), torch.device("cuda:0"))
    loop._check_device(torch.device("cuda"), torch.device("cuda:0"))


def test_what_is_advised_when_memory_runs_out_can_be_done(
    whole: Path, tiny_folder: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    noisy = objective.noisy

    def full_in_the_third_step(clean: torch.Tensor, *rest: Any) -> torch.Tensor:
        if state.saved(tmp_path):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return noisy(clean, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(objective, "noisy", full_in_the_third_step)
        with pytest.raises(TrainingError) as raised:
            run(tiny_folder, data, tmp_path)
    assert "(now 4; the result stays the same up to rounding), set speed.gradient_check" in str(raised.value)
    assert "set speed.precision = 'bfloat16' with change=['speed.precision']" in str(raised.value)
    assert "go on with --change speed.precision=bfloat16" in raised.value.command
    lower: dict[str, Any] = {
        "batch": {"micro": 2},
        "speed": {"gradient_checkpointing": True},
    }
    assert run(tiny_folder, data, tmp_path, **lower, steps=4).step == 4
    for name, value in tensors(whole, 4).items():
        # A rounding of the gradient moves a weight by as much as a step of AdamW does, where that is near zero.
        torch.testing.assert_close(tensors(tmp_path, 4)[name], value, rtol=1e-3, atol=4e-3)
    lower["speed"]["precision"] = "bfloat16"
    with pytest.raises(
        DataError, match=r"precision = 'float32', not 'bfloat16': set it back, go on with it by change"
    ):
        run(tiny_folder, data, tmp_path, **lower)
    config = training_data.config(tiny_folder, data, **lower)
    done = train(config, tmp_path, device="cpu", change=["speed.precision"])
    assert done.finished
    changes = [{"until": 4, "setting": "speed.precision", "was": "float32", "is": "bfloat16"}]
    assert json.loads((tmp_path / "run.json").read_text())["changes"] == changes
    assert json.loads((tmp_path / "editor" / "training.json").read_text())["changes"] == changes


def test_micro_batches_that_the_average_counts_are_changed_by_name_only(
    tiny_folder: Path, data: Path, tmp_path: Path
):
    settings: dict[str, Any] = {"ema": {"per": "batch"}, "batch": {"micro": 2}}
    run(tiny_folder, data, tmp_path, **settings, steps=2)
    settings["batch"] = {"micro": 1}
    with pytest.raises(DataError, match=r"batch.micro = 2, not 1"):
        run(tiny_folder, data, tmp_path, **settings, steps=3)
    config = training_data.config(tiny_folder, data, **settings, steps=3)
    assert train(config, tmp_path, device="cpu", change=["batch.micro"]).step == 3
    with pytest.raises(
        InvalidInput, match=r"optimizer.rat cannot be changed under way .did you mean 'optimizer.rate'"
    ):
        train(config, tmp_path, device="cpu", change=["optimizer.rat"])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seed": 4}, "holds a training with seed = 3, not 4: set it back, or choose another output"),
        (
            {"optimizer": {"rate": 2e-3}},
            r"with optimizer.rate = 0.001, not 0.002: set it back, go on with it by change=\['optimizer.rate'\], or",
        ),
        ({"batch": {"size": 2}}, "with batch.size = 4, not 2"),
    ],
)
def test_a_folder_of_another_training_is_refused(
    changes: dict, sentence: str, whole: Path, tiny_folder: Path, data: Path
):
    with pytest.raises(DataError, match=sentence):
        run(tiny_folder, data, whole, **changes)


def test_more_steps_go_on_and_equal_one_run(whole: Path, tiny_folder: Path, data: Path, tmp_path: Path):
    run(tiny_folder, data, tmp_path, steps=4)
    run(tiny_folder, data, tmp_path, steps=6)
    assert_same(whole, tmp_path)


def test_a_damaged_state_is_named(tiny_folder: Path, data: Path, tmp_path: Path):
    run(tiny_folder, data, tmp_path, steps=2)
    path = tmp_path / "states" / "step-00000002" / "average.safetensors"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(
        DataError, match=r"step-00000002 cannot be read: .*; delete it to go on from the one before"
    ):
        run(tiny_folder, data, tmp_path, steps=4)


@pytest.mark.parametrize("what", ["autoencoder", "data", "shapes"])
def test_a_stale_cache_is_refused(what: str, tiny_folder: Path, data: Path, tmp_path: Path):
    cache = {"folder": str(tmp_path / "cache")}
    config = training_data.config(tiny_folder, data, cache=cache)
    train(config, tmp_path / "one", device="cpu", only="prepare")
    train(config, tmp_path / "two", device="cpu", only="prepare")  # another training on the same
    model, other, size = tiny_folder, data, 32
    if what == "autoencoder":
        model = tmp_path / "model"
        shutil.copytree(tiny_folder, model)
        path = model / "vae" / "diffusion_pytorch_model.safetensors"
        weights = load_file(path)
        weights["encoder.conv_in.bias"] += 0.1
        save_file(weights, path, {"format": "pt"})
    elif what == "data":
        changed = (edit(number + 1, instruction="make it other") for number in range(12))
        other = training_data.write_data(tmp_path / "other", changed)
    else:
        size = 48
    stale = training_data.config(model, other, cache=cache, data={"size": size})
    with pytest.raises(DataError, match=f"the cache .* is stale: it was made with another {what}; delete it"):
        train(stale, tmp_path / "three", device="cpu")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"batch": {"size": 4, "micro": 3}},
            "batch.size = 4 is not 1 process times whole micro-batches of 3",
        ),
        ({"optimizer": {"name": "adamw8bit"}}, "needs the package bitsandbytes: pip install bitsandbytes"),
        ({"text_encoder": "trained"}, "what a text encoder says while it is trained cannot be cached"),
        ({"save": {"tensorboard": True}}, "save.tensorboard needs the package tensorboard"),
        ({"data": {"crop": "random", "fit": "cover"}}, "latents cannot be cached where every visit crops"),
        ({"data": {"format": "magicbrsh"}}, r"no format 'magicbrsh' \(did you mean 'magicbrush'"),
        ({"lora": {"rank": 2, "targets": ["to_x"]}}, r"lora.targets: .*to_x"),
        ({"data": {"fit": "cover"}}, None),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    changes: dict,
    sentence: str | None,
    tiny_folder: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    for package in ("bitsandbytes", "tensorboard"):
        if sentence is not None and package in sentence:  # as where it is not installed
            monkeypatch.setitem(sys.modules, package, None)
    if sentence is None:
        assert run(tiny_folder, data, tmp_path, steps=1, **changes).finished
        return
    with pytest.raises(InvalidInput, match=sentence):
        run(tiny_folder, data, tmp_path, **changes)


def test_missing_columns_are_named_with_those_found(tiny_folder: Path, data: Path, tmp_path: Path):
    with pytest.raises(
        DataError, match="has no column 'img_id', only input_image, edit_prompt, edited_image"
    ):
        run(tiny_folder, data, tmp_path, data={"format": "magicbrush"})
    with pytest.raises(DataError, match="there are no pairs at nowhere"):
        run(tiny_folder, Path("nowhere"), tmp_path / "other")


def test_long_instructions_are_refused_or_cut_off(tiny_folder: Path, tmp_path: Path):
    long = (edit(number, instruction="make it night " * 20) for number in range(4))
    data = training_data.write_data(tmp_path / "data", long)
    with pytest.raises(
        PromptTooLong, match=r"the instruction of pair '.*' has 222 tokens and the text encoder reads 77"
    ):
        run(tiny_folder, data, tmp_path / "one")
    assert run(tiny_folder, data, tmp_path / "two", steps=1, data={"long_instructions": "truncate"}).finished


def test_pairs_of_two_sizes_need_the_squash(tiny_folder: Path, tmp_path: Path):
    uneven = (
        edit(number, after_picture=edit(number).before_picture.of(Image.new("RGB", (20, 20))))
        for number in range(4)
    )
    data = training_data.write_data(tmp_path / "data", uneven)
    with pytest.raises(DataError, match="are of 24×16 and 20×20 pixels: make them the same size"):
        run(tiny_folder, data, tmp_path / "out", data={"fit": "cover"})


def test_buckets_train_every_shape(tiny_folder: Path, tmp_path: Path):
    shapes = [(24, 16), (16, 16), (16, 24)]

    def sized(number: int):
        picture = edit(number).before_image.resize(shapes[number % 3])
        return edit(number, instruction="x", before_picture=shown(picture), after_picture=shown(picture))

    data = training_data.write_data(tmp_path / "data", map(sized, range(12)))
    changes = {"data": {"fit": "cover", "buckets": True, "size": 64}, "steps": 2, "batch": {"size": 2}}
    assert run(tiny_folder, data, tmp_path / "out", **changes).finished
    config = training_data.config(tiny_folder, data, **changes)
    batches = open_batches(config, load_base(tiny_folder), tmp_path / "out")
    assert len(set(batches.pictures.columns["shape"])) == 3
    shapes_seen = {tuple(batches.read(step, [0, 1]).latents.shape) for step in range(30)}  # pyright: ignore
    assert len(shapes_seen) == 3


FORMATS = tuple(formats.FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read(name: str, tmp_path: Path):
    from edit_data import region

    made = [edit(number, mask_picture=region(number), settings={"seed": number}) for number in range(4)]
    formats.write(name, made, tmp_path / "data")
    found = list(pairs(Data(source=str(tmp_path / "data"), format=name)))
    assert [one.instruction for one in found] == [one.instruction for one in made]


def test_there_are_formats_to_read():
    assert len(FORMATS) == 7


def test_a_run_is_read_by_its_selection_and_prompt_by_prompt(tiny_folder: Path, tmp_path: Path):
    made = [pair(number, candidate) for number in range(4) for candidate in range(3)]
    folder = write_pairs(tmp_path / "run", made)
    select(folder, "mine", rules=[Keep("clip_direction", at_least=0.1)]).write(folder / SELECTION)
    changes = {"data": {"format": "run", "one_per_prompt": True}, "batch": {"size": 4}}
    config = training_data.config(tiny_folder, folder, **changes)
    batches = open_batches(config, load_base(tiny_folder), tmp_path / "out")
    assert len(batches.keys) == 12
    chosen = set()
    for step in range(12):
        rows, _ = batches.drawn(step, range(4))
        prompts = [batches.pictures.columns["prompt"][row] for row in rows]
        assert len(set(prompts)) == 4
        chosen |= set(rows)
    assert len(chosen) > 8


def test_another_selection_of_a_run_is_read_by_its_name(tmp_path: Path):
    made = [pair(number, candidate, clip_direction=0.1) for number in range(3) for candidate in range(2)]
    folder = write_pairs(tmp_path / "run", [*made, pair(3)])
    select(folder).write(selection_path(folder))
    select(folder, "unfiltered").write(selection_path(folder, "unfiltered"))
    own, other = (Data(source=[str(folder)], selection=name) for name in (None, "unfiltered"))
    assert [one.key for one in pairs(own)] == [pair(3).key]
    assert [one.key for one in pairs(other)] == [pair(number).key for number in range(4)]
    assert digest(own) != digest(other)
    with pytest.raises(DataError, match=r"no selection 'best' in .*run: .* --name best` first"):
        list(pairs(Data(source=[str(folder)], selection="best")))
    with pytest.raises(InvalidInput, match=r"letters, digits, - and _ alone, not '\.\./best'"):
        list(pairs(Data(source=[str(folder)], selection="../best")))
    with pytest.raises(InvalidInput, match=r"of data\.format = 'run', not 'diffusers'"):
        list(pairs(Data(source=[str(folder)], selection="best", format="diffusers")))


def test_several_sources_are_one_data_set(tmp_path: Path):
    folders = [str(tmp_path / name) for name in ("one", "two")]
    for number, folder in enumerate(folders):
        formats.write("diffusers", [edit(2 * number), edit(2 * number + 1)], Path(folder))
    one, both = (Data(source=source, format="diffusers") for source in (folders[0], folders))  # pyright: ignore
    assert [pair.instruction for pair in pairs(both)] == [edit(number).instruction for number in range(4)]
    assert [pair.instruction for pair in pairs(one)] == [edit(number).instruction for number in range(2)]
    before = digest(both)
    assert before != digest(one)
    shutil.rmtree(folders[1])
    formats.write("diffusers", [edit(7)], Path(folders[1]))
    assert before != digest(both)


def test_a_share_takes_whole_prompts_always_the_same(tmp_path: Path):
    made = [edit(number, settings={"folder": f"{number // 2:04d}"}) for number in range(60)]
    formats.write("imagefolder", made, tmp_path / "data")

    def keys(share: float) -> list[str]:
        return [
            one.key for one in pairs(Data(source=str(tmp_path / "data"), format="imagefolder", share=share))
        ]

    half, fifth = keys(0.5), keys(0.2)
    assert 10 < len(half) < 50
    assert set(fifth) < set(half) < set(keys(1.0))
    assert all((f"pair-{n}" in half) == (f"pair-{n + 1}" in half) for n in range(0, 60, 2))
