"""Stage ``contrastive``: a small ``CLIPModel`` (arXiv:2103.00020) that scores how a picture and a caption agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from wordbrush.storybook.recipe import vocabulary
from wordbrush.storybook.recipe.autoencoder import to_unit
from wordbrush.storybook.recipe.loop import Run, Schedule
from wordbrush.storybook.recipe.renders import Renders
from wordbrush.storybook.recipe.text_to_image import tokenize
from wordbrush.storybook.scene import caption

MEAN, STD = 0.5, 0.5
"""Pixel statistics the shipped image processor uses: pixels in [-1, 1]."""


def build(vocab_size: int) -> Any:
    """Return the untrained model: a 16-pixel-patch vision transformer and a three-layer text transformer."""
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    text = {
        "vocab_size": vocab_size,
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": vocabulary.MAX_TOKENS,
        "projection_dim": 128,
        "bos_token_id": vocab_size - 2,
        "eos_token_id": vocab_size - 1,
        "pad_token_id": vocab_size - 1,
    }
    vision = {
        "hidden_size": 192,
        "intermediate_size": 768,
        "num_hidden_layers": 5,
        "num_attention_heads": 6,
        "image_size": 128,
        "patch_size": 16,
        "projection_dim": 128,
    }
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=128))


def train(
    renders: Path,
    tokenizer_dir: Path,
    out: Path,
    *,
    device: torch.device,
    minutes: float,
    total: int,
    batch: int = 128,
) -> bool:
    """Train or continue the stage; returns whether the schedule ended."""
    data, tokenizer = Renders(renders, "train"), vocabulary.load(tokenizer_dir)
    model = build(len(tokenizer)).to(device)
    run = Run(
        model, Schedule(batch=batch, peak=6e-4, total=total, decay=total // 2, warmup=12_800, ema=6000), out
    )
    if run.checkpoint.exists():
        run.load()

    def loss(step: int, indices: np.ndarray, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        variants = np.random.default_rng([13, step]).integers(0, 2**31, len(indices))
        tokens = tokenize(
            tokenizer, [caption(data.scenes[int(i)], int(k)) for i, k in zip(indices, variants, strict=True)]
        ).to(device)
        pixels = to_unit(data.images(indices), device)
        noise = torch.randn(pixels.shape, generator=generator, device=device)
        output = model(input_ids=tokens, pixel_values=pixels + 0.05 * noise)
        logits = output.logits_per_image
        truth = torch.arange(len(indices), device=device)
        value = 0.5 * (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth))
        return value, {"right": (logits.argmax(1) == truth).float().mean().item()}

    return run.fit(loss, len(data), minutes=minutes)
