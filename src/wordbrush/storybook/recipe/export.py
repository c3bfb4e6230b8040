"""Stage ``export``: the averaged weights as the float16 directories that the package ships and plain diffusers loads.

    text_to_image/         a StableDiffusionPipeline (autoencoder, text encoder, tokenizer, U-Net, DDIM scheduler)
    joint_text_to_image/   a StableDiffusion3Pipeline (two text encoders and no T5, transformer, flow scheduler)
    contrastive/           a CLIPModel with its tokenizer and image processor
    judge/                 the attribute classifiers
    writer/                a LlamaForCausalLM with its tokenizer
    editor/                a StableDiffusionInstructPix2PixPipeline, as `wordbrush train … -o OUT/editor` has left it

Each directory gets a model card with the recipe, the samples seen and what was measured. Stages that have not been run
are left as they are at the destination.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from wordbrush.errors import WordbrushError
from wordbrush.saving import save_pipeline
from wordbrush.storybook.recipe import (
    contrastive,
    details,
    joint_text_to_image,
    judge,
    text_to_image,
    vocabulary,
    writer,
)
from wordbrush.storybook.recipe.cards import card, rows_of
from wordbrush.storybook.recipe.files import write_json
from wordbrush.storybook.recipe.latents import latent_scale
from wordbrush.storybook.recipe.loop import load_average
from wordbrush.storybook.recipe.paraphrases import instruction_words
from wordbrush.storybook.recipe.renders import Renders
from wordbrush.storybook.scene import caption_words

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
CPU = torch.device("cpu")
ENCODER = ("encoder.", "quant_conv.")
"""What the names of the encoder's weights begin with."""

DEFAULTS = {
    "guidance": 4.0,
    "steps": 20,
    "scheduler": "ddim",
    "until": 0.1,
    "self_attention": 0.0,
    "blend": "auto",
    "renormalise": True,
}
"""What the shipped model is edited with unless told otherwise; the last four by the measures of `evaluate --p2p`."""

JOINT_DEFAULTS = {"guidance": 4.0, "steps": 20}
"""Of the model with joint attention; all else is as for its family."""


def export(out: Path, destination: Path | None = None) -> list[str]:
    """Write every trained stage under ``out`` to ``destination`` (the package's own weights by default).

    Returns:
        The names of the directories written.
    """
    target = destination or WEIGHTS
    written = []
    for name, stages, write in (
        ("text_to_image", ("text_to_image", "autoencoder", "tokenizer"), _text_to_image),
        ("joint_text_to_image", ("joint_text_to_image", "autoencoder", "tokenizer"), _joint_text_to_image),
        ("contrastive", ("contrastive", "tokenizer"), _contrastive),
        ("judge", tuple(f"judge_{kind}" for kind in judge.KINDS), _judge),
        ("writer", ("writer",), _writer),
        ("editor", ("editor/editor/unet",), _editor),
    ):
        if not all(any((out / stage).glob("*.safetensors")) or stage == "tokenizer" for stage in stages):
            continue
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target) as temporary:
            fresh = Path(temporary) / name
            write(out, fresh)
            shutil.rmtree(target / name, ignore_errors=True)
            fresh.rename(target / name)
        written.append(name)
    if not written:
        raise WordbrushError(f"nothing to export under {out}: no stage has a saved state there")
    return written


def _text_to_image(out: Path, fresh: Path) -> None:
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

    tokenizer = vocabulary.load(out / "tokenizer")
    model = text_to_image.STAGE.load(out / "text_to_image", tokenizer, CPU)
    parts: dict[str, Any] = {
        "vae": _vae(out),
        "text_encoder": model.text,
        "tokenizer": tokenizer,
        "unet": model.unet,
        "scheduler": text_to_image.scheduler(),
        "safety_checker": None,
        "feature_extractor": None,
    }
    pipeline = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    _save(pipeline, fresh, out, DEFAULTS)


def _joint_text_to_image(out: Path, fresh: Path) -> None:
    from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline

    tokenizer = vocabulary.load(out / "tokenizer")
    model = joint_text_to_image.STAGE.load(out / "joint_text_to_image", tokenizer, CPU)
    vae = _vae(out)
    vae.register_to_config(shift_factor=0.0)  # which the pipeline adds, also where it is None
    parts: dict[str, Any] = {
        "vae": vae,
        "text_encoder": model.text,
        "tokenizer": tokenizer,
        "text_encoder_2": model.text_2,
        "tokenizer_2": tokenizer,
        "text_encoder_3": None,
        "tokenizer_3": None,
        "transformer": model.transformer,
        "scheduler": joint_text_to_image.scheduler(),
    }
    _save(StableDiffusion3Pipeline(**parts), fresh, out, JOINT_DEFAULTS)


