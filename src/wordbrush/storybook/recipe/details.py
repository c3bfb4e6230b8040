"""Stage ``details``: the decoder trained against a critic, also on what ``text_to_image`` predicts.

A squared error answers whatever a latent leaves open with the mean of all that it could be, so edges blur and the
squares of pixel art melt. Here a critic, which knows the latent too, tells pictures from decoded ones patch by patch
(arXiv:1611.07004), and the decoder has to convince it. Half of the latents are those of text-to-image predictions from
some noise, which are softer than those of pictures: that is what the decoder gets in use. The encoder is not touched,
so whatever learned from its latents goes on to fit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from wordbrush.storybook.recipe import autoencoder, decoder, lessons, text_to_image, vocabulary
from wordbrush.storybook.recipe.budget import Budget
from wordbrush.storybook.recipe.decoder import NOISE, Decoder
from wordbrush.storybook.recipe.files import write_sheet
from wordbrush.storybook.recipe.latents import Latents, latent_scale
from wordbrush.storybook.recipe.loop import Run, Schedule, load_average, put_average
from wordbrush.storybook.recipe.renders import Renders

PERSUASION = 1.0
"""The pull of a critic that is always right on the decoded pixels, as a share of the reconstruction error's. One that
guesses pulls at nothing."""

STEADINESS, SHAKE = 4.0, 0.05
"""Weight of how much the critic's scores of pictures may change under noise of this deviation: the gradient penalty
R1 by finite differences (arXiv:2501.08316). Without it the critic is soon sure of everything."""

SIGNAL = (0.3, 0.98)
"""Signal power of the latents that text-to-image predicts from. With less of it a prediction has another layout than
the picture it should be decoded to."""

CRISP = "pixel art"
"""The style of every fourth picture that is learned from, beside those that come by themselves: its squares are the
finest details of all, and the first to melt. The more of them there are, the more squares plain pictures get, too."""


class Critic(nn.Module):
    """Scores patches of about 40 × 40 pixels by how much they look like pictures; the latent is a second input."""

    def __init__(self, widths: tuple[int, int, int] = (32, 64, 96)) -> None:
        super().__init__()
        torch.manual_seed(1)
        fine, middle, coarse = widths
        self.look = nn.Sequential(
            nn.Conv2d(3, fine, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(fine, middle, 4, 2, 1),
            nn.GroupNorm(8, middle),
            nn.LeakyReLU(0.2),
            nn.Conv2d(middle, coarse, 4, 2, 1),
            nn.GroupNorm(8, coarse),
            nn.LeakyReLU(0.2),
        )
        self.score = nn.Sequential(
            nn.Conv2d(coarse + 8, coarse, 3, 1, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(coarse, 1, 3, 1, 1),
        )

    def forward(self, pixels: Tensor, codes: Tensor) -> Tensor:
        """(n, 3, 128, 128) pixels in [-1, 1] and (n, 8, 16, 16) scaled latents to (n, 1, 16, 16) scores."""
        return self.score(torch.cat([self.look(pixels), codes], dim=1))


class Details(nn.Module):
    """Decoder and critic as one module, so that one run trains and saves both."""

    def __init__(self, whole: Any) -> None:
        super().__init__()
        self.painter = Decoder(whole)
        self.critic = Critic()


def train(out: Path, folder: Path, *, device: torch.device, budget: Budget, total: int, batch: int) -> bool:
    """Train or continue the stage from what ``decoder`` and ``text_to_image`` have left under ``out``.

    Returns:
        Whether the schedule ended.

    Raises:
        WordbrushError: a stage before this one has not been run, or ``folder`` holds the state of another model.
    """
    data, latents = Renders(out / "renders", "train"), Latents(out / "latents")
    scale, tokenizer = latent_scale(out / "latents"), vocabulary.load(out / "tokenizer")
    model: Any = Details(decoder.load(out, device))
    model.train().to(device, memory_format=torch.channels_last)  # a seventh faster on CPUs
    schedule = Schedule(batch=batch, peak=4e-4, total=total, decay=total // 2, warmup=800, ema=2000)
    run = Run(model, schedule, folder)
    run.resume()
    crisp = np.array([index for index, scene in enumerate(data.scenes) if scene.style == CRISP])
    drawer = text_to_image.STAGE.load(out / "text_to_image", tokenizer, device).requires_grad_(False)
    signal = text_to_image.alphas_cumprod().to(device)
    usable = torch.nonzero((signal >= SIGNAL[0]) & (signal <= SIGNAL[1]))[:, 0]

    def predicted(clean: Tensor, indices: np.ndarray, step: int, generator: torch.Generator) -> Tensor:
        captions = lessons.captions_at(data.scenes, indices, step)
        tokens = lessons.tokenize(tokenizer, captions).to(device)
        drawn = torch.randint(len(usable), (len(clean),), generator=generator, device=device)
        timesteps = usable[drawn]
        alpha = signal[timesteps].sqrt().view(-1, 1, 1, 1)
        sigma = (1 - signal[timesteps]).sqrt().view(-1, 1, 1, 1)
        noisy = alpha * clean + sigma * torch.randn(clean.shape, generator=generator, device=device)
        with torch.no_grad():
            return alpha * noisy - sigma * drawer(noisy, timesteps, tokens)

    def loss(step: int, indices: np.ndarray, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        indices = np.where(np.arange(len(indices)) % 4 == 3, crisp[indices % len(crisp)], indices)
        pixels = autoencoder.to_unit(data.images(indices), device)
        codes = (latents.batch(indices) * scale).to(device)
        half = (len(indices) + 1) // 2
        soft = predicted(codes[:half], indices[:half], step, generator)
        noise = scale * NOISE * torch.randn(codes[half:].shape, generator=generator, device=device)
        codes = torch.cat([soft, codes[half:] + noise])
        output = model.painter(codes / scale)
        error, numbers = autoencoder.reconstruction_error(output, pixels)
        shaken = pixels + SHAKE * torch.randn(pixels.shape, generator=generator, device=device)
        wrong, right = criticism(model.critic, pixels, shaken, output.detach(), codes)
        pull = persuasion(model.critic, output, codes, error, PERSUASION * max(0.0, 2 * right - 1))
        return error + pull + wrong, {**numbers, "right": right}

    def preview(seen: int) -> None:
        rows = np.arange(min(12, len(latents)))
        painter = put_average(run, Details(decoder.load(out, device)).to(device)).painter
        soft = predicted(
            (latents.batch(rows) * scale).to(device), rows, 0, torch.Generator(device).manual_seed(0)
        )
        with torch.no_grad():
            decoded = [painter(codes.to(device)) for codes in (latents.batch(rows), soft / scale)]
        sheets = [autoencoder.to_pixels(pixels) for pixels in decoded]
        write_sheet(folder / f"sample_{seen:08d}.png", [data.images(rows), *sheets])

    return run.fit(loss, len(latents), budget=budget, preview=preview)


def persuasion(critic: Critic, output: Tensor, codes: Tensor, error: Tensor, share: float) -> Tensor:
    """Return a term of value 0 that pulls the decoded pixels, and nothing else, to where the critic sees a picture.

    Its gradient at the pixels is ``share`` times as long as that of ``error``, whatever the critic's own scale (after
    arXiv:2012.09841, equation 7).

    Args:
        output: decoded pixels in [-1, 1], (n, 3, 128, 128).
        codes: the scaled latents that they were decoded from, (n, 8, 16, 16).
        error: of the output, a scalar.
        share: at least 0.
    """
    fixed = {name: parameter.detach() for name, parameter in critic.named_parameters()}
    doubt = F.softplus(-functional_call(critic, fixed, (output, codes))).mean()
    (pull,) = torch.autograd.grad(doubt, output, retain_graph=True)
    (other,) = torch.autograd.grad(error, output, retain_graph=True)
    pulled = (output * pull).sum() * share * other.norm() / (pull.norm() + 1e-12)
    return pulled - pulled.detach()


def criticism(
    critic: Critic, pixels: Tensor, shaken: Tensor, output: Tensor, codes: Tensor
) -> tuple[Tensor, float]:
    """Return what the critic has to make small, and the share in [0, 1] of patches that it takes for what they are.

    That is the logistic loss of pictures against decoded ones, and what shaking the pictures does to their scores.

    Args:
        pixels, shaken, output: pictures in [-1, 1], the same with noise, and decoded ones, (n, 3, 128, 128) each.
        codes: the scaled latents of all three, (n, 8, 16, 16).
    """
    n = len(pixels)
    scores = critic(torch.cat([pixels, shaken, output]), torch.cat([codes] * 3))
    real, moved, made = scores[:n], scores[n : 2 * n], scores[2 * n :]
    wrong = F.softplus(-real).mean() + F.softplus(made).mean() + STEADINESS * (real - moved).square().mean()
    return wrong, (0.5 * ((real > 0).float().mean() + (made < 0).float().mean())).item()


def load(out: Path, device: torch.device) -> Any:
    """Return the ``AutoencoderKL`` of a recipe's folder, with the decoder as far as it has been trained."""
    whole = decoder.load(out, device)
    if (out / "details" / "state.safetensors").exists():
        load_average(Details(whole).to(device), out / "details")
    return whole
