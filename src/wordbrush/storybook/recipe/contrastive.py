"""Stage ``contrastive``: a small ``CLIPModel`` (arXiv:2103.00020) that scores how a picture and a caption agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from wordbrush.storybook.recipe import vocabulary
from wordbrush.storybook.recipe.autoencoder import to_unit
from wordbrush.storybook.recipe.budget import Budget
from wordbrush.storybook.recipe.lessons import tokenize
from wordbrush.storybook.recipe.loop import Run, Schedule
from wordbrush.storybook.recipe.renders import Renders
from wordbrush.storybook.scene import (
    COLOURS,
    COMPANIONS,
    PLACES,
    STYLES,
    SUBJECTS,
    TIMES,
    Scene,
    UnknownScene,
    caption,
)

MEAN, STD = 0.5, 0.5
"""Pixel statistics the shipped image processor uses: pixels in [-1, 1]."""

WORDS = {
    "subject": SUBJECTS,
    "place": PLACES,
    "time": TIMES,
    "style": STYLES,
    "companion": COMPANIONS,
    "colour": COLOURS,
}


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
    budget: Budget,
    total: int,
    batch: int = 128,
) -> bool:
    """Train or continue the stage; returns whether the schedule ended."""
    data, tokenizer = Renders(renders, "train"), vocabulary.load(tokenizer_dir)
    model = build(len(tokenizer)).to(device)
    run = Run(
        model, Schedule(batch=batch, peak=6e-4, total=total, decay=total // 2, warmup=12_800, ema=6000), out
    )
    run.resume()

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

    return run.fit(loss, len(data), budget=budget)


@torch.no_grad()
def accuracy(model: Any, tokenizer: Any, data: Renders, indices: range) -> dict[str, float]:
    """For each attribute, the share of pictures that agree with their caption more than with another.

    The other caption differs in that attribute alone, so that chance is a half. Pictures without the attribute are left
    out of its share.
    """
    found: dict[str, list[bool]] = {name: [] for name in WORDS}
    for index in indices:
        image, scene = data[index]
        others = _one_word_away(scene, np.random.default_rng([41, index]))
        tokens = tokenize(tokenizer, [caption(one) for one in (scene, *others.values())])
        pixels = to_unit(image[None], torch.device("cpu"))
        truth, *rest = model(input_ids=tokens, pixel_values=pixels).logits_per_image[0].tolist()
        for name, other in zip(others, rest, strict=True):
            found[name].append(truth > other)
    return {name: sum(right) / len(right) for name, right in found.items() if right}


def _one_word_away(scene: Scene, rng: np.random.Generator) -> dict[str, Scene]:
    """Return the scene with another word for each attribute that it has; a subject that takes no colour is left out."""
    scenes = {}
    for name, words in WORDS.items():
        present = getattr(scene, name)
        if present is None:
            continue
        other = str(rng.choice([word for word in words if word != present]))
        try:
            scenes[name] = replace(scene, **{name: other})
        except UnknownScene:
            continue
    return scenes
