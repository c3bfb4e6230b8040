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

from wordbrush.files import new_folder
from wordbrush.models import DEFAULTS_FILE, Model
from wordbrush.quiet import quiet
from wordbrush.saving import save_pipeline
from wordbrush.training.card import card
from wordbrush.training.config import Config

FOLDER = "editor"


def make_pipeline(editor: Model) -> Any:
    """Return the editor as diffusers has it.

    Its scheduler is Euler ancestral, as published; a model with zero terminal SNR, whose first sigma is infinite there,
    keeps its own.
    """
    with quiet():  # transformers tells of backends that are not needed
        from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_instruct_pix2pix import (
            StableDiffusionInstructPix2PixPipeline,
        )
        from diffusers.schedulers.scheduling_euler_ancestral_discrete import EulerAncestralDiscreteScheduler

    scheduler = editor.scheduler
    if not scheduler.config.get("rescale_betas_zero_snr", False):
        with quiet():
            scheduler = EulerAncestralDiscreteScheduler.from_config(scheduler.config)
    parts: dict[str, Any] = {
        "vae": editor.vae,
        "text_encoder": editor.text_encoder,
        "tokenizer": editor.tokenizer,
        "unet": editor.unet,
        "scheduler": scheduler,
        "safety_checker": None,
        "feature_extractor": None,
    }
    with quiet():
        return StableDiffusionInstructPix2PixPipeline(**parts, requires_safety_checker=False)


def export(config: Config, editor: Model, out: Path, *, record: Mapping[str, Any]) -> Path:
    """Write the editor into ``out/editor``, in place of an older one of this run, and return the folder.

    Args:
        editor: with the weights that are to be used; its network is cast in place.
        record: what the training was, for ``training.json`` and the card.

    Raises:
        CannotWrite: the disk refuses; an older editor is still there.
    """
    folder = out / FOLDER
    dtype = getattr(torch, config.export.dtype)
    parts = {"vae": editor.vae, "text_encoder": editor.text_encoder}
    with quiet():  # diffusers warns of every cast
        copies = {name: deepcopy(part).to("cpu", dtype) for name, part in parts.items()}
        network: Any = editor.unet.to(dtype)
    pipeline = make_pipeline(replace(editor, unet=network, **copies))
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
