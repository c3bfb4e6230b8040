"""Stage ``judge``: classifiers that read a picture's attributes, trained on renders only.

They measure models and edits and are therefore kept out of everything they judge: no model is trained or filtered with
them, and they see pictures (split ``judge``) that no other stage sees. ``shape`` reads subject and companion from the
grey picture, after random hue turns, so that form decides and not colour; ``place`` sees colour, since sand and grass
differ in little else, but with the hue turned somewhat, and now and then grey; ``look`` reads time, style and colour;
``outline`` finds the subject's silhouette, also in grey.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wordbrush.storybook.recipe.autoencoder import to_unit
from wordbrush.storybook.recipe.budget import Budget
from wordbrush.storybook.recipe.loop import Run, Schedule
from wordbrush.storybook.recipe.renders import Renders
from wordbrush.storybook.scene import COLOURS, COMPANIONS, PLACES, STYLES, SUBJECTS, TIMES, Scene

NONE = "none"
HEADS: dict[str, dict[str, tuple[str, ...]]] = {
    "shape": {"subject": SUBJECTS, "companion": (NONE, *COMPANIONS)},
    "place": {"place": PLACES},
    "look": {"time": TIMES, "style": STYLES, "colour": (NONE, *COLOURS)},
}
KINDS = ("shape", "place", "look", "outline")
HUE_TURN = {"shape": torch.pi, "outline": torch.pi, "place": 0.35}
"""The largest turn of the hue, in radians, that a judge is trained under; ``look`` has to see colours as they are."""

GREY_SHARE = 0.25
"""Share of the pictures that ``place`` is trained on in grey."""

STRENGTHS = TIMES[1:]
"""The times and weathers that can be weaker or stronger; noon cannot."""


def labels(scenes: list[Scene], heads: dict[str, tuple[str, ...]]) -> dict[str, Tensor]:
    """Class indices of each attribute, (n,) int64."""
    return {
        name: torch.tensor([values.index(getattr(scene, name) or NONE) for scene in scenes])
        for name, values in heads.items()
    }


def reading_loss(
    logits: dict[str, Tensor], scenes: list[Scene], heads: dict[str, tuple[str, ...]]
) -> tuple[Tensor, dict[str, float]]:
    """Return the summed cross-entropy of (n, classes) logits per attribute, and the share of each read rightly."""
    truths = labels(scenes, heads)
    losses = [F.cross_entropy(logits[name], truth.to(logits[name].device)) for name, truth in truths.items()]
    right = {
        name: (logits[name].argmax(1).cpu() == truth).float().mean().item() for name, truth in truths.items()
    }
    return torch.stack(losses).sum(), right


def strengths(scenes: list[Scene], seeds: list[int]) -> Tensor:
    """How strong each of ``STRENGTHS`` is in a picture: 0 where it is absent, 0.5 to 1 where it is there, (n, 5)."""
    from wordbrush.storybook.world.layout import layout

    amounts = [0.5 + 0.5 * layout(seed).amount for seed in seeds]
    rows = [
        [amount * (scene.time == time) for time in STRENGTHS]
        for scene, amount in zip(scenes, amounts, strict=True)
    ]
    return torch.tensor(rows)


class Judge(nn.Module):
    """A small residual network with one linear head per attribute; ``look`` also estimates strengths."""

    def __init__(self, kind: str, widths: tuple[int, ...] = (32, 64, 96, 128)) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind, self.heads_of = kind, HEADS[kind]
        channels = 1 if kind == "shape" else 3
        self.stem = nn.Conv2d(channels, widths[0], 5, stride=2, padding=2)
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in itertools.pairwise(widths)
        )
        self.mix = nn.ModuleList(nn.Conv2d(w, w, 3, padding=1) for w in widths[1:])
        self.norms = nn.ModuleList(nn.GroupNorm(8, w) for w in widths[1:])
        self.heads = nn.ModuleDict(
            {name: nn.Linear(2 * widths[-1], len(v)) for name, v in self.heads_of.items()}
        )
        self.strength = nn.Linear(2 * widths[-1], len(STRENGTHS)) if kind == "look" else None

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """(n, 3, 128, 128) in [-1, 1] to logits (n, classes) per attribute and ``strength`` (n, 5) in [0, 1]."""
        x = F.silu(self.stem(grey(pixels) if self.kind == "shape" else pixels))
        for down, mix, norm in zip(self.down, self.mix, self.norms, strict=True):
            x = F.silu(norm(down(x)))
            x = x + F.silu(mix(x))
        pooled = torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1)
        output = {name: head(pooled) for name, head in self.heads.items()}
        return output if self.strength is None else {**output, "strength": self.strength(pooled).sigmoid()}


def luma(pixels: Tensor) -> Tensor:
    """Brightness of (n, 3, h, w), (n, 1, h, w)."""
    return (pixels * pixels.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)


def grey(pixels: Tensor) -> Tensor:
    """Luma of (n, 3, h, w), stretched to zero mean and unit deviation per picture, (n, 1, h, w)."""
    bright = luma(pixels)
    return (bright - bright.mean((2, 3), keepdim=True)) / (bright.std((2, 3), keepdim=True) + 0.05)


def turn_hue(pixels: Tensor, angle: Tensor) -> Tensor:
    """Rotate colours about the grey axis by ``angle`` (n,) radians."""
    cos, sin = angle.cos(), angle.sin()
    third, root = 1 / 3, 3**-0.5
    a, b, c = cos + (1 - cos) * third, (1 - cos) * third - root * sin, (1 - cos) * third + root * sin
    matrix = torch.stack([a, b, c, c, a, b, b, c, a], dim=1).view(-1, 3, 3)
    return torch.einsum("nij,njhw->nihw", matrix, pixels).clamp(-1, 1)


def augment(pixels: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    """Blur, noise and contrast, and a turn of the hue or none of it where the judge allows; one draw per picture."""
    n, device = len(pixels), pixels.device

    def draw() -> Tensor:
        return torch.rand(n, generator=generator, device=device)

    if kind in HUE_TURN:
        pixels = turn_hue(pixels, (2 * draw() - 1) * HUE_TURN[kind])
    if kind == "place":
        grey_now = (draw() < GREY_SHARE).view(-1, 1, 1, 1)
        pixels = torch.where(grey_now, luma(pixels).expand_as(pixels), pixels)
    soft = F.avg_pool2d(F.pad(pixels, (2, 2, 2, 2), mode="reflect"), 5, stride=1)
    small = F.interpolate(
        F.interpolate(pixels, scale_factor=0.5, mode="area"), scale_factor=2.0, mode="bilinear"
    )
    blur, reduce = draw().view(-1, 1, 1, 1) * 0.9, (draw() < 0.3).view(-1, 1, 1, 1)
    pixels = torch.where(reduce, small, torch.lerp(pixels, soft, blur))
    contrast = (0.8 + 0.4 * draw()).view(-1, 1, 1, 1)
    noise = torch.randn(pixels.shape, generator=generator, device=device) * (0.08 * draw()).view(-1, 1, 1, 1)
    return (pixels * contrast + noise).clamp(-1, 1)


class Outliner(nn.Module):
    """Finds the subject's silhouette: grey picture to logits at a quarter of the resolution."""

    def __init__(self, widths: tuple[int, ...] = (24, 48, 64, 96)) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(1, widths[0], 5, stride=2, padding=2)
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in itertools.pairwise(widths)
        )
        self.mix = nn.ModuleList(nn.Conv2d(w, w, 3, padding=1) for w in widths[1:])
        self.norms = nn.ModuleList(nn.GroupNorm(8, w) for w in widths[1:])
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in itertools.pairwise(widths[1:]))
        self.refine = nn.ModuleList(nn.Conv2d(w, w, 3, padding=1) for w in widths[1:-1])
        self.head = nn.Conv2d(widths[1], 1, 3, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, 128, 128) in [-1, 1] to silhouette logits (n, 32, 32)."""
        x, skips = F.silu(self.stem(grey(pixels))), []
        for down, mix, norm in zip(self.down, self.mix, self.norms, strict=True):
            x = F.silu(norm(down(x)))
            x = x + F.silu(mix(x))
            skips.append(x)
        x = skips.pop()
        for up, refine in zip(reversed(self.up), reversed(self.refine), strict=True):
            x = F.interpolate(up(x), scale_factor=2.0) + skips.pop()
            x = x + F.silu(refine(x))
        return self.head(x)[:, 0]


def build(kind: str) -> Judge | Outliner:
    """Return the untrained judge of this kind, one of ``KINDS``."""
    return Outliner() if kind == "outline" else Judge(kind)


def train(
    renders: Path, out: Path, kind: str, *, device: torch.device, budget: Budget, total: int, batch: int = 64
) -> bool:
    """Train or continue one judge; returns whether the schedule ended."""
    data = Renders(renders, "judge")
    model = build(kind).to(device)
    run = Run(model, Schedule(batch=batch, peak=2e-3, total=total, decay=total // 2, ema=6000), out)
    run.resume()

    def loss(step: int, indices: np.ndarray, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        pixels = augment(to_unit(data.images(indices), device), kind, generator)
        if isinstance(model, Outliner):
            truth = quarter(data.masks(indices)[:, 0]).to(device)
            logits = model(pixels)
            return F.binary_cross_entropy_with_logits(logits, truth), {
                "iou": overlap(logits > 0, truth > 0.5).mean().item()
            }
        found, scenes = model(pixels), [data.scenes[int(i)] for i in indices]
        value, right = reading_loss(found, scenes, model.heads_of)
        if "strength" in found:
            amounts = strengths(scenes, [data.seeds[int(i)] for i in indices])
            error = F.mse_loss(found["strength"], amounts.to(device))
            value = value + 10 * error
            right["strength_rmse"] = error.sqrt().item()
        return value, right

    return run.fit(loss, len(data) - HELD_OUT, budget=budget)


HELD_OUT = 1000
"""The last pictures of the judge split are never trained on; accuracy is measured on them."""


def quarter(masks: np.ndarray) -> Tensor:
    """Share of each 4×4 block covered: bool (n, 128, 128) to float (n, 32, 32) in [0, 1]."""
    return torch.from_numpy(masks.reshape(len(masks), 32, 4, 32, 4).mean((2, 4))).float()


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boolean masks (n, h, w), (n,) in [0, 1]; 1 where both are empty."""
    both, either = (a & b).sum((1, 2)).float(), (a | b).sum((1, 2)).float()
    return torch.where(either > 0, both / either.clamp(min=1), torch.ones_like(both))


@torch.no_grad()
def accuracy(model: Judge | Outliner, renders: Path, device: torch.device) -> dict[str, float]:
    """On held-out renders: the share read rightly per attribute, or the mean overlap of the silhouettes."""
    data = Renders(renders, "judge")
    indices = range(len(data) - HELD_OUT, len(data))
    results: dict[str, list[Tensor]] = {}
    for start in range(indices.start, indices.stop, 100):
        rows = range(start, start + 100)
        output = model(to_unit(data.images(rows), device))
        if isinstance(model, Outliner):
            scores = {"iou": overlap(output.cpu() > 0, quarter(data.masks(rows)[:, 0]) > 0.5)}
        else:
            truth = labels([data.scenes[i] for i in rows], model.heads_of)
            scores = {name: (output[name].argmax(1).cpu() == truth[name]).float() for name in truth}
        for name, value in scores.items():
            results.setdefault(name, []).append(value)
    return {name: torch.cat(values).mean().item() for name, values in results.items()}
