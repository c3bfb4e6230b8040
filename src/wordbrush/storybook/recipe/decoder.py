"""Stage ``decoder``: the autoencoder's decoder trained on alone, so that the latents stay what they are.

What a picture looks like depends on the decoder, and all that learned from latents depends on the encoder: this stage
makes pictures sharper without spoiling a trained text-to-image model. It sees whole pictures, as the decoder does in
use, where the normalisation averages over more than in a crop.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wordbrush.storybook.recipe import autoencoder
from wordbrush.storybook.recipe.budget import Budget
from wordbrush.storybook.recipe.files import write_sheet
from wordbrush.storybook.recipe.latents import Latents
from wordbrush.storybook.recipe.loop import Run, Schedule, load_average, put_average
from wordbrush.storybook.recipe.renders import Renders

NOISE = 0.05
"""Standard deviation of the noise on the latents, which have one of about 1: those of a model are not exact."""


class Decoder(nn.Module):
    """The part of an ``AutoencoderKL`` behind its latents."""

    def __init__(self, whole: Any) -> None:
        super().__init__()
        self.post_quant_conv: nn.Module = whole.post_quant_conv
        self.decoder: nn.Module = whole.decoder

    def forward(self, latents: Tensor) -> Tensor:
        """(n, 8, h, w) latents, not scaled, to pixels in [-1, 1], (n, 3, 8 h, 8 w)."""
        return self.decoder(self.post_quant_conv(latents))


def train(out: Path, folder: Path, *, device: torch.device, budget: Budget, total: int, batch: int) -> bool:
    """Train or continue the stage from the weights of the stage ``autoencoder``; returns whether the schedule ended."""
    data, latents = Renders(out / "renders", "train"), Latents(out / "latents")
    model = Decoder(autoencoder.load_averaged(out / "autoencoder", device).train())
    run = Run(model, Schedule(batch=batch, peak=1e-3, total=total, decay=total * 6 // 10, ema=2000), folder)
    run.resume()

    def loss(step: int, indices: np.ndarray, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        pixels = autoencoder.to_unit(data.images(indices), device)
        codes = latents.batch(indices).to(device)
        codes += NOISE * torch.randn(codes.shape, generator=generator, device=device)
        return autoencoder.reconstruction_error(model(codes), pixels)

    def preview(seen: int) -> None:
        rows = np.arange(12)
        averaged = averaged_decoder(run, out / "autoencoder", device)
        with torch.no_grad():
            output = averaged(latents.batch(rows).to(device))
        write_sheet(folder / f"sample_{seen:08d}.png", [data.images(rows), autoencoder.to_pixels(output)])

    return run.fit(loss, len(latents), budget=budget, preview=preview)


def averaged_decoder(run: Run, weights: Path, device: torch.device) -> Decoder:
    """Return the decoder with the averaged weights, in evaluation mode."""
    return put_average(run, Decoder(autoencoder.load_averaged(weights, device)))


def load(out: Path, device: torch.device) -> Any:
    """Return the ``AutoencoderKL`` of a recipe's folder, with the decoder of this stage if the stage has been run."""
    whole = autoencoder.load_averaged(out / "autoencoder", device)
    if (out / "decoder" / "state.safetensors").exists():
        load_average(Decoder(whole), out / "decoder")
    return whole
