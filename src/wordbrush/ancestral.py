"""Euler ancestral sampling as InstructPix2Pix was published with it, with noise of each sample's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wordbrush.errors import InvalidInput

NAME = "euler_a"
CLASS = "EulerAncestralDiscreteScheduler"
HOME = f"scheduling_euler_ancestral_discrete.{CLASS}"


class EulerAncestral:
    """Algorithm "ancestral" of k-diffusion with eta 1, in the shape of a diffusers scheduler.

    Between two training timesteps the noise level is interpolated in its logarithm, as published; diffusers
    interpolates the level itself, which changes it by less than 1e-4. Noise is drawn by a given function instead of
    one generator for the whole batch, and the arithmetic is at least in float32.

    Args:
        schedule: a diffusers ``EulerAncestralDiscreteScheduler``: noise schedule, spacing of timesteps, prediction.
        noise: draws unit noise of the latents' shape; called once for every step but the last.

    Raises:
        InvalidInput: the schedule has a prediction type that is neither epsilon nor v_prediction.
    """

    def __init__(self, schedule: Any, noise: Callable[[], Tensor]) -> None:
        self.config = schedule.config
        if self.config.prediction_type not in ("epsilon", "v_prediction"):
            raise InvalidInput(
                f"{NAME} samples models that predict epsilon or v_prediction, not {self.config.prediction_type}: "
                "use another scheduler, for example 'ddim'"
            )
        self.timesteps: Tensor = schedule.timesteps
        self._schedule = schedule
        self._noise = noise
        self._sigmas: list[float] = []
        self._step = 0

    def set_timesteps(self, steps: int, device: torch.device | None = None) -> None:
        """Choose the timesteps, which are fractions of training timesteps, and start over."""
        self._schedule.set_timesteps(steps, device=device)
        self.timesteps = self._schedule.timesteps
        kept = self._schedule.alphas_cumprod.double().numpy()
        levels = np.log((1 - kept) / kept) / 2
        at = self.timesteps.double().cpu().numpy()
        self._sigmas = [*np.exp(np.interp(at, np.arange(len(levels)), levels)).tolist(), 0.0]
        self._step = 0

    @property
    def init_noise_sigma(self) -> float:
        """What unit noise is multiplied with at the start."""
        first = self._sigmas[0]
        return first if self.config.timestep_spacing != "leading" else (first**2 + 1) ** 0.5

    def scale_model_input(self, latents: Tensor, timestep: Tensor) -> Tensor:
        """Return the latents with the variance that the network was trained with."""
        return latents / (self._sigmas[self._step] ** 2 + 1) ** 0.5

    def step(
        self, prediction: Tensor, timestep: Tensor, latents: Tensor, return_dict: bool = False
    ) -> tuple[Tensor]:
        """Go from one noise level to the next: down below it, then up to it with new noise."""
        level, following = self._sigmas[self._step : self._step + 2]
        self._step += 1
        precise = torch.promote_types(latents.dtype, torch.float32)
        x, predicted = latents.to(precise), prediction.to(precise)
        if self.config.prediction_type == "epsilon":
            clean = x - level * predicted
        else:
            clean = x / (level**2 + 1) - predicted * level / (level**2 + 1) ** 0.5
        up = following * (1 - (following / level) ** 2) ** 0.5
        down = following * (following / level)
        x = x + (x - clean) / level * (down - level)
        if up:
            x = x + self._noise().to(x) * up
        return (x.to(latents.dtype),)
