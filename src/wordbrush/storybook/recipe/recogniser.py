"""Stage ``recogniser``: reads attributes from a picture's latents, so that ``text_to_image`` can learn to show them.

The squared error of a latent asks for the right brightness of every spot and little for the right shape: a subject is a
fifth of a picture. So the clean latents that a prediction amounts to are also compared as this network sees them
(``shortfall``): its features have to be those of the true latents, as with perceptual losses of diffusion models
(arXiv:2401.00110, arXiv:2411.04873), and what the caption names has to be read in them. It is trained on the training
renders; the judges that measure are other networks, of pixels, with renders of their own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wordbrush.storybook.recipe.budget import Budget
from wordbrush.storybook.recipe.judge import HEADS, reading_loss
from wordbrush.storybook.recipe.latents import Latents, latent_scale
from wordbrush.storybook.recipe.loop import Run, Schedule, load_average
from wordbrush.storybook.recipe.renders import Renders

READ = {name: values for heads in HEADS.values() for name, values in heads.items()}
"""Every attribute with its values."""

NAMED = ("subject", "companion", "colour", "style")
"""What has to be read in a prediction; place and time come out right without being asked for."""

SOFTENED, NOISED = 0.8, 0.6
"""The most blur, and the largest deviation of noise, that it is trained under: predictions are soft and uneven."""

FEATURE_WEIGHT, NAMED_WEIGHT = 0.5, 0.01
"""Chosen so that either gradient stays below that of the squared error."""


class Block(nn.Module):
    """Two convolutions and a skip; ``stride`` 2 halves the sides. Both widths are multiples of 8."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, inputs)
        self.first = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
        self.between = nn.GroupNorm(8, outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, outputs, h / stride, w / stride)."""
        y = self.second(F.silu(self.between(self.first(F.silu(self.norm(x))))))
        return y + self.skip(F.avg_pool2d(x, self.stride) if self.stride > 1 else x)


class Recogniser(nn.Module):
    """A small residual network with one linear head per attribute."""

    def __init__(self, widths: tuple[int, int, int] = (64, 96, 128)) -> None:
        super().__init__()
        torch.manual_seed(0)
        fine, middle, coarse = widths
        self.stem = nn.Conv2d(8, fine, 3, padding=1)
        self.blocks = nn.ModuleList(
            [Block(fine, fine), Block(fine, middle, 2), Block(middle, coarse, 2), Block(coarse, coarse)]
        )
        self.norm = nn.GroupNorm(8, coarse)
        self.heads = nn.ModuleDict(
            {name: nn.Linear(2 * coarse, len(values)) for name, values in READ.items()}
        )

    def forward(self, latents: Tensor) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Read (n, 8, 16, 16) scaled clean latents.

        Returns:
            Logits (n, values) of each attribute, and the features at 16 × 16, 8 × 8 and 4 × 4.
        """
        features = [self.stem(latents)]
        for block in self.blocks:
            features.append(block(features[-1]))
        last = F.silu(self.norm(features[-1]))
        pooled = torch.cat([last.mean((2, 3)), last.amax((2, 3))], dim=1)
        return {name: head(pooled) for name, head in self.heads.items()}, [features[i] for i in (1, 2, 4)]


def shortfall(model: Recogniser, predicted: Tensor, clean: Tensor, named: dict[str, Tensor]) -> Tensor:
    """Return by how much predictions are not yet seen as the truth, (n,).

    Args:
        predicted, clean: (n, 8, 16, 16) scaled latents, of which ``clean`` is the truth.
        named: for each of ``NAMED`` the true class (n,), -1 where it is not to be asked for.
    """
    logits, seen = model(predicted)
    with torch.no_grad():
        _, truth = model(clean)
    apart = [(_even(a) - _even(b)).square().mean((1, 2, 3)) for a, b in zip(seen, truth, strict=True)]
    unread = [F.cross_entropy(logits[name], named[name], ignore_index=-1, reduction="none") for name in NAMED]
    return FEATURE_WEIGHT * torch.stack(apart).mean(0) + NAMED_WEIGHT * torch.stack(unread).sum(0)


def _even(features: Tensor) -> Tensor:
    """Give the features of every place the same size, so that no place outweighs the others."""
    return features / (features.square().mean(1, keepdim=True).sqrt() + 0.1)


def disturb(latents: Tensor, generator: torch.Generator) -> Tensor:
    """Blur and noise latents, (n, 8, 16, 16), each by amounts of its own."""
    n, device = len(latents), latents.device
    soft = F.avg_pool2d(F.pad(latents, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    blur, noise = torch.rand(2, n, 1, 1, 1, generator=generator, device=device)
    drawn = torch.randn(latents.shape, generator=generator, device=device)
    return torch.lerp(latents, soft, SOFTENED * blur) + NOISED * noise * drawn


def train(
    renders: Path,
    latents: Path,
    out: Path,
    *,
    device: torch.device,
    budget: Budget,
    total: int,
    batch: int = 64,
) -> bool:
    """Train or continue the stage on the training renders; returns whether the schedule ended."""
    data, scenes, scale = Latents(latents), Renders(renders, "train").scenes, latent_scale(latents)
    model = Recogniser().to(device)
    run = Run(model, Schedule(batch=batch, peak=2e-3, total=total, decay=total * 2 // 3, ema=4000), out)
    run.resume()

    def loss(step: int, indices: np.ndarray, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        logits, _ = model(disturb((data.batch(indices) * scale).to(device), generator))
        return reading_loss(logits, [scenes[int(i)] for i in indices], READ)

    return run.fit(loss, len(data), budget=budget)


def load(folder: Path, device: torch.device) -> Recogniser:
    """Return the trained network with its averaged weights, frozen."""
    return load_average(Recogniser().to(device), folder).requires_grad_(False)
