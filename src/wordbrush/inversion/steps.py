"""Steps of the edit run that plain DDIM and Euler do not make: with given noise, reversible ones, beside a path.

All have the shape of a diffusers scheduler whose timesteps are set, as far as ``sampling`` asks for it: like DDIM and
Euler on straight paths they scale neither the noise nor what the network sees.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wordbrush.checks import is_number
from wordbrush.edits.window import Clock, Window
from wordbrush.errors import InvalidInput


class NoisedSteps:
    """DDPM steps in which the random part is given (arXiv:2304.06140, Eq. 3 and 4).

    Args:
        scheduler: a ``DDIMScheduler`` with its timesteps set; its steps of eta 1 are those of DDPM.
        noises: (steps - skipped, C, h, w), what is added to the mean of every step: noise times its deviation.
        skipped: how many of the first steps are left out.
    """

    def __init__(self, scheduler: Any, noises: Tensor, skipped: int = 0) -> None:
        self._scheduler = scheduler
        self._noises = noises
        self._step = 0
        self.timesteps: Tensor = scheduler.timesteps[skipped:]

    def step(
        self, prediction: Tensor, timestep: Tensor, latents: Tensor, return_dict: bool = False
    ) -> tuple[Tensor]:
        """Go one step on: all rows get the same noise."""
        noise = self._noises[self._step].to(latents)
        self._step += 1
        return (mean_step(self._scheduler, prediction, timestep, latents) + noise,)


class ReversibleSteps:
    """Bidirectional integration (arXiv:2307.10829, "BDIA-DDIM"): steps that can be undone without any error.

    With D(z, s) the DDIM step from latents z to the noise level s, and the momentum γ,

        z[i+1] = D(z[i], s[i+1]) + γ (z[i-1] - D(z[i], s[i-1])),

    which can be solved for z[i-1]: both steps need the network at z[i] only. The first step, which has nothing behind
    it, is a DDIM step plus an offset that the inversion found.

    Args:
        scheduler: a ``DDIMScheduler`` with its timesteps set.
        momentum: γ.
        offset: (1, C, h, w), added in the first step.
    """

    def __init__(self, scheduler: Any, momentum: float, offset: Tensor) -> None:
        self._scheduler = scheduler
        self._momentum = momentum
        self._offset = offset
        self._levels = levels(scheduler)
        self._before: Tensor | None = None
        self._step = 0
        self.timesteps: Tensor = scheduler.timesteps

    def step(
        self, prediction: Tensor, timestep: Tensor, latents: Tensor, return_dict: bool = False
    ) -> tuple[Tensor]:
        """Go one step on."""
        here = self._step
        clean, noise = parts(self._scheduler, prediction, latents, self._levels[here])
        following = at(clean, noise, self._levels[here + 1])
        if self._before is None:
            following = following + self._offset.to(latents)
        else:
            following = following + self._momentum * (self._before - at(clean, noise, self._levels[here - 1]))
        self._before = latents
        self._step += 1
        return (following,)


class BesideSteps:
    """Steps of FlowEdit (arXiv:2412.08629): the targets move as their velocities differ from the source's.

    With Y the source's path and D what a target has gained on it, at noise levels s[i],

        D[i+1] = D[i] + (s[i+1] - s[i]) (v(Y[i] + D[i]) - v(Y[i])),

    so that the source, with D = 0, stays on the path.

    Args:
        scheduler: a ``FlowMatchEulerDiscreteScheduler`` with its timesteps set.
        path: (steps + 1 - skipped, C, h, w), the source before, between and after the steps.
        skipped: how many of the first steps are left out.
    """

    def __init__(self, scheduler: Any, path: Tensor, skipped: int) -> None:
        self._levels = scheduler.sigmas[skipped:]
        self._path = path
        self._step = 0
        self.timesteps: Tensor = scheduler.timesteps[skipped:]

    def step(
        self, prediction: Tensor, timestep: Tensor, latents: Tensor, return_dict: bool = False
    ) -> tuple[Tensor]:
        """Go one step on; the first row is the source."""
        here = self._step
        now, following = (self._path[i : i + 1].to(latents) for i in (here, here + 1))
        stride = self._levels[here + 1] - self._levels[here]
        self._step += 1
        return (following + (latents - now) + stride * (prediction - prediction[:1]),)


def check_skipped(part: object) -> None:
    """Raise ``InvalidInput`` unless ``part`` is a part of the steps that can be left out at the noisy end."""
    if not is_number(part) or not 0 <= part < 1:
        raise InvalidInput(f"the part of the steps to skip is at least 0 and below 1, not {part!r}")


def skipped_steps(part: float, steps: int) -> int:
    """Return how many of the first steps such a part is."""
    return Window(part, 1.0).steps(Clock(steps, steps)).start


def levels(scheduler: Any) -> list[Tensor]:
    """Return the cumulative alphas of the latents before, between and after the steps."""
    stride = scheduler.config.num_train_timesteps // scheduler.num_inference_steps
    timesteps = [int(timestep) for timestep in scheduler.timesteps]
    return [level(scheduler, timestep) for timestep in (*timesteps, timesteps[-1] - stride)]


def level(scheduler: Any, timestep: int) -> Tensor:
    """Return the cumulative product of alphas; before the first timestep, what the scheduler steps to last."""
    return scheduler.alphas_cumprod[timestep] if timestep >= 0 else scheduler.final_alpha_cumprod


def parts(scheduler: Any, prediction: Tensor, latents: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Return the clean latents and the noise that a prediction means.

    Raises:
        InvalidInput: the model predicts neither noise nor velocity.
    """
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        return (latents - (1 - alpha).sqrt() * prediction) / alpha.sqrt(), prediction
    if kind == "v_prediction":
        clean = alpha.sqrt() * latents - (1 - alpha).sqrt() * prediction
        return clean, alpha.sqrt() * prediction + (1 - alpha).sqrt() * latents
    raise InvalidInput(f"DDIM inversion knows epsilon and v_prediction models, not {kind!r}")


def at(clean: Tensor, noise: Tensor, alpha: Tensor) -> Tensor:
    """Return clean latents and noise mixed at a level."""
    return alpha.sqrt() * clean + (1 - alpha).sqrt() * noise


def mean_step(scheduler: Any, prediction: Tensor, timestep: Tensor, latents: Tensor) -> Tensor:
    """Return the mean of a DDPM step, its noise left out."""
    silent = torch.zeros_like(latents)
    return scheduler.step(prediction, timestep, latents, eta=1.0, variance_noise=silent, return_dict=False)[0]
