"""Null-text inversion (Mokady et al. 2022, arXiv:2211.09794): fit the unconditional embedding of every step.

DDIM inversion without guidance gives a path from the picture to noise. Denoising with guidance leaves that path; the
embedding of the unconditional branch is optimised, step after step, so that it does not.
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from wordbrush.backbones.base import Backbone, Text
from wordbrush.errors import InvalidInput
from wordbrush.guidance import ClassifierFree
from wordbrush.inversion.ddim import invert_ddim
from wordbrush.inversion.start import Start
from wordbrush.models import Model
from wordbrush.sampling import Progress, make_scheduler

# Published constants: Adam's first learning rate, over how many steps it would reach zero, and by how much the
# loss at which a step is good enough grows per step.
LEARNING_RATE = 1e-2
DECAY_STEPS = 100
EPSILON_GROWTH = 2e-5


def invert_null_text(
    model: Model,
    latents: Tensor,
    prompt: str,
    *,
    steps: int = 50,
    guidance: float = 7.5,
    scheduler: object = "ddim",
    inner_steps: int = 10,
    epsilon: float = 1e-5,
    progress: Progress | None = None,
) -> Start:
    """Invert clean latents so that guided denoising returns to them.

    Args:
        latents: (1, C, h, w), the mean of the autoencoder's posterior times its scaling factor.
        prompt: what the picture shows.
        inner_steps: the most optimiser steps per denoising step; at least one is always made.
        epsilon: the squared error at which the first denoising step is good enough.
        progress: called with (denoising steps fitted, steps in all).

    Raises:
        InvalidInput: latents of another shape or not finite, a number out of range, an empty prompt, or a model in
            float16, in which the gradients vanish.
    """
    backbone = model.backbone
    _check(model, latents, prompt, steps=steps, inner_steps=inner_steps, epsilon=epsilon)
    latents = latents.to(device=model.device, dtype=model.dtype)
    sampler = make_scheduler(scheduler, model.scheduler)
    sampler.set_timesteps(steps, device=model.device)
    with torch.no_grad():
        unconditional, conditional = (backbone.encode([backbone.read(text)]) for text in ("", prompt))
    path = invert_ddim(backbone, sampler, latents, text=conditional)
    guide = ClassifierFree(guidance)
    embedding = unconditional["encoder_hidden_states"]
    current, embeddings = path[-1], []
    for step, timestep in enumerate(sampler.timesteps):
        with torch.no_grad():
            known = backbone.predict(current, timestep, conditional)
        fit = _Step(backbone, sampler, guide, timestep, current, known)
        rate = LEARNING_RATE * (1 - step / DECAY_STEPS)
        embedding = fit.embedding(
            embedding, path[-2 - step], rate, inner_steps=inner_steps, enough=epsilon + step * EPSILON_GROWTH
        )
        embeddings.append(embedding)
        with torch.no_grad():
            current = fit.next(embedding)
        if progress is not None:
            progress(step + 1, steps)
    return Start(prompt, path[-1], steps, guidance, scheduler, embeddings)


def _check(
    model: Model, latents: Tensor, prompt: str, *, steps: int, inner_steps: int, epsilon: float
) -> None:
    shape = (1, model.backbone.latent_channels)
    if not isinstance(latents, Tensor) or latents.ndim != 4 or tuple(latents.shape[:2]) != shape:
        raise InvalidInput(
            f"the picture's latents have the shape (1, {shape[1]}, h, w), not {tuple(getattr(latents, 'shape', ()))}"
        )
    if not torch.isfinite(latents).all():
        raise InvalidInput("the latents contain NaN or infinite values")
    if not isinstance(prompt, str) or not prompt.strip():
        raise InvalidInput(f"the prompt says what the picture shows; it cannot be {prompt!r}")
    for name, number, most in (("steps", steps, DECAY_STEPS), ("inner_steps", inner_steps, None)):
        if (
            isinstance(number, bool)
            or not isinstance(number, Integral)
            or not 1 <= number <= (most or number)
        ):
            limit = f"from 1 to {most}, where the learning rate ends" if most else "of at least 1"
            raise InvalidInput(f"{name} must be a whole number {limit}, not {number!r}")
    if isinstance(epsilon, bool) or not isinstance(epsilon, Real) or not epsilon >= 0:
        raise InvalidInput(f"epsilon must be a number of at least 0, not {epsilon!r}")
    if model.dtype == torch.float16:
        raise InvalidInput(
            "null-text inversion needs gradients: load the model in float32 or bfloat16, not float16"
        )


class _Step:
    """One guided denoising step as a function of the unconditional embedding."""

    def __init__(
        self,
        backbone: Backbone,
        scheduler: Any,
        guidance: ClassifierFree,
        timestep: Tensor,
        latents: Tensor,
        conditional: Tensor,
    ) -> None:
        self._backbone = backbone
        self._scheduler = scheduler
        self._guidance = guidance
        self._timestep = timestep
        self._latents = latents
        self._conditional = conditional

    def next(self, embedding: Tensor) -> Tensor:
        """Return the latents after the step, (1, C, h, w)."""
        text: Text = {"encoder_hidden_states": embedding}
        prediction = self._backbone.predict(self._latents, self._timestep, text)
        combined = self._guidance.combine((prediction, self._conditional))
        return self._scheduler.step(combined, self._timestep, self._latents, return_dict=False)[0]

    def embedding(
        self, start: Tensor, goal: Tensor, rate: float, *, inner_steps: int, enough: float
    ) -> Tensor:
        """Return the embedding, beginning at ``start``, after which the step leads to ``goal``."""
        embedding = start.clone().requires_grad_()
        optimizer = torch.optim.Adam([embedding], lr=rate)
        for _ in range(inner_steps):
            with torch.enable_grad():
                loss = F.mse_loss(self.next(embedding), goal)
                optimizer.zero_grad()
                loss.backward()
            optimizer.step()
            if loss.item() < enough:
                break
        return embedding.detach()
