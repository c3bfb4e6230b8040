"""Null-text inversion (Mokady et al. 2022, arXiv:2211.09794): fit the unconditional embedding of every step.

DDIM inversion without guidance gives a path from the picture to noise. Denoising with guidance leaves that path; the
embedding of the unconditional branch is optimised, step after step, so that it does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from wordbrush.checks import check_count, is_number
from wordbrush.errors import InvalidInput
from wordbrush.inversion.ddim import invert_ddim
from wordbrush.inversion.start import Start
from wordbrush.inversion.task import Task
from wordbrush.sampling import Progress

# Published constants: Adam's first learning rate, over how many steps it would reach zero, and by how much the
# loss at which a step is good enough grows per step.
LEARNING_RATE = 1e-2
DECAY_STEPS = 100
EPSILON_GROWTH = 2e-5


@dataclass(frozen=True)
class NullText:
    """An unconditional embedding for every step, with which guided denoising returns to the picture.

    Args:
        inner_steps: the most optimiser steps per denoising step; at least one is always made.
        epsilon: the squared error at which the first denoising step is good enough.

    Raises:
        InvalidInput: a number out of its range.
    """

    inner_steps: int = 10
    epsilon: float = 1e-5
    name = "null-text"

    def __post_init__(self) -> None:
        check_count("inner_steps", self.inner_steps)
        if not is_number(self.epsilon) or self.epsilon < 0:
            raise InvalidInput(f"epsilon must be a number of at least 0, not {self.epsilon!r}")

    def __call__(self, task: Task, progress: Progress | None = None) -> Start:
        """Invert the picture of ``task``: 4 to 3 + ``inner_steps`` forward-samples per step, some with gradients.

        Raises:
            InvalidInput: more steps than the learning rate lasts, or a model in float16, in which gradients vanish.
        """
        check_count("steps", task.steps, DECAY_STEPS, "where the learning rate ends")
        if task.model.dtype == torch.float16:
            raise InvalidInput(
                "null-text inversion needs gradients: load the model in float32 or bfloat16, not float16"
            )
        path = invert_ddim(task, task.sampler, task.latents, text=task.conditional)
        embedding = task.unconditional["encoder_hidden_states"]
        current, embeddings = path[-1], []
        for step, timestep in enumerate(task.sampler.timesteps):
            with torch.no_grad():
                known = task.predict(current, timestep, task.conditional)
            fit = _Step(task, timestep, current, known)
            rate = LEARNING_RATE * (1 - step / DECAY_STEPS)
            embedding = fit.embedding(
                embedding,
                path[-2 - step],
                rate,
                inner_steps=self.inner_steps,
                enough=self.epsilon + step * EPSILON_GROWTH,
            )
            embeddings.append(embedding)
            with torch.no_grad():
                current = fit.next(embedding)
            if progress is not None:
                progress(step + 1, task.steps)
        return task.start(path[-1], method=self.name, negative=embeddings)


@dataclass(frozen=True, eq=False)
class _Step:
    """One guided denoising step of (1, C, h, w) ``latents`` as a function of the unconditional embedding.

    ``conditional`` is the network's prediction under the prompt, which does not change meanwhile.
    """

    task: Task
    timestep: Tensor
    latents: Tensor
    conditional: Tensor

    def next(self, embedding: Tensor) -> Tensor:
        """Return the latents after the step, (1, C, h, w), with an unconditional (1, tokens, channels) embedding."""
        text = {**self.task.unconditional, "encoder_hidden_states": embedding}
        prediction = self.task.predict(self.latents, self.timestep, text)
        combined = self.task.guide.combine((prediction, self.conditional))
        return self.task.sampler.step(combined, self.timestep, self.latents, return_dict=False)[0]

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
