"""Loading every family from a diffusers directory, and one sentence for what is missing of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import families
import wordbrush as wb
from families import KINDS
from wordbrush.models import Defaults


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every pipeline as diffusers itself saves it."""
    place = tmp_path_factory.mktemp("families")
    for kind in KINDS:
        families.stock(families.model(kind, torch.float32)).save_pretrained(place / kind)
    return {kind: place / kind for kind in KINDS}


def made(model: wb.Model, guidance: float | None = None) -> torch.Tensor:
    given: dict[str, Any] = {"seed": 1, "steps": 1, "size": 16, "self_attention": 0.0, "guidance": guidance}
    return wb.edit(model, "a cat", to="a dog", **given).latents


@pytest.mark.parametrize("kind", KINDS)
def test_directory(folders: dict[str, Path], kind: str):
    model, built = wb.load(folders[kind], device="cpu"), families.model(kind, torch.float32)
    assert model.family is built.family
    assert torch.equal(made(model, built.defaults.guidance), made(built))
    own = model.family.defaults(model.unet)
    assert model.defaults == Defaults(**own)
    assert not any(parameter.requires_grad for parameter in model.unet.parameters())


def test_a_chat_template_that_is_missing(folders: dict[str, Path], tmp_path: Path):
    folder = Path(shutil.copytree(folders["zimage"], tmp_path / "zimage"))
    (folder / "tokenizer" / "chat_template.jinja").unlink()
    with pytest.raises(wb.ModelError, match="has no chat template"):
        made(wb.load(folder, device="cpu"))


def test_defaults_of_a_directory(folders: dict[str, Path], tmp_path: Path):
    folder = Path(shutil.copytree(folders["sd3"], tmp_path / "sd3"))
    (folder / "wordbrush.json").write_text('{"blocks": [1], "steps": 3}')
    model = wb.load(folder, device="cpu")
    assert (model.defaults.steps, model.defaults.guidance, model.defaults.scheduler) == (3, 7.0, "flow")
    assert wb.plan(model, "a cat", to="a dog").blocks == {1}


def test_autoencoders_that_overflow_stay_in_single_precision(folders: dict[str, Path]):
    model = wb.load(folders["sdxl"], device="cpu", dtype="float16")
    assert (model.dtype, model.vae.dtype) == (torch.float16, torch.float32)
    latents = wb.generate(model, "a cat", seed=1, steps=1, size=16).latents
    assert len(model.decode(latents)) == 1


def test_gated_models(monkeypatch: pytest.MonkeyPatch):
    import huggingface_hub

    class GatedRepoError(Exception):
        pass

    def gated(*args: Any, **kwargs: Any) -> str:
        raise GatedRepoError("401")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", gated)
    with pytest.raises(wb.ModelError, match="'some/model' is gated: accept its licence"):
        wb.load("some/model")


def no_encoder(folder: Path) -> None:
    shutil.rmtree(folder / "text_encoder_3")


def encoder_left_out(folder: Path) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "text_encoder_3": [None, None]}))


def partly_downloaded(folder: Path) -> None:
    """A checkpoint in two shards, of which one is there."""
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    shard = weights.with_name("diffusion_pytorch_model-00001-of-00002.safetensors")
    weights.rename(shard)
    names = {"a": shard.name, "b": shard.name.replace("00001-of", "00002-of")}
    index = weights.with_name("diffusion_pytorch_model.safetensors.index.json")
    index.write_text(json.dumps({"metadata": {}, "weight_map": names}))


def no_weights(folder: Path) -> None:
    (folder / "transformer" / "diffusion_pytorch_model.safetensors").unlink()


def other_class(folder: Path) -> None:
    path = folder / "model_index.json"
    path.write_text(
        json.dumps({**json.loads(path.read_text()), "_class_name": "StableDiffusion3InpaintPipeline"})
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_encoder, "is incomplete: it has no text_encoder_3"),
        (encoder_left_out, "is incomplete: it has no text_encoder_3"),
        (partly_downloaded, "the unet|transformer of .* cannot be read"),
        (no_weights, "has no safetensors weights"),
        (
            other_class,
            "StableDiffusion3InpaintPipeline, which cannot be edited.* Stable Diffusion XL, .*PixArt",
        ),
    ],
)
def test_damaged_directory(folders: dict[str, Path], tmp_path: Path, damage: Any, message: str):
    folder = Path(shutil.copytree(folders["sd3"], tmp_path / "sd3"))
    damage(folder)
    with pytest.raises(wb.ModelError, match=message) as caught:
        wb.load(folder, device="cpu")
    assert "\n" not in str(caught.value)