def _save(pipeline: Any, fresh: Path, out: Path, defaults: dict[str, Any]) -> None:
    """Write a text-to-image pipeline in half precision, with its defaults, record and card."""
    pipeline.to(dtype=torch.float16)
    save_pipeline(pipeline, fresh)
    write_json(fresh / "wordbrush.json", {**defaults, "words": caption_words()})
    stages = [fresh.name, "autoencoder"]
    stages += [stage for stage in ("decoder", "details") if (out / stage / "state.safetensors").exists()]
    _describe(fresh, out, _seen(out, *stages))


def _vae(out: Path) -> Any:
    """The autoencoder, with the decoder as far as it has been trained."""
    vae = details.load(out, CPU)
    vae.register_to_config(scaling_factor=latent_scale(out / "latents"))
    return vae


def _contrastive(out: Path, fresh: Path) -> None:
    from transformers import CLIPImageProcessor

    tokenizer = vocabulary.load(out / "tokenizer")
    model = load_average(contrastive.build(len(tokenizer)), out / "contrastive")
    model.half().save_pretrained(fresh, safe_serialization=True)
    tokenizer.save_pretrained(fresh)
    mean, std = [contrastive.MEAN] * 3, [contrastive.STD] * 3
    size = {"height": 128, "width": 128}
    CLIPImageProcessor(size=size, crop_size=size, image_mean=mean, image_std=std).save_pretrained(fresh)
    # The contrastive model trains on renders of the other split.
    data = Renders(out / "renders", "judge")
    unseen = range(len(data) - judge.HELD_OUT, len(data))
    found = contrastive.accuracy(model.float().eval(), tokenizer, data, unseen)
    _describe(fresh, out, {**_seen(out, "contrastive"), "accuracy_caption_against_one_word_changed": found})


def _judge(out: Path, fresh: Path) -> None:
    from safetensors.torch import save_file

    fresh.mkdir(parents=True)
    record = _seen(out, *(f"judge_{kind}" for kind in judge.KINDS))
    for kind in judge.KINDS:
        model = load_average(judge.build(kind), out / f"judge_{kind}")
        save_file(
            {k: v.half().contiguous() for k, v in model.state_dict().items()}, fresh / f"{kind}.safetensors"
        )
        record[f"accuracy_{kind}"] = judge.accuracy(model, out / "renders", CPU)
    _describe(fresh, out, record)


def _writer(out: Path, fresh: Path) -> None:
    writer.averaged_model(out / "writer", CPU).half().save_pretrained(fresh, safe_serialization=True)
    writer.load_tokenizer(out / "writer" / "tokenizer").save_pretrained(fresh)
    _describe(fresh, out, _seen(out, "writer"))


def _editor(out: Path, fresh: Path) -> None:
    shutil.copytree(out / "editor" / "editor", fresh)
    if (out / "autoencoder" / "state.safetensors").exists():
        _decode_as_now(out / "editor" / "editor" / "vae", fresh / "vae", _vae(out).half())
    defaults = json.loads((fresh / "wordbrush.json").read_text(encoding="utf-8"))
    write_json(fresh / "wordbrush.json", {**defaults, "words": instruction_words()})
    readme = fresh / "README.md"
    text = readme.read_text(encoding="utf-8").replace("# Instruction editor", "# Storybook editor")
    measured = rows_of(out / "measured" / "editor.json")
    readme.write_text(text.replace("## Limits", "\n".join([*measured, "## Limits"])), encoding="utf-8")


def _decode_as_now(learned: Path, fresh: Path, vae: Any) -> None:
    """Write ``vae``, in half precision, in place of the autoencoder that an editor has learned with.

    Raises:
        WordbrushError: their encoders differ, so the editor would not know what the decoder's latents mean.
    """
    from safetensors.torch import load_file

    before, now = load_file(learned / "diffusion_pytorch_model.safetensors"), vae.state_dict()
    encoder = [name for name in before if name.startswith(ENCODER)]
    if any(not torch.equal(before[name].half(), now[name]) for name in encoder):
        raise WordbrushError(
            f"{learned} has another encoder than the recipe has now: train the editor anew, or export without it"
        )
    vae.save_pretrained(fresh, safe_serialization=True)


def _describe(fresh: Path, out: Path, training: dict[str, Any]) -> None:
    """Write the record of the training and the card, with what ``out/measured/NAME.json`` says of the quality."""
    write_json(fresh / "training.json", training)
    text = card(fresh.name, training, out / "measured" / f"{fresh.name}.json")
    (fresh / "README.md").write_text(text, encoding="utf-8")


def _seen(out: Path, *stages: str) -> dict[str, Any]:
    """Samples each stage has seen, from its saved state."""
    from safetensors import safe_open

    seen = {}
    for stage in stages:
        with safe_open(out / stage / "state.safetensors", "pt") as state:
            seen[stage] = int(state.metadata()["samples"])
    return {"samples_seen": seen}
