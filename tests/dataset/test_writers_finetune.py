"""Fine-tuning: an adapter that changes what is written, exact resume, and errors before any work."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from tiny_writer import build
from wordbrush.cli.writer import app
from wordbrush.dataset.writers.finetune import RUN, Settings, encode, finetune
from wordbrush.dataset.writers.form import Example
from wordbrush.dataset.writers.local import LocalWriter, Sampling, load_causal
from wordbrush.errors import DataError, InvalidInput, ModelError
from wordbrush.files import CannotWrite
from wordbrush.storybook.recipe import loop

TRIPLETS = [
    {"input": "a cat", "edit": "make it a dog", "output": "a dog"},
    {"caption": "an owl", "edit": "in the snow", "output": "an owl in the snow"},
    {"input": "a car", "edit": "blue", "output": "a blue car"},
]
SETTINGS = Settings(epochs=4, batch=2, rate=1e-2, rank=4)
SHORT = Sampling(max_tokens=8)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return build(tmp_path / "base")


@pytest.fixture
def triplets(tmp_path: Path) -> Path:
    path = tmp_path / "triplets.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in TRIPLETS))
    return path


def test_the_adapter_learns_and_writes_differently(base: Path, triplets: Path, tmp_path: Path):
    before = {path.name: path.read_bytes() for path in base.iterdir()}
    settings = Settings(epochs=40, batch=2, rate=1e-2, rank=4)
    random = torch.get_rng_state()
    done = finetune(str(base), triplets, tmp_path / "adapter", settings=settings, device="cpu")
    assert torch.equal(torch.get_rng_state(), random)
    assert (done["triplets"], done["samples"]) == (3, 120)
    assert done["loss_after"] < 0.8 * done["loss_before"]
    names = {path.name for path in (tmp_path / "adapter").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= names
    assert RUN not in names
    assert not any(name.endswith((".bin", ".pt")) for name in names)
    assert before == {path.name: path.read_bytes() for path in base.iterdir()}
    plain, tuned = (
        LocalWriter(str(path), sampling=SHORT, device="cpu") for path in (base, tmp_path / "adapter")
    )
    assert plain.open()(["a cat"], [1]) != tuned.open()(["a cat"], [1])


def test_merged_model_is_base_and_adapter_in_one(base: Path, triplets: Path, tmp_path: Path):
    finetune(str(base), triplets, tmp_path / "adapter", settings=SETTINGS, device="cpu")
    finetune(str(base), triplets, tmp_path / "merged", settings=SETTINGS, merge=True, device="cpu")
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    ids = torch.arange(1, 20)[None]
    logits = []
    for folder in (base, tmp_path / "adapter", tmp_path / "merged"):
        model, _ = load_causal(str(folder), dtype=torch.float32, device=torch.device("cpu"))
        logits.append(model(ids).logits)
    assert not torch.allclose(logits[0], logits[1], atol=1e-2)
    torch.testing.assert_close(logits[1], logits[2], rtol=1e-4, atol=1e-4)


def test_a_stopped_run_goes_on_to_the_same_bits(
    base: Path, triplets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    finetune(str(base), triplets, tmp_path / "whole", settings=SETTINGS, device="cpu")
    ticks = itertools.count()

    def stop(seen: int, total: int) -> None:
        if seen == 8:
            raise KeyboardInterrupt

    options: dict[str, Any] = {"settings": SETTINGS, "device": "cpu", "save_every": 1e-3, "progress": stop}
    with monkeypatch.context() as patched:  # a clock that runs so fast that every step is saved
        patched.setattr(loop, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
        with pytest.raises(KeyboardInterrupt):
            finetune(str(base), triplets, tmp_path / "parts", **options)
    parts = tmp_path / "parts"
    assert [path.name for path in parts.iterdir()] == [RUN]
    assert (parts / RUN / "state.safetensors").stat().st_size > 0
    seen: list[int] = []
    finetune(
        str(base),
        triplets,
        parts,
        settings=SETTINGS,
        device="cpu",
        progress=lambda done, of: seen.append(done),
    )
    assert seen == [8, 10, 12]
    whole, resumed = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_another_run_in_the_folder_is_refused(base: Path, triplets: Path, tmp_path: Path):
    out = tmp_path / "out"
    (out / RUN).mkdir(parents=True)
    done = finetune(str(base), triplets, tmp_path / "done", settings=SETTINGS, device="cpu")
    with pytest.raises(DataError, match="holds no run that could be continued"):
        finetune(str(base), triplets, Path(done["out"]), settings=SETTINGS, device="cpu")
    (out / RUN / "finetune.json").write_text(json.dumps({"model": str(base), "epochs": 9}))
    with pytest.raises(DataError, match=r"holds a run with triplets = None"):
        finetune(str(base), triplets, out, settings=SETTINGS, device="cpu")


def test_what_is_learned_begins_after_the_prompt_and_ends_the_text(base: Path):
    _, tokenizer = load_causal(str(base), dtype=torch.float32, device=torch.device("cpu"))
    ((read, learned),) = encode([Example("a", "b", "c")], tokenizer, longest=256)
    assert read == [byte + 1 for byte in b"a\n##\n"]
    assert learned == [*(byte + 1 for byte in b"b\n%%\nc\nEND"), 0]
    with pytest.raises(DataError, match=r"triplet 2 \('xxx.* tokens, and the model reads 256"):
        encode([Example("a", "b", "c"), Example("x" * 300, "b", "c")], tokenizer, longest=256)


def test_bad_settings_and_files_are_a_sentence(base: Path, tmp_path: Path):
    for bad in ({"epochs": 0}, {"batch": 0}, {"rank": 0}, {"rate": 0.0}, {"rate": float("nan")}):
        with pytest.raises(InvalidInput):
            Settings(**bad)
    path = tmp_path / "bad.jsonl"
    path.write_text('{"input": "a", "edit": "b", "output": "c"}\n{"input": "a"}\n')
    with pytest.raises(DataError, match=r"bad\.jsonl, line 2: no 'edit'"):
        finetune(str(base), path, tmp_path / "out")
    path.write_text('{"input": "a", "edit": "b", "output": "c"}\n')
    with pytest.raises(ModelError, match="there is no model at"):
        finetune(str(base / "misspelt"), path, tmp_path / "out")
    path.write_text(json.dumps({"input": "x" * 300, "edit": "b", "output": "c"}))
    with pytest.raises(DataError, match="tokens, and the model reads 256"):
        finetune(str(base), path, tmp_path / "out")
    with pytest.raises(CannotWrite, match="is a file, not a folder"):
        finetune(str(base), path, path / "out")
    assert not (tmp_path / "out").exists()  # so that the same command without the mistake goes on


@pytest.mark.filterwarnings("error::FutureWarning")
def test_command_line(base: Path, triplets: Path, tmp_path: Path):
    arguments = ["finetune", str(base), str(triplets), "-o", str(tmp_path / "out"), "--epochs", "1", "--json"]
    done = CliRunner().invoke(app, [*arguments, "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout[done.stdout.index("{") :])["samples"] == 8
    assert (tmp_path / "out" / "adapter_config.json").exists()


def test_a_damaged_adapter_is_a_sentence(base: Path, triplets: Path, tmp_path: Path):
    out = tmp_path / "out"
    finetune(str(base), triplets, out, settings=replace(SETTINGS, epochs=1), device="cpu")
    weights = out / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"the adapter .*out cannot be read: "):
        LocalWriter(str(out), device="cpu").open()
    (out / "adapter_config.json").write_text("[]")
    with pytest.raises(ModelError, match="does not name its base model"):
        LocalWriter(str(out), device="cpu").open()
