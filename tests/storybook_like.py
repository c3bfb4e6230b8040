"""Tiny pipelines of random weights that read the storybook's captions: its tokenizer, and texts of 48 tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionInstructPix2PixPipeline, StableDiffusionPipeline
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizerFast

import editors
import pipelines
from wordbrush.models import EMBEDDED

LENGTH = 48


def save_editor(place: Path) -> Path:
    """Write an instruction editor for pictures of 32 pixels."""
    return _save(StableDiffusionInstructPix2PixPipeline, "editor", place, scheduler=editors.scheduler())


def save_model(place: Path, *, steps: int = 2) -> Path:
    """Write a text-to-image model for pictures of 32 pixels that takes so many steps by default."""
    _save(StableDiffusionPipeline, "sd1", place)
    (place / "wordbrush.json").write_text(json.dumps({"steps": steps}))
    return place


def _save(kind: Any, parts: str, place: Path, **changed: Any) -> Path:
    made = {**pipelines.parts(parts, torch.float32), **_texts(), **changed}
    kind(**made, safety_checker=None, feature_extractor=None, requires_safety_checker=False).save_pretrained(
        place
    )
    return place


def _texts() -> dict[str, Any]:
    tokenizer = CLIPTokenizerFast.from_pretrained(
        EMBEDDED["storybook"] / "tokenizer", model_max_length=LENGTH
    )
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return {"text_encoder": CLIPTextModel(config).eval(), "tokenizer": tokenizer}
