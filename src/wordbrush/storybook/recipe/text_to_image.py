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

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from wordbrush.storybook.recipe import vocabulary
from wordbrush.storybook.recipe.denoiser import Denoiser, Noised

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


@cache
def _levels(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the signal power at each timestep, and how often it is drawn, summed up to it: (1000,) each."""
    signal = alphas_cumprod().to(device)
    return signal, loss_weights(signal).cumsum(0)


def add_noise(clean: Tensor, noise: Tensor, uniform: Tensor) -> Noised:
    """Add the noise of timesteps drawn as ``loss_weights`` says; v is to be predicted."""
    signal, cumulative = _levels(clean.device)
    timesteps = torch.searchsorted(cumulative, uniform * cumulative[-1]).clamp(max=len(signal) - 1)
    alpha = signal[timesteps].sqrt().view(-1, 1, 1, 1)
    sigma = (1 - signal[timesteps]).sqrt().view(-1, 1, 1, 1)
    noisy = alpha * clean + sigma * noise
    aim = alpha * noise - sigma * clean
    return Noised(noisy, timesteps, aim, lambda v: alpha * noisy - sigma * v, signal[timesteps])


def scheduler() -> Any:
    """Return the scheduler that the shipped pipeline uses."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    return DDIMScheduler(**SCHEDULER)


def alphas_cumprod() -> Tensor:
    """Signal power at each of the 1000 timesteps, from the very scheduler the shipped pipeline uses."""
    return scheduler().alphas_cumprod


def loss_weights(signal: Tensor) -> Tensor:
    """Weight of the v-error at each timestep: 1 up to a signal-to-noise ratio of 5, then falling as 5/SNR."""
    ratio = signal / (1 - signal).clamp(min=1e-8)
    return (ratio.clamp(max=SNR_LIMIT) + 1) / (ratio + 1)


STAGE = Denoiser("text_to_image", TextToImage, add_noise, scheduler)
