"""Stage ``adopt``: begin from the shipped weights, for training on where no saved run is at hand.

The optimizer starts anew after its warm-up; the samples the weights had seen are counted on. The decoder comes with the
autoencoder as it was shipped, so an export from here counts those samples alone that the stages after it add. So do the
judges and the contrastive model begin, where they lie beside the text-to-image model.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wordbrush.errors import WordbrushError
from wordbrush.storybook.recipe import autoencoder, contrastive, judge, text_to_image, vocabulary, writer
from wordbrush.storybook.recipe.export import WEIGHTS
from wordbrush.storybook.recipe.files import write_json
from wordbrush.storybook.recipe.loop import FROZEN, Run


def adopt(out: Path, *, source: Path = WEIGHTS / "text_to_image") -> list[str]:
    """Write saved states under ``out`` with the weights in ``source`` and beside it; return the names of their stages.

    Raises:
        WordbrushError: there are no weights in ``source``, or ``out`` has a saved run already.
    """
    from safetensors.torch import load_file

    if not (source / "model_index.json").exists():
        raise WordbrushError(
            f"there are no weights to begin from in {source}: train the stages in order instead"
        )
    judges = {f"judge_{kind}": source.parent / "judge" / f"{kind}.safetensors" for kind in judge.KINDS}
    judges = {stage: weights for stage, weights in judges.items() if weights.exists()}
    pairs = source.parent / "contrastive" / "model.safetensors"
    words = source.parent / "writer" / "model.safetensors"
    beside = [name for name, path in (("contrastive", pairs), ("writer", words)) if path.exists()]
    stages = ["autoencoder", "text_to_image", *judges, *beside]
    for stage in stages:
        if (out / stage / "state.safetensors").exists():
            raise WordbrushError(
                f"{out / stage} holds a saved run already: continue that, or choose another --output"
            )
    shutil.copytree(source / "tokenizer", out / "tokenizer", dirs_exist_ok=True)
    seen = _seen(source / "model_index.json")

    weights = load_file(source / "vae" / "diffusion_pytorch_model.safetensors")
    _begin(autoencoder.build(), weights, out / "autoencoder", seen["autoencoder"], {})

    unet = load_file(source / "unet" / "diffusion_pytorch_model.safetensors")
    text = load_file(source / "text_encoder" / "model.safetensors")
    weights = {f"unet.{name}": value for name, value in unet.items()}
    weights |= {f"text.{name.removeprefix('text_model.')}": value for name, value in text.items()}
    config = json.loads((source / "unet" / "config.json").read_text(encoding="utf-8"))
    sizes = text_to_image.SIZES
    size = next(name for name in sizes if list(sizes[name]["channels"]) == config["block_out_channels"])
    model = text_to_image.TextToImage(size, len(vocabulary.load(out / "tokenizer")))
    _begin(model, weights, out / "text_to_image", seen["text_to_image"], {"size": size})

    for stage, path in judges.items():
        reader = judge.build(stage.removeprefix("judge_"))
        _begin(reader, load_file(path), out / stage, _seen(path)[stage], {})
    if pairs.exists():
        scorer = contrastive.build(len(vocabulary.load(out / "tokenizer")))
        _begin(scorer, load_file(pairs), out / "contrastive", _seen(pairs)["contrastive"], {})
    if words.exists():
        tokenizer = writer.load_tokenizer(words.parent)
        tokenizer.save_pretrained(out / "writer" / "tokenizer")
        weights = load_file(words)
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]  # tied, and stored once
        _begin(writer.build(len(tokenizer)), weights, out / "writer", _seen(words)["writer"], {})
    return stages


def _seen(weights: Path) -> dict[str, int]:
    """Return the samples that weights had seen, by stage, from the file beside them."""
    return json.loads((weights.parent / "training.json").read_text(encoding="utf-8"))["samples_seen"]


def _begin(
    model: nn.Module, weights: dict[str, torch.Tensor], folder: Path, seen: int, settings: dict[str, Any]
) -> None:
    model.load_state_dict({name: value.float() for name, value in weights.items()})
    run = Run(model, FROZEN, folder)
    run.before = seen
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "settings.json", settings)
    run.save()
