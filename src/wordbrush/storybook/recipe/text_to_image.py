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
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wordbrush.errors import WordbrushError
from wordbrush.storybook.recipe import vocabulary
from wordbrush.storybook.recipe.budget import Budget
from wordbrush.storybook.recipe.lessons import (
    PREVIEWS,
    Lessons,
    Parts,
    multiplies_bfloat16,
    preview_noise,
    stratified,
    tokenize,
    write_previews,
)
from wordbrush.storybook.recipe.loop import Run, Schedule, load_average, put_average

SNR_LIMIT = 5.0
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
    lessons = Lessons(parts, device)
    model = TextToImage(size, len(lessons.tokenizer)).to(device)
    run = Run(model, Schedule(batch=batch, peak=1e-3, total=total, decay=decay), out)
    run.resume()
    signal = alphas_cumprod().to(device)
    cumulative = loss_weights(signal).cumsum(0)

    def loss(step: int, drawn: np.ndarray, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        lesson = lessons.at(drawn, step)
        clean = lesson.clean
        uniform = stratified(len(clean), generator, device)
        timesteps = torch.searchsorted(cumulative, uniform * cumulative[-1]).clamp(max=len(signal) - 1)
        noise = torch.randn(clean.shape, generator=generator, device=device)
        alpha = signal[timesteps].sqrt().view(-1, 1, 1, 1)
        sigma = (1 - signal[timesteps]).sqrt().view(-1, 1, 1, 1)
        noisy = alpha * clean + sigma * noise
        with torch.autocast(device.type, torch.bfloat16, enabled=multiplies_bfloat16(device)):
            output = model(noisy, timesteps, lesson.tokens)
        error = (output.float() - (alpha * noise - sigma * clean)).square()
        return lessons.loss(lesson, error, alpha * noisy - sigma * output.float(), signal[timesteps])

    def preview(seen: int) -> None:
        write_sample_sheet(run, size, parts, out / f"sample_{seen:08d}.png", device)

    return run.fit(loss, len(lessons), budget=budget, preview=preview)


def alphas_cumprod() -> Tensor:
    """Signal power at each of the 1000 timesteps, from the very scheduler the shipped pipeline uses."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    return DDIMScheduler(**SCHEDULER).alphas_cumprod


def loss_weights(signal: Tensor) -> Tensor:
    """Weight of the v-error at each timestep: 1 up to a signal-to-noise ratio of 5, then falling as 5/SNR."""
    ratio = signal / (1 - signal).clamp(min=1e-8)
    return (ratio.clamp(max=SNR_LIMIT) + 1) / (ratio + 1)


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


def write_sample_sheet(run: Run, size: str, parts: Parts, path: Path, device: torch.device) -> None:
    """Draw one picture for each preview prompt with the averaged weights and write them as one PNG."""
    tokenizer = vocabulary.load(parts.tokenizer)
    model = averaged_model(run, size, device)
    tokens = tokenize(tokenizer, PREVIEWS).to(device)
    empty = tokenize(tokenizer, [""] * len(PREVIEWS)).to(device)
    latents = sample_latents(model, tokens, empty, preview_noise(device), steps=20, guidance=4.0)
    write_previews(latents, parts, path)
