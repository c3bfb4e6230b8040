"""Stage ``text_to_image``: a small latent diffusion model in Stable Diffusion's form, text encoder and U-Net together.

v-prediction on a schedule with zero terminal signal-to-noise ratio (arXiv:2305.08891). Low noise counts less (min-SNR,
arXiv:2303.09556, in the form that keeps the terminal step): rather than weighting the loss, such timesteps are drawn
that much more rarely, stratified over the batch. The squared error is joined by what ``recipe.recogniser`` still finds
missing in the prediction.

The text encoder is a ``CLIPTextModel`` without transformer layers: token and position embeddings and a final norm. A
causal encoder lets every later token carry the words before it, and then turning a word down leaves the word at work in
its neighbours; here what a word does enters the picture at that word's own attention maps and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wordbrush.errors import WordbrushError
from wordbrush.storybook.recipe import recogniser, vocabulary
from wordbrush.storybook.recipe.budget import Budget
from wordbrush.storybook.recipe.files import write_sheet
from wordbrush.storybook.recipe.judge import labels
from wordbrush.storybook.recipe.latents import Latents, latent_scale
from wordbrush.storybook.recipe.loop import Run, Schedule, load_average, put_average
from wordbrush.storybook.recipe.renders import Renders
from wordbrush.storybook.scene import Scene, caption

SNR_LIMIT = 5.0
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

SIZES: dict[str, dict[str, Any]] = {
    "small": {"channels": (64, 128), "layers": 1, "text": 128},
    "base": {"channels": (128, 256), "layers": 1, "text": 192},
}

SCHEDULER: dict[str, Any] = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "clip_sample": False,
    "set_alpha_to_one": True,
    "steps_offset": 1,  # unused by trailing spacing; any other value makes diffusers warn
}


class TextToImage(nn.Module):
    """U-Net and text encoder as one module, so that one run trains and saves both."""

    def __init__(self, size: str, vocab_size: int) -> None:
        super().__init__()
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
        from transformers import CLIPTextConfig, CLIPTextModel

        spec = SIZES[size]
        torch.manual_seed(0)
        self.unet = UNet2DConditionModel(
            sample_size=16,
            in_channels=8,
            out_channels=8,
            block_out_channels=spec["channels"],
            layers_per_block=spec["layers"],
            down_block_types=("CrossAttnDownBlock2D",) * 2,
            up_block_types=("CrossAttnUpBlock2D",) * 2,
            cross_attention_dim=spec["text"],
            attention_head_dim=4,  # diffusers' name for the number of heads
            norm_num_groups=16,
        )
        self.text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=vocab_size,
                hidden_size=spec["text"],
                intermediate_size=4 * spec["text"],
                num_hidden_layers=0,
                num_attention_heads=4,
                max_position_embeddings=vocabulary.MAX_TOKENS,
                bos_token_id=vocab_size - 2,
                eos_token_id=vocab_size - 1,
                pad_token_id=vocab_size - 1,
            )
        )

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """Predict v: (n, 8, 16, 16) latents, (n,) timesteps and (n, 32) token ids to (n, 8, 16, 16)."""
        return self.unet(noisy, timesteps, self.text(tokens).last_hidden_state).sample


@dataclass(frozen=True)
class Parts:
    """Where the stage finds what the stages before it made."""

    renders: Path
    latents: Path
    tokenizer: Path
    recogniser: Path


def train(
    parts: Parts,
    out: Path,
    *,
    device: torch.device,
    budget: Budget,
    total: int,
    decay: int,
    size: str,
    batch: int = 32,
) -> bool:
    """Train or continue the stage; returns whether the schedule ended."""
    data, renders = Latents(parts.latents), Renders(parts.renders, "train")
    tokenizer = vocabulary.load(parts.tokenizer)
    scale = latent_scale(parts.latents)
    reader = recogniser.load(parts.recogniser, device)
    model = TextToImage(size, len(tokenizer)).to(device)
    run = Run(model, Schedule(batch=batch, peak=1e-3, total=total, decay=decay), out)
    run.resume()
    rows = drawn_rows(renders.scenes)
    signal = alphas_cumprod().to(device)
    cumulative = loss_weights(signal).cumsum(0)

    def loss(step: int, drawn: np.ndarray, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        indices = rows[drawn]
        clean = (data.batch(indices) * scale).to(device)
        captions = captions_at(renders.scenes, indices, step)
        tokens = tokenize(tokenizer, captions).to(device)
        n = len(indices)
        uniform = (
            torch.rand(1, generator=generator, device=device) + torch.arange(n, device=device) / n
        ) % 1.0
        timesteps = torch.searchsorted(cumulative, uniform * cumulative[-1]).clamp(max=len(signal) - 1)
        noise = torch.randn(clean.shape, generator=generator, device=device)
        alpha = signal[timesteps].sqrt().view(-1, 1, 1, 1)
        sigma = (1 - signal[timesteps]).sqrt().view(-1, 1, 1, 1)
        autocast = torch.autocast(device.type, torch.bfloat16, enabled=multiplies_bfloat16(device))
        noisy = alpha * clean + sigma * noise
        with autocast:
            output = model(noisy, timesteps, tokens)
        error = (output.float() - (alpha * noise - sigma * clean)).square()
        figures = torch.from_numpy(renders.masks(indices)).float()
        weight = figure_weights(nn.functional.avg_pool2d(figures, 8).to(device), signal[timesteps])
        named = labels([renders.scenes[int(i)] for i in indices], recogniser.READ)
        dropped = torch.tensor([not text for text in captions])
        named = {name: named[name].masked_fill(dropped, -1).to(device) for name in recogniser.NAMED}
        settled = signal[timesteps] >= SETTLED
        missing = recogniser.shortfall(reader, alpha * noisy - sigma * output.float(), clean, named) * settled
        numbers = {"error": error.detach().mean().item(), "missing": missing.detach().mean().item()}
        return (weight * error).mean() + missing.mean(), numbers

    def preview(seen: int) -> None:
        write_sample_sheet(run, size, parts, out / f"sample_{seen:08d}.png", device)

    return run.fit(loss, len(rows), budget=budget, preview=preview)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies in bfloat16 itself: a fifth more samples a second on a processor that does."""
    return device.type == "cuda" or bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def drawn_rows(scenes: Sequence[Scene]) -> np.ndarray:
    """Return the indices of one round of the data, with what is rare and hard in it more than once."""
    times = [
        COMPANION_DRAWN if scene.companion else PIXEL_ART_DRAWN if scene.style == "pixel art" else 1
        for scene in scenes
    ]
    return np.repeat(np.arange(len(scenes)), times)


