"""What the text-to-image stages learn from, and what is asked of their predictions, whatever network makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wordbrush.storybook.recipe import recogniser, vocabulary
from wordbrush.storybook.recipe.files import write_sheet
from wordbrush.storybook.recipe.judge import labels
from wordbrush.storybook.recipe.latents import Latents, latent_scale
from wordbrush.storybook.recipe.renders import Renders
from wordbrush.storybook.scene import Scene, caption

FIGURE_WEIGHTS = (4.0, 8.0)
"""Weight of the error on the subject and on the companion: together a fifth of a picture, which rain, snow and clouds
drown otherwise. A companion is a quarter of a subject's size."""

SETTLED = 0.05
"""Signal power from which on the place of things is settled. Before that, weighting them would teach the model to
expect larger ones, and nothing could be recognised."""

DROPPED = 0.1
"""Share of captions replaced by the empty prompt, for classifier-free guidance (arXiv:2207.12598)."""

COMPANION_DRAWN, PIXEL_ART_DRAWN = 3, 3
"""How often a picture with a companion, or else one in pixel art, comes in a round of the data; all others come once.
Both are rare and are learned last."""


@dataclass(frozen=True)
class Parts:
    """Where a text-to-image stage finds what the stages before it made."""

    renders: Path
    latents: Path
    tokenizer: Path
    recogniser: Path

    @classmethod
    def under(cls, out: Path) -> Parts:
        """Return the folders of these stages in the folder of the recipe."""
        return cls(out / "renders", out / "latents", out / "tokenizer", out / "recogniser")


@dataclass(frozen=True, eq=False)
class Lesson:
    """A batch of pictures with their captions.

    Attributes:
        clean: (n, 8, 16, 16) scaled latents.
        tokens: (n, 32) token ids of the captions.
        figures: (n, 2, 16, 16), the share of every place that the subject and the companion cover.
        named: what the captions name, as ``recogniser.shortfall`` takes it.
    """

    clean: Tensor
    tokens: Tensor
    figures: Tensor
    named: dict[str, Tensor]


class Lessons:
    """The training pictures, in the order and as often as they are learned from."""

    def __init__(self, parts: Parts, device: torch.device) -> None:
        self.tokenizer = vocabulary.load(parts.tokenizer)
        self._renders, self._latents = Renders(parts.renders, "train"), Latents(parts.latents)
        self._scale = latent_scale(parts.latents)
        self._reader = recogniser.load(parts.recogniser, device)
        self._rows = drawn_rows(self._renders.scenes)
        self._device = device

    def __len__(self) -> int:
        return len(self._rows)

    def at(self, drawn: np.ndarray, step: int) -> Lesson:
        """Return the pictures with these places in a round, captioned as at this step."""
        indices, scenes = self._rows[drawn], self._renders.scenes
        captions = captions_at(scenes, indices, step)
        named = labels([scenes[int(i)] for i in indices], recogniser.READ)
        dropped = torch.tensor([not text for text in captions])
        figures = torch.from_numpy(self._renders.masks(indices)).float()
        return Lesson(
            (self._latents.batch(indices) * self._scale).to(self._device),
            tokenize(self.tokenizer, captions).to(self._device),
            nn.functional.avg_pool2d(figures, 8).to(self._device),
            {name: named[name].masked_fill(dropped, -1).to(self._device) for name in recogniser.NAMED},
        )

    def loss(
        self, lesson: Lesson, error: Tensor, predicted: Tensor, signal: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        """Return the squared error, weighted, and what the recogniser misses; and both as numbers to log.

        Args:
            error: (n, 8, 16, 16) squared errors of what the network predicts.
            predicted: (n, 8, 16, 16) clean latents that the prediction amounts to.
            signal: (n,) signal powers of what it was made from.
        """
        missing = recogniser.shortfall(self._reader, predicted, lesson.clean, lesson.named)
        missing = missing * (signal >= SETTLED)
        weight = figure_weights(lesson.figures, signal)
        numbers = {"error": error.detach().mean().item(), "missing": missing.detach().mean().item()}
        return (weight * error).mean() + missing.mean(), numbers


def drawn_rows(scenes: Sequence[Scene]) -> np.ndarray:
    """Return the indices of one round of the data, with what is rare and hard in it more than once."""
    times = [
        COMPANION_DRAWN if scene.companion else PIXEL_ART_DRAWN if scene.style == "pixel art" else 1
        for scene in scenes
    ]
    return np.repeat(np.arange(len(scenes)), times)


def stratified(n: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """Return n numbers within 0 and 1, evenly spaced from a common random one: (n,)."""
    return (torch.rand(1, generator=generator, device=device) + torch.arange(n, device=device) / n) % 1.0


def figure_weights(figures: Tensor, signal: Tensor) -> Tensor:
    """Return weights of mean one over a batch, (n, 1, h, w).

    Args:
        figures: (n, 2, h, w), the share of every place that the subject and the companion cover.
        signal: (n,) signal powers.
    """
    settled = (signal >= SETTLED).view(-1, 1, 1, 1)
    more = torch.tensor(FIGURE_WEIGHTS, device=figures.device).view(1, -1, 1, 1) - 1
    weight = 1 + (more * figures).sum(1, keepdim=True) * settled
    return weight / weight.mean()


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies in bfloat16 itself: a fifth more samples a second on a processor that does."""
    return device.type == "cuda" or bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def captions_at(scenes: Sequence[Scene], indices: np.ndarray, step: int) -> list[str]:
    """One wording per picture, another one each time the picture comes round; a tenth are empty."""
    rng = np.random.default_rng([11, step])
    variants, dropped = rng.integers(0, 2**31, len(indices)), rng.random(len(indices)) < DROPPED
    return [
        "" if drop else caption(scenes[int(index)], int(variant))
        for index, variant, drop in zip(indices, variants, dropped, strict=True)
    ]


def tokenize(tokenizer: Any, prompts: Sequence[str]) -> Tensor:
    """Token ids (n, 32), padded with the end mark."""
    batch = tokenizer(
        list(prompts), padding="max_length", max_length=vocabulary.MAX_TOKENS, return_tensors="pt"
    )
    return batch.input_ids


PREVIEWS = (
    "a cat on a beach at sunset",
    "a dog on a beach at sunset",
    "a red car in a city at night",
    "a watercolor of a fox in a forest",
    "a pencil sketch of a castle near a mountain",
    "an oil painting of a horse in a meadow",
    "a rocket on the moon with a balloon",
    "a penguin by a lake in the snow",
    "a house in a desert in the fog",
    "pixel art of a robot in a room",
    "a dinosaur near a volcano in the rain",
    "a sunflower in a meadow",
)


def preview_noise(device: torch.device) -> Tensor:
    """Return the noise that previews begin with: one (8, 16, 16) for each."""
    return torch.randn(len(PREVIEWS), 8, 16, 16, generator=torch.Generator().manual_seed(1)).to(device)


def write_previews(latents: Tensor, parts: Parts, path: Path) -> None:
    """Decode the scaled latents of all previews and write them as one PNG."""
    from wordbrush.storybook.recipe import autoencoder

    decoder = autoencoder.load_averaged(parts.latents.parent / "autoencoder", latents.device)
    with torch.no_grad():
        images = autoencoder.to_pixels(decoder.decode(latents / latent_scale(parts.latents)).sample)
    write_sheet(path, [images[:6], images[6:]])
