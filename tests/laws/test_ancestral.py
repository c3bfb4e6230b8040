"""Ancestral sampling: the published steps, with the same noise for every picture of a run."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

import pipelines
import wordbrush as wb
from wordbrush.ancestral import Ancestral
from wordbrush.sampling import make_scheduler

TRAINED = DDIMScheduler(
    beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="leading"
)


def published_sigmas(steps: int) -> np.ndarray:
    """The grid of the published sampler: times even from 999 to 0, log-sigma interpolated, then 0."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=np.float64) ** 2
    alphas = np.cumprod(1 - betas)
    log_sigma = np.log(np.sqrt((1 - alphas) / alphas))
    return np.append(np.exp(np.interp(np.linspace(999, 0, steps), np.arange(1000), log_sigma)), 0.0)


def denoised(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """A model that knows the answer: pictures of unit variance."""
    return x / (1 + sigma**2)


def published_run(noise: torch.Tensor, steps: int, seed: int) -> torch.Tensor:
    """Euler ancestral as published (k-diffusion), with one draw a step for all rows."""
    sigmas, generator = published_sigmas(steps), torch.Generator().manual_seed(seed)
    x = noise * sigmas[0]
    for now, after in pairwise(sigmas):
        up = min(after, (after**2 * (now**2 - after**2) / now**2) ** 0.5)
        down = (after**2 - up**2) ** 0.5
        x = x + (x - denoised(x, now)) / now * (down - now)
        draw = torch.randn(1, *x.shape[1:], generator=generator, dtype=x.dtype)
        x = x + draw * up if after > 0 else x
    return x


def test_it_takes_the_published_steps():
    """In float64 nothing but rounding is left."""
    steps, noise = (
        50,
        torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64),
    )
    scheduler = make_scheduler(Ancestral(7), TRAINED)
    scheduler.set_timesteps(steps)
    x = noise * scheduler.init_noise_sigma
    for time, sigma in zip(scheduler.timesteps, published_sigmas(steps)[:-1], strict=True):
        scheduler.scale_model_input(x, time)
        predicted = (x - denoised(x, float(sigma))) / sigma
        x = scheduler.step(predicted, time, x, return_dict=False)[0]
    expected = published_run(noise, steps, 7)
    assert float((x - expected).abs().max()) < 1e-6 * float(expected.abs().max())
    other = published_run(noise, steps, 8)
    assert float((x - other).abs().max()) > 0.5


def run(seed: int, **settings):
    return wb.edit(
        pipelines.model("sd1", torch.float32), "a cat on the beach", to=["a dog on the beach"] * 2, seed=3,
        steps=4, scheduler=Ancestral(seed), blend="none", **settings,
    ).latents  # fmt: skip


def test_every_picture_gets_the_same_noise():
    """Two targets that are told the same stay the same, and self-attention of the source in all steps reaches them."""
    latents = run(5, edits=[], self_attention=0.0)
    assert torch.equal(latents[1], latents[2])
    assert not torch.equal(latents[0], latents[1])


def test_noise_is_a_function_of_the_seed():
    assert torch.equal(run(5), run(5))
    assert not torch.equal(run(5), run(6))
    assert not torch.equal(run(5)[0], run(6)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_of_a_batch_of_any_size_agree(dtype: torch.dtype):
    drawn = []
    for rows in (2, 5):
        scheduler = make_scheduler(Ancestral(3), TRAINED)
        scheduler.set_timesteps(6)
        zeros = torch.zeros(rows, 4, 8, 8, dtype=dtype)
        drawn.append(scheduler.step(zeros, scheduler.timesteps[0], zeros, return_dict=False)[0])
    assert torch.equal(drawn[0], drawn[1][:2])
    assert torch.equal(drawn[1], drawn[1][:1].expand(5, -1, -1, -1))
    assert drawn[0].abs().max() > 0