def alphas_cumprod() -> Tensor:
    """Signal power at each of the 1000 timesteps, from the very scheduler the shipped pipeline uses."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    return DDIMScheduler(**SCHEDULER).alphas_cumprod


def loss_weights(signal: Tensor) -> Tensor:
    """Weight of the v-error at each timestep: 1 up to a signal-to-noise ratio of 5, then falling as 5/SNR."""
    ratio = signal / (1 - signal).clamp(min=1e-8)
    return (ratio.clamp(max=SNR_LIMIT) + 1) / (ratio + 1)


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


def captions_at(scenes: Sequence[Scene], indices: np.ndarray, step: int) -> list[str]:
    """One wording per picture, another one each time the picture comes round; a tenth are empty."""
    rng = np.random.default_rng([11, step])
    variants, dropped = rng.integers(0, 2**31, len(indices)), rng.random(len(indices)) < DROPPED
    return [
        "" if drop else caption(scenes[int(index)], int(variant))
        for index, variant, drop in zip(indices, variants, dropped, strict=True)
    ]


def tokenize(tokenizer: Any, prompts: list[str]) -> Tensor:
    """Token ids (n, 32), padded with the end mark."""
    batch = tokenizer(prompts, padding="max_length", max_length=vocabulary.MAX_TOKENS, return_tensors="pt")
    return batch.input_ids


@torch.no_grad()
def sample_latents(
    model: TextToImage, tokens: Tensor, empty: Tensor, noise: Tensor, *, steps: int, guidance: float
) -> Tensor:
    """Plain DDIM with classifier-free guidance, for previews: (n, 32) ids and (n, 8, 16, 16) noise to latents."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    scheduler: Any = DDIMScheduler(**SCHEDULER)
    scheduler.set_timesteps(steps, device=noise.device)
    both, latents = torch.cat([empty, tokens]), noise
    for t in scheduler.timesteps:
        unconditional, conditional = model(torch.cat([latents] * 2), t.expand(len(both)), both).chunk(2)
        prediction = unconditional + guidance * (conditional - unconditional)
        latents = scheduler.step(prediction, t, latents).prev_sample
    return latents


def load(folder: Path, tokenizer: Any, device: torch.device) -> TextToImage:
    """Return the trained model with the averaged weights, in evaluation mode.

    Raises:
        WordbrushError: the stage has not been run.
    """
    path = folder / "settings.json"
    if not path.exists():
        raise WordbrushError(
            f"no model under {folder}: run `wordbrush storybook train --stage text_to_image` first"
        )
    size = json.loads(path.read_text(encoding="utf-8"))["size"]
    return load_average(TextToImage(size, len(tokenizer)).to(device), folder)


def averaged_model(run: Run, size: str, device: torch.device) -> TextToImage:
    """Return a copy of the model with the averaged weights, in evaluation mode."""
    assert isinstance(run.module, TextToImage)
    return put_average(run, TextToImage(size, run.module.text.config.vocab_size).to(device))


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


def write_sample_sheet(run: Run, size: str, parts: Parts, path: Path, device: torch.device) -> None:
    """Draw one picture for each preview prompt with the averaged weights and write them as one PNG."""
    from wordbrush.storybook.recipe import autoencoder

    tokenizer = vocabulary.load(parts.tokenizer)
    model = averaged_model(run, size, device)
    scale = latent_scale(parts.latents)
    noise = torch.randn(len(PREVIEWS), 8, 16, 16, generator=torch.Generator().manual_seed(1)).to(device)
    tokens = tokenize(tokenizer, list(PREVIEWS)).to(device)
    empty = tokenize(tokenizer, [""] * len(PREVIEWS)).to(device)
    latents = sample_latents(model, tokens, empty, noise, steps=20, guidance=4.0)
    decoder = autoencoder.load_averaged(parts.latents.parent / "autoencoder", device)
    with torch.no_grad():
        images = autoencoder.to_pixels(decoder.decode(latents / scale).sample)
    write_sheet(path, [images[:6], images[6:]])
