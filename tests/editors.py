"""A tiny instruction editor of real diffusers classes with random weights, and pictures for it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionInstructPix2PixPipeline
from PIL import Image

import pipelines
from wordbrush.backbones.families import EDITORS
from wordbrush.instruct import Editor, EditorDefaults
from wordbrush.models import Model


@lru_cache
def editor(dtype: torch.dtype = torch.float32) -> Editor:
    """Return an editor for pictures of 32 pixels, of 2 pixels a latent pixel; callers must leave it as it is."""
    parts = {**pipelines.parts("editor", dtype), "scheduler": scheduler()}
    return Editor(Model("tiny", **parts, family=EDITORS), EditorDefaults())


def pipeline(made: Editor, scheduler: Any) -> StableDiffusionInstructPix2PixPipeline:
    """Return diffusers' own pipeline of the same networks."""
    model = made.model
    stock = StableDiffusionInstructPix2PixPipeline(
        unet=model.unet,  # pyright: ignore[reportArgumentType]
        vae=model.vae,
        text_encoder=model.text_encoder,  # pyright: ignore[reportArgumentType]
        tokenizer=model.tokenizer,
        scheduler=scheduler,
        safety_checker=None,  # pyright: ignore[reportArgumentType]
        feature_extractor=None,  # pyright: ignore[reportArgumentType]
        requires_safety_checker=False,
    )
    stock.set_progress_bar_config(disable=True)
    return stock


def save(place: Path) -> Path:
    """Write the editor as diffusers writes it."""
    made = editor()
    pipeline(made, made.model.scheduler).save_pretrained(place)
    return place


def picture(seed: int = 0, size: tuple[int, int] = (32, 32)) -> Image.Image:
    """Return a smooth picture of (height, width) pixels."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)


def scheduler() -> EulerAncestralDiscreteScheduler:
    """Return the kind of scheduler that published editors come with."""
    return EulerAncestralDiscreteScheduler(**pipelines.BETAS, steps_offset=1)
