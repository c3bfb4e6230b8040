"""Loading: what works, and one clear sentence for everything that does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import pipelines
import wordbrush as wb
from original_format import write_single_file
from wordbrush import models


def save(kind: str, place: Path) -> Path:
    """Write a tiny pipeline as a diffusers directory."""
    model: Any = pipelines.model(kind, torch.float32)
    names = {"ldm": {"vae": "vqvae", "text_encoder": "bert"}}.get(kind, {})
    index: dict[str, Any] = {
        "_class_name": "LDMTextToImagePipeline" if kind == "ldm" else "StableDiffusionPipeline"
    }
    for part in models.PARTS:
        value, name = getattr(model, part), names.get(part, part)
        value.save_pretrained(place / name)
        index[name] = [type(value).__module__.split(".")[0], type(value).__name__]
    if kind == "ldm":
        index["bert"][0] = "latent_diffusion"
    (place / "model_index.json").write_text(json.dumps(index))
    return place


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("sd1", tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def made(model: wb.Model) -> torch.Tensor:
    return wb.edit(model, "a cat", to="a dog", seed=1, steps=2, size=16).latents


def test_directory(folder: Path):
    model = wb.load(folder, device="cpu")
    assert torch.equal(made(model), made(pipelines.model("sd1", torch.float32)))
    assert model.image_size == (32, 32)
    assert model.defaults == models.Defaults(steps=50, guidance=7.5, scheduler="ddim", self_attention=0.4)
    assert not any(parameter.requires_grad for parameter in model.unet.parameters())


def test_latent_diffusion_directory(tmp_path: Path):
    model = wb.load(save("ldm", tmp_path / "ldm"), device="cpu")
    assert torch.equal(made(model), made(pipelines.model("ldm", torch.float32)))


@pytest.mark.parametrize("name", ["float64", "bfloat16"])
def test_dtype(folder: Path, name: str):
    dtype = getattr(torch, name)
    model = wb.load(folder, dtype=name, device="cpu")
    assert {p.dtype for part in (model.unet, model.vae, model.text_encoder) for p in part.parameters()} == {
        dtype
    }
    assert made(model).dtype == dtype


def test_defaults_of_the_model(copy: Path):
    (copy / "wordbrush.json").write_text('{"steps": 3, "guidance": 2.0, "self_attention": 0.0}')
    model = wb.load(copy, device="cpu")
    result = wb.edit(model, "a cat", to="a dog", seed=1, size=16)
    assert (result.settings["steps"], result.settings["guidance"]) == (3, 2.0)
    assert result.plan.self_attention[0].window.stop == 0.0
    (copy / "wordbrush.json").write_text('{"step": 3}')
    with pytest.raises(wb.ModelError, match=r"did you mean 'steps'"):
        wb.load(copy, device="cpu")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": "x"}, "steps must be a whole number of at least 1, not 'x'"),
        ({"steps": 1001}, "trained with 1000 timesteps, so there cannot be 1001 steps"),
        ({"guidance": "x"}, "guidance is a number of at least 1, or none, not 'x'"),
        ({"guidance": 0.5}, "guidance is a number of at least 1"),
        ({"scheduler": 3}, "scheduler is a name"),
        ({"scheduler": "dimm"}, r"unknown scheduler 'dimm' \(did you mean 'ddim'\?\)"),
        ({"until": [0.2, 0.8]}, "until is a fraction of the run"),
        ({"self_attention": 1.5}, "self_attention is a fraction of the run within 0 and 1, not 1.5"),
        ({"blend": True}, "blend is 'auto' or 'none', not True"),
        ({"blocks": "x"}, "blocks are the numbers"),
    ],
)
def test_defaults_that_cannot_be_used_are_refused_when_read(copy: Path, given: dict[str, Any], message: str):
    (copy / "wordbrush.json").write_text(json.dumps(given))
    with pytest.raises(wb.ModelError, match=rf"wordbrush.json: .*{message}"):
        wb.load(copy, device="cpu")


def truncated(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def incomplete(folder: Path) -> None:
    path = folder / "text_encoder" / "model.safetensors"
    tensors = load_file(path)
    tensors.pop(next(name for name in tensors if "q_proj.weight" in name))
    save_file(tensors, path, metadata={"format": "pt"})


def pickled(folder: Path) -> None:
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    path.rename(path.with_suffix(".bin"))


def editor(folder: Path) -> None:
    _index(folder, _class_name="StableDiffusionInstructPix2PixPipeline")


def eight_channels(folder: Path) -> None:
    from diffusers import UNet2DConditionModel

    own: Any = pipelines.model().unet.config
    config: dict[str, Any] = {name: value for name, value in own.items() if name[0] != "_"}
    UNet2DConditionModel(**{**config, "in_channels": 8}).save_pretrained(folder / "unet")


def _index(folder: Path, **changes: Any) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            truncated,
            "the unet of .* cannot be read: diffusion_pytorch_model.safetensors is truncated or damaged: get the file",
        ),
        (incomplete, "lack 1 tensor, first .*q_proj"),
        (pickled, "no safetensors weights, only diffusion_pytorch_model.bin"),
        (editor, "is a StableDiffusionInstructPix2PixPipeline, which cannot be edited"),
        (eight_channels, "8 input channels where its autoencoder makes 4"),
        (lambda folder: shutil.rmtree(folder / "tokenizer"), "incomplete: it has no tokenizer"),
        (lambda folder: _index(folder, vae=[None, None]), "incomplete: it has no vae"),
        (lambda folder: (folder / "unet" / "config.json").write_text("{"), "the unet of .* cannot be read"),
        (lambda folder: (folder / "model_index.json").write_text("{"), "model_index.json cannot be read"),
        (lambda folder: (folder / "model_index.json").unlink(), "no model_index.json"),
        (
            lambda folder: (folder / "model_index.json").write_text("[]"),
            "json cannot be read: .*holds a list",
        ),
        (lambda folder: (folder / "model_index.json").write_text("[" * 100_000), "json cannot be read"),
        (lambda folder: _index(folder, _class_name=[]), r"names no pipeline: its _class_name is \[\]"),
        (
            lambda folder: _index(folder, vae="AutoencoderKL"),
            r"describes the vae as 'AutoencoderKL', not as \[lib",
        ),
        (lambda folder: _index(folder, vae=["diffusers"]), "describes the vae as"),
        (
            lambda folder: (folder / "wordbrush.json").write_text("[1]"),
            "wordbrush.json cannot be read: .* a list",
        ),
        (lambda folder: (folder / "wordbrush.json").write_text('"steps"'), "holds a str"),
    ],
)
def test_damaged_directory(copy: Path, damage: Any, message: str):
    wb.load(copy, device="cpu")
    damage(copy)
    with pytest.raises(wb.ModelError, match=message) as caught:
        wb.load(copy, device="cpu")
    assert "\n" not in str(caught.value)


def test_names_that_are_nothing(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(wb.ModelError, match=r"no model at 'storybok'.*did you mean 'storybook'"):
        wb.load("storybok")
    with pytest.raises(wb.ModelError, match="no model at '/nowhere/model'"):
        wb.load("/nowhere/model")
    monkeypatch.setitem(models.EMBEDDED, "storybook", Path("/nowhere"))
    with pytest.raises(wb.ModelError, match="weights of 'storybook' are missing"):
        wb.load("storybook")


def test_hub_without_network(monkeypatch: pytest.MonkeyPatch):
    import huggingface_hub

    def offline(*args: Any, **kwargs: Any) -> str:
        raise huggingface_hub.errors.OfflineModeIsEnabled("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(
        wb.ModelError, match=r"'nobody/nothing' is not a local directory .*OfflineModeIsEnabled"
    ):
        wb.load("nobody/nothing")


@pytest.mark.parametrize("dtype", ["float33", "int8", torch.int8, 3])
def test_unknown_dtype(folder: Path, dtype: Any):
    with pytest.raises(wb.InvalidInput, match="no dtype to compute in"):
        wb.load(folder, dtype=dtype)


def test_unknown_device(folder: Path):
    with pytest.raises(wb.InvalidInput, match="no device 'abacus' on this machine: use 'cpu'"):
        wb.load(folder, device="abacus")


@pytest.mark.parametrize("name", ["model.safetensors", "MODEL.SAFETENSORS"])
def test_single_file(folder: Path, tmp_path: Path, name: str):
    path = tmp_path / name
    write_single_file(folder, path, layers=1, levels=2)
    model = wb.load(path, config=folder, device="cpu")
    assert torch.equal(made(model), made(wb.load(folder, device="cpu")))
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.vae.decode(noise).sample, wb.load(folder, device="cpu").vae.decode(noise).sample)


def test_single_file_without_layout_downloads_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import huggingface_hub

    asked: list[dict[str, Any]] = []

    def snapshot(name: str, **settings: Any) -> str:
        asked.append(settings)
        raise FileNotFoundError

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    path = tmp_path / "model.safetensors"
    write_single_file(folder, path, layers=1, levels=2)
    with pytest.raises(wb.ModelError, match=r"neither tokenizer nor layout.*give .*config="):
        wb.load(path, device="cpu")
    assert [settings["local_files_only"] for settings in asked] == [True]
    with pytest.raises(wb.ModelError, match=r"'nobody/nothing' is neither a directory nor on the hub"):
        wb.load(path, device="cpu", config="nobody/nothing")


def test_single_file_that_is_none(tmp_path: Path, folder: Path):
    pickled = tmp_path / "sd15.ckpt"
    pickled.write_bytes(b"\0" * 100)
    with pytest.raises(wb.ModelError, match=r"sd15.ckpt is a file that does not end in .safetensors"):
        wb.load(pickled)
    with pytest.raises(wb.ModelError, match="there is no file"):
        wb.load(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(wb.ModelError, match="cannot be read as a Stable Diffusion checkpoint"):
        wb.load(tmp_path / "model.safetensors", config=folder)
