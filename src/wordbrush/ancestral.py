"""Euler's method with fresh noise at every step, the same for every picture of a run.

Known as Euler ancestral, from k-diffusion. The generator of InstructPix2Pix's pairs (arXiv:2211.09800, section 3.1.2)
samples so, and gives both pictures of a pair the same draws: pictures that get noise of their own would part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

HOME = "scheduling_euler_ancestral_discrete.EulerAncestralDiscreteScheduler"
"""Module and class in diffusers.schedulers."""

GRID = {"timestep_spacing": "linspace"}
"""Times from the last trained one to 0, ends included, as published; whatever grid the model's own scheduler has."""


@dataclass(frozen=True)
class Ancestral:
    """A choice of scheduler for ``wordbrush.edit`` and ``generate``: Euler ancestral with shared noise.

    Args:
        seed: of the noise of the steps; the noise that a run starts from has its own.
    """

    seed: int

    def around(self, scheduler: Any) -> SharedNoise:
        """Return a fresh sampler around diffusers' scheduler, with its noise from the beginning."""
        return SharedNoise(scheduler, self.seed)


class SharedNoise:
    """A scheduler that draws one noise a step and adds it to every row of the batch."""

    def __init__(self, scheduler: Any, seed: int) -> None:
        self._scheduler, self._seed = scheduler, seed
        self._generators: list[torch.Generator] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scheduler, name)

    def step(
        self, prediction: Tensor, timestep: Tensor, latents: Tensor, *, return_dict: bool
    ) -> tuple[Tensor, ...]:
        """Take one step; all rows have generators of one seed, which therefore draw the same."""
        if not self._generators:
            self._generators = [torch.Generator().manual_seed(self._seed) for _ in latents]
        return self._scheduler.step(
            prediction, timestep, latents, generator=self._generators, return_dict=return_dict
        )
