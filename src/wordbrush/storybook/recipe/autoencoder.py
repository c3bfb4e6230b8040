"""Stage ``autoencoder``: an ``AutoencoderKL`` with f = 8 that turns 128×128 pixels into 8×16×16 latents.

Trained on random 64×64 crops (the network is convolutional, and four crops of four pictures teach more than one
picture) with a squared error, the absolute error of image gradients, and a divergence weight near that of a
likelihood, which keeps unpredictable detail out of the latents: what a latent holds the diffusion model has to learn.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wordbrush.storybook.recipe.budget import Budget
from wordbrush.storybook.recipe.files import write_sheet
from wordbrush.storybook.recipe.loop import Run, Schedule, load_average, put_average
from wordbrush.storybook.recipe.renders import Renders

CROP = 64
SQUARED_WEIGHT = 5.0
"""Weight of the squared error against the absolute error of gradients. The absolute error of pixels instead learned no
colour for the first thousands of steps: its slope says nothing of how wrong a colour is."""

KL_WEIGHT = 1e-3
"""Weight of the mean divergence per latent number, in nats."""


ARCHITECTURE: dict[str, Any] = {
    "block_out_channels": (16, 32, 64, 96),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "latent_channels": 8,
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "mid_block_add_attention": False,
    "sample_size": 128,
}


def build() -> Any:
    """Return the untrained autoencoder, an ``AutoencoderKL`` of 1.7 M parameters."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    torch.manual_seed(0)
    model: Any = AutoencoderKL(**ARCHITECTURE)
    # Begin almost without noise on the latents; otherwise the decoder first learns to ignore them.
    with torch.no_grad():
        model.quant_conv.bias[model.config.latent_channels :] = -4.0
    return model


def to_unit(images: np.ndarray, device: torch.device) -> Tensor:
    """uint8 (n, h, w, 3) in 0..255 to float (n, 3, h, w) in [-1, 1]."""
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def to_pixels(images: Tensor) -> np.ndarray:
    """float (n, 3, h, w) in [-1, 1] to uint8 (n, h, w, 3), rounded."""
    return images.add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()


def reconstruction_error(output: Tensor, pixels: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Return what is to be small, and the squared error and the PSNR in dB as numbers; both (n, 3, h, w) in [-1, 1]."""
    squared = (output - pixels).square().mean()
    edges = sum((a - b).abs().mean() for a, b in zip(_gradients(output), _gradients(pixels), strict=True))
    numbers = {"squared": squared.item(), "psnr": 10 * np.log10(4 / squared.item())}
    return SQUARED_WEIGHT * squared + edges, numbers


def _gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def train(
    renders: Path, out: Path, *, device: torch.device, budget: Budget, total: int, batch: int = 32
) -> bool:
    """Train or continue the stage; returns whether the schedule ended."""
    data = Renders(renders, "train")
    model = build().to(device)
    schedule = Schedule(batch=batch, peak=1.5e-3, total=total, decay=total * 6 // 10, ema=2000)
    run = Run(model, schedule, out)
    run.resume()

    def loss(step: int, indices: np.ndarray, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([7, step])
        corners = rng.integers(0, 128 - CROP + 1, (len(indices), 2))
        crops = np.stack(
            [
                image[y : y + CROP, x : x + CROP]
                for image, (y, x) in zip(data.images(indices), corners, strict=True)
            ]
        )
        pixels = to_unit(crops, device)
        posterior = model.encode(pixels).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator, device=device)
        output = model.decode(posterior.mean + posterior.std * noise).sample
        error, numbers = reconstruction_error(output, pixels)
        divergence = 0.5 * (posterior.mean**2 + posterior.var - 1.0 - posterior.logvar).mean()
        return error + KL_WEIGHT * divergence, {**numbers, "nats": divergence.item()}

    def preview(seen: int) -> None:
        model_average = averaged_model(run, device)
        pixels = to_unit(data.images(range(12)), device)
        with torch.no_grad():
            output = model_average.decode(model_average.encode(pixels).latent_dist.mean).sample
        write_sheet(out / f"sample_{seen:08d}.png", [to_pixels(pixels), to_pixels(output)])

    return run.fit(loss, len(data), budget=budget, preview=preview)


def averaged_model(run: Run, device: torch.device) -> Any:
    """Return a copy of the autoencoder with the averaged weights, in evaluation mode."""
    return put_average(run, build().to(device))


def load_averaged(out: Path, device: torch.device) -> Any:
    """Return the trained autoencoder of a finished or running stage."""
    return load_average(build().to(device), out)
