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
from compare import distance
from families import KINDS
from pipelines import unet
from wordbrush.backbones.families import SDXL, STABLE_DIFFUSION
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


@pytest.mark.parametrize("tokenizer_too", [True, False])
def test_t5_may_be_left_out(folders: dict[str, Path], tmp_path: Path, tokenizer_too: bool):
    """As those do who have no memory for it, and as diffusers saves it then."""
    from diffusers import StableDiffusion3Pipeline

    left_out = {"text_encoder_3": None, **({"tokenizer_3": None} if tokenizer_too else {})}
    pipe = StableDiffusion3Pipeline.from_pretrained(folders["sd3"], **left_out)
    pipe.set_progress_bar_config(disable=True)
    pipe.save_pretrained(tmp_path)
    model = wb.load(tmp_path, device="cpu")
    noise = families.noise(model, (16, 16)).float()
    given: dict[str, Any] = {"latents": noise, "height": 16, "width": 16, "guidance_scale": 7.0}
    theirs = pipe("a cat", num_inference_steps=2, output_type="latent", **given).images
    ours = wb.generate(model, "a cat", latents=noise, steps=2, guidance=7.0).latents
    assert distance(ours, theirs) < 1e-4, "to rounding in float32"
    assert not torch.allclose(made(model), made(wb.load(folders["sd3"], device="cpu")), atol=1e-3)


def test_a_chat_template_that_is_missing(folders: dict[str, Path], tmp_path: Path):
    folder = Path(shutil.copytree(folders["zimage"], tmp_path / "zimage"))
    (folder / "tokenizer" / "chat_template.jinja").unlink()
    with pytest.raises(wb.ModelError, match="has no chat template"):
        made(wb.load(folder, device="cpu"))


def test_defaults_of_models_distilled_to_few_steps():
    """LCM, of Stable Diffusion and of XL, is told by the guidance that its network takes."""
    lcm = {"steps": 4, "guidance": 8.5, "scheduler": "lcm"}
    for family in (STABLE_DIFFUSION, SDXL):
        usual, distilled = (unet(cross_attention_dim=16, time_cond_proj_dim=width) for width in (None, 8))
        assert family.defaults(distilled) == lcm
        assert family.defaults(usual) != lcm


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


def as_fp16(folder: Path, weights: str) -> None:
    """Name the weights of a part as diffusers and transformers name those they save with ``variant="fp16"``."""
    path = folder / weights
    path.rename(path.with_suffix(".fp16.safetensors"))


@pytest.mark.parametrize("parts", [("transformer", "text_encoder_2", "vae"), ("text_encoder",)])
def test_the_only_variant_is_read(folders: dict[str, Path], tmp_path: Path, parts: tuple[str, ...]):
    folder = Path(shutil.copytree(folders["sd3"], tmp_path / "sd3"))
    for part in parts:
        encoder = part.startswith("text")
        as_fp16(folder, f"{part}/{'' if encoder else 'diffusion_pytorch_'}model.safetensors")
    expected = made(families.model("sd3", torch.float32))
    assert torch.equal(made(wb.load(folder, device="cpu")), expected)


def test_variants_in_shards_are_read(tmp_path: Path):
    """As diffusers saves them: the name of the index ends in the variant."""
    model = families.model("sd3", torch.float32)
    families.stock(model).save_pretrained(tmp_path / "sd3", variant="fp16", max_shard_size="30KB")
    shards = list((tmp_path / "sd3" / "transformer").glob("*.fp16-0*-of-0*.safetensors"))
    assert len(shards) > 1
    assert torch.equal(made(wb.load(tmp_path / "sd3", device="cpu")), made(model))


def test_vocabularies_of_the_older_kind_are_enough(folders: dict[str, Path], tmp_path: Path):
    folder = Path(shutil.copytree(folders["sd3"], tmp_path / "sd3"))
    path = folder / "tokenizer" / "tokenizer.json"
    known = json.loads(path.read_text())["model"]
    (path.with_name("vocab.json")).write_text(json.dumps(known["vocab"]))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in known["merges"]]
    (path.with_name("merges.txt")).write_text("\n".join(["#version: 0.2", *merges, ""]))
    path.unlink()
    assert torch.equal(made(wb.load(folder, device="cpu")), made(families.model("sd3", torch.float32)))


