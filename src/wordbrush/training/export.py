"""The finished editor: a ``StableDiffusionInstructPix2PixPipeline`` directory that plain diffusers loads."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wordbrush.files import new_folder
from wordbrush.models import DEFAULTS_FILE, Model
from wordbrush.quiet import quiet
from wordbrush.saving import save_pipeline
from wordbrush.training.card import card
from wordbrush.training.config import Config
from wordbrush.training.lora import merge_adapters

FOLDER = "editor"


def network_with(unet: Any, values: Mapping[str, Tensor], *, adapters: bool) -> Any:
    """Return a copy of a network, on the CPU, with other values of what was trained, and adapters merged.

    ``values`` are whole tensors; what is not among them was frozen.
    """
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    if adapters:
        copy = deepcopy(unet).cpu()
        with torch.no_grad():
            for name, parameter in copy.named_parameters():
                if name in values:
                    parameter.copy_(values[name])
        merge_adapters(copy)
    else:
        with quiet(), torch.device("meta"):
            copy: Any = UNet2DConditionModel.from_config(unet.config)
        copy.load_state_dict(dict(values), assign=True)
    return copy.eval().requires_grad_(False)


def make_pipeline(model: Model, network: Any) -> Any:
    """Return the editor as diffusers has it.

    Its scheduler is Euler ancestral, as published; a model with zero terminal SNR, whose first sigma is infinite there,
    keeps its own.
    """
    with quiet():  # transformers tells of backends that are not needed
        from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_instruct_pix2pix import (
            StableDiffusionInstructPix2PixPipeline,
        )
        from diffusers.schedulers.scheduling_euler_ancestral_discrete import EulerAncestralDiscreteScheduler

    scheduler = model.scheduler
    if not scheduler.config.get("rescale_betas_zero_snr", False):
        with quiet():
            scheduler = EulerAncestralDiscreteScheduler.from_config(scheduler.config)
    parts: dict[str, Any] = {
        "vae": model.vae,
        "text_encoder": model.text_encoder,
        "tokenizer": model.tokenizer,
        "unet": network,
        "scheduler": scheduler,
        "safety_checker": None,
        "feature_extractor": None,
    }
    with quiet():
        return StableDiffusionInstructPix2PixPipeline(**parts, requires_safety_checker=False)


def export(config: Config, model: Model, network: Any, out: Path, *, record: Mapping[str, Any]) -> Path:
    """Write the editor into ``out/editor``, in place of an older one of this run, and return the folder.

    Args:
        network: with the weights that are to be used.
        record: what the training was, for ``training.json`` and the card.

    Raises:
        CannotWrite: the disk refuses; an older editor is still there.
    """
    folder = out / FOLDER
    dtype = getattr(torch, config.export.dtype)
    parts = {"vae": model.vae, "text_encoder": model.text_encoder}
    with quiet():  # diffusers warns of every cast
        copies = {name: deepcopy(part).to("cpu", dtype) for name, part in parts.items()}
        network.to(dtype)
    pipeline = make_pipeline(replace(model, **copies), network)
    fresh = out / f".{FOLDER}.{uuid.uuid4().hex}.partial"
    with new_folder(fresh) as place:
        save_pipeline(pipeline, place)
        (place / DEFAULTS_FILE).write_text(
            json.dumps(asdict(config.export.defaults), indent=1) + "\n", encoding="utf-8"
        )
        (place / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        (place / "README.md").write_text(card(config, record), encoding="utf-8")
    if folder.exists():
        old = out / f".{FOLDER}.{uuid.uuid4().hex}.partial"
        folder.rename(old)
        fresh.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    else:
        fresh.rename(folder)
    return folder
