"""Inversion: exact where theory says so, and null-text better than nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import pipelines
import wordbrush as wb
from wordbrush.backbones.base import Text
from wordbrush.guidance import Unguided
from wordbrush.inversion.ddim import invert_ddim
from wordbrush.inversion.null_text import invert_null_text
from wordbrush.sampling import make_scheduler, sample

STEPS = 5


class KnownNoise:
    """A backbone whose prediction depends on nothing but time, so that DDIM inversion has no error."""

    def predict(self, latents: Tensor, timestep: Tensor, text: Text) -> Tensor:
        return torch.full_like(latents, 0.1) * torch.cos(timestep / 100)


@pytest.mark.parametrize("settings", [{}, {"steps_offset": 1}, {"timestep_spacing": "trailing"}])
def test_inversion_of_a_known_denoiser_is_exact(settings: dict[str, Any]):
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(**pipelines.BETAS, clip_sample=False, set_alpha_to_one=False, **settings)
    backbone: Any = KnownNoise()
    clean = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    scheduler.set_timesteps(STEPS)
    path = invert_ddim(backbone, scheduler, clean, text={})
    assert len(path) == STEPS + 1
    assert (path[-1] - clean).norm() > 0.1
    again = sample(backbone, scheduler, path[-1], text=lambda step: {}, guidance=Unguided())
    torch.testing.assert_close(again, clean, rtol=1e-6, atol=1e-6)  # the scheduler's alphas are float32


def clean_latents(model: wb.Model) -> Tensor:
    return wb.generate(model, "a cat on the beach", seed=1, steps=STEPS, guidance=1.0, size=16).latents


def test_null_text_returns_closer_to_the_picture():
    model = pipelines.model()
    clean, prompt = clean_latents(model), "a cat on the beach"
    ticks: list[tuple[int, int]] = []
    start = invert_null_text(
        model, clean, prompt, steps=STEPS, guidance=3.0, progress=lambda i, n: ticks.append((i, n))
    )
    assert ticks == [(i + 1, STEPS) for i in range(STEPS)]
    fitted = wb.edit(model, start, to="a dog on the beach")
    empty = wb.edit(model, prompt, to="a dog on the beach", latents=start.latents, steps=STEPS, guidance=3.0)
    assert fitted.settings["steps"] == STEPS
    assert fitted.settings["guidance"] == 3.0
    assert (fitted.latents[0] - clean).norm() < 0.9 * (empty.latents[0] - clean).norm()
    assert (fitted.latents[1] - fitted.latents[0]).norm() > 1e-3


def test_an_inverted_picture_brings_its_own_noise():
    model = pipelines.model()
    start = invert_null_text(model, clean_latents(model), "a cat", steps=1, inner_steps=1)
    with pytest.raises(wb.InvalidInput, match="exactly once"):
        wb.edit(model, start, to="a dog", seed=1)


def test_inversion_needs_ddim():
    model = pipelines.model()
    scheduler = make_scheduler("euler", model.scheduler)
    with pytest.raises(wb.InvalidInput, match="needs a DDIMScheduler, not EulerDiscreteScheduler"):
        invert_ddim(model.backbone, scheduler, torch.zeros(1, 4, 8, 8), text={})