def test_variants_beside_the_plain_weights_are_not_downloaded(monkeypatch: pytest.MonkeyPatch):
    import huggingface_hub
    from huggingface_hub.utils import filter_repo_objects

    there = [
        f"{part}/{name}{variant}{rest}.safetensors"
        for part, name in (("transformer", "diffusion_pytorch_model"), ("text_encoder_3", "model"))
        for variant in ("", ".fp16", ".non_ema")
        for rest in ("", "-00001-of-00002", "-00002-of-00002")
    ]
    chosen: list[str] = []

    def fetch(name: str, *, allow_patterns: list[str], ignore_patterns: list[str]) -> str:
        chosen.extend(
            filter_repo_objects(there, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns)
        )
        raise OSError

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    with pytest.raises(wb.ModelError, match="could not be fetched"):
        wb.load("some/model")
    assert chosen == [name for name in there if "fp16" not in name and "non_ema" not in name]


def test_half_precision_is_downloaded_where_there_is_nothing_else(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import huggingface_hub
    from huggingface_hub.utils import filter_repo_objects

    hub, cache = Path(shutil.copytree(folders["sd3"], tmp_path / "hub")), tmp_path / "cache"
    as_fp16(hub, "transformer/diffusion_pytorch_model.safetensors")
    shutil.copy(hub / "vae" / "diffusion_pytorch_model.safetensors", hub / "vae" / "again.fp16.safetensors")

    def fetch(name: str, **patterns: Any) -> str:
        there = [str(path.relative_to(hub)) for path in hub.rglob("*") if path.is_file()]
        for path in filter_repo_objects(there, **patterns):
            (cache / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(hub / path, cache / path)
        return str(cache)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert torch.equal(made(wb.load("some/model", device="cpu")), made(families.model("sd3", torch.float32)))
    assert [path.parent.name for path in cache.rglob("*.fp16.safetensors")] == ["transformer"]


def no_encoder(folder: Path) -> None:
    shutil.rmtree(folder / "text_encoder_3")


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


def emptied(part: str) -> Any:
    """What an interrupted download leaves of a tokenizer: its settings."""

    def damage(folder: Path) -> None:
        for path in (folder / part).iterdir():
            if path.name != "tokenizer_config.json":
                path.unlink()

    return damage


def half_a_vocabulary(folder: Path) -> None:
    emptied("tokenizer")(folder)
    (folder / "tokenizer" / "vocab.json").write_text("{}")


def other_scheduler(folder: Path) -> None:
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    shutil.rmtree(folder / "scheduler")
    DDIMScheduler().save_pretrained(folder / "scheduler")
    described(folder, scheduler=["diffusers", "DDIMScheduler"])


def described(folder: Path, **parts: Any) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **parts}))


def two_variants(folder: Path) -> None:
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    for variant in ("fp16", "non_ema"):
        shutil.copy(weights, weights.with_name(f"diffusion_pytorch_model.{variant}.safetensors"))
    weights.unlink()


def other_class(folder: Path) -> None:
    path = folder / "model_index.json"
    path.write_text(
        json.dumps({**json.loads(path.read_text()), "_class_name": "StableDiffusion3InpaintPipeline"})
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_encoder, "is incomplete: it has no text_encoder_3"),
        (
            lambda folder: described(folder, text_encoder_2=[None, None]),
            "is incomplete: it has no text_encoder_2",
        ),
        (
            lambda folder: described(folder, tokenizer_3=[None, None]),
            "is incomplete: it has no tokenizer_3",
        ),
        (partly_downloaded, "the unet|transformer of .* cannot be read"),
        (no_weights, "has no safetensors weights"),
        (emptied("tokenizer_3"), "is incomplete: tokenizer_3 has no vocabulary, .*json or spiece.model; get"),
        (emptied("tokenizer"), "tokenizer has no vocabulary, .*tokenizer.json or vocab.json and merges.txt"),
        (half_a_vocabulary, "is incomplete: tokenizer has no vocabulary"),
        (
            lambda folder: (folder / "text_encoder" / "config.json").unlink(),
            "sd3 is incomplete: text_encoder has no config.json",
        ),
        (
            lambda folder: (folder / "scheduler" / "scheduler_config.json").unlink(),
            "sd3 is incomplete: scheduler has no scheduler_config.json",
        ),
        (two_variants, "has its weights in the variants fp16 and non_ema only: keep the files of one"),
        (
            other_scheduler,
            "has a DDIMScheduler, and models of Stable Diffusion 3 and 3.5 were trained on str",
        ),
        (
            lambda folder: described(folder, text_encoder=["mylib", "CLIPTextModel"]),
            "describes the text_encoder as the class 'CLIPTextModel' of 'mylib', which is none of the inst",
        ),
        (
            lambda folder: described(folder, text_encoder=["transformers", "MyTextModel"]),
            "as the class 'MyTextModel' of 'transformers', which is none of the installed",
        ),
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
