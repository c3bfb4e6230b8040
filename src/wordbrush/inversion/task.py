"""What every inversion begins with: a picture's latents, the words for it, and how it will be denoised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from wordbrush.backbones.base import Text
from wordbrush.checks import check_count
from wordbrush.edits.prompt import Prompt
from wordbrush.errors import InvalidInput
from wordbrush.guidance import ClassifierFree, Distilled
from wordbrush.inversion.network import Network
from wordbrush.inversion.start import Start
from wordbrush.models import Model
from wordbrush.sampling import Progress, is_flow, make_scheduler

EULER = "FlowMatchEulerDiscreteScheduler"
# The part of the timesteps that the steps of DDIM go through at least, to end near noise.
LEAST = 0.9


@dataclass(eq=False)
class Task:
    """One picture to be inverted; it answers for the network and counts what that costs.

    Args:
        latents: (1, C, h, w), clean, scaled for the network.
        prompt: what the picture shows.
        steps: of the scheduler.
        guidance: the scale the picture will be denoised with.
        scheduler: a name or an instance; None for DDIM, or of models of straight paths Euler's steps.
        forward_samples: rows of all network calls so far.

    Raises:
        InvalidInput: latents of another shape or not finite, an empty prompt, or a number or scheduler that cannot be
            used.
        PromptTooLong: the prompt has more tokens than the text encoder reads.
    """

    model: Model
    latents: Tensor
    prompt: str
    steps: int
    guidance: float
    scheduler: object = None
    forward_samples: int = 0

    def __post_init__(self) -> None:
        latents, channels = self.latents, self.model.backbone.latent_channels
        shape = tuple(getattr(latents, "shape", ()))
        if len(shape) != 4 or shape[:2] != (1, channels):
            raise InvalidInput(f"the picture's latents have the shape (1, {channels}, h, w), not {shape}")
        if not torch.isfinite(latents).all():
            raise InvalidInput("the latents contain NaN or infinite values")
        if not isinstance(self.prompt, str) or not self.prompt.strip():
            raise InvalidInput(f"the prompt says what the picture shows; it cannot be {self.prompt!r}")
        self.latents = latents.to(device=self.model.device, dtype=self.model.dtype)
        if self.scheduler is None:
            self.scheduler = "flow" if is_flow(self.model.scheduler) else "ddim"
        _ = self.guide, self.sampler, self.conditional

    @cached_property
    def guide(self) -> ClassifierFree:
        """The guidance the picture will be denoised with."""
        return ClassifierFree(self.guidance)

    @cached_property
    def sampler(self) -> Any:
        """A DDIM scheduler with its timesteps set; of models of straight paths Euler's."""
        sampler = make_scheduler(self.scheduler, self.model.scheduler)
        if is_flow(self.model.scheduler):
            check_euler(sampler)
        else:
            check_ddim(sampler)
            self._check_guided()
        most = sampler.config.num_train_timesteps
        check_count("steps", self.steps, most, f"the timesteps that the model was trained with, {most}")
        if not is_flow(self.model.scheduler):
            check_reach(sampler, int(self.steps))
        height, width = self.latents.shape[-2:]
        self.model.backbone.schedule(sampler, int(self.steps), (height, width), self.model.device)
        return sampler

    def _check_guided(self) -> None:
        """Raise ``InvalidInput`` if the model is not guided by an unconditional prediction."""
        if not isinstance(self.model.backbone.guide(self.guidance), ClassifierFree):
            raise InvalidInput(
                f"{self.model.name} has its guidance distilled into it: DDIM inversion is for models that are guided "
                "by an unconditional prediction"
            )

    @cached_property
    def conditional(self) -> Text:
        """The conditioning of the prompt, one row."""
        return self._encoded(self.model.backbone.read(self.prompt))

    @cached_property
    def unconditional(self) -> Text:
        """The conditioning of the empty prompt, one row."""
        return self._encoded(self.model.backbone.read_negative(""))

    @cached_property
    def unguided(self) -> Text:
        """The conditioning of the prompt without guidance, which is a scale of 1 where networks take one."""
        if not isinstance(self.model.backbone.guide(1.0), Distilled):
            return self.conditional
        return {**self.conditional, "guidance": torch.ones(1, device=self.latents.device)}

    def predict(self, latents: Tensor, timestep: Tensor, text: Text) -> Tensor:
        """Return the network's raw prediction, (rows, C, h, w)."""
        self.forward_samples += len(latents)
        return self.model.backbone.predict(latents, timestep, text)

    def guided(self, latents: Tensor, timestep: Tensor, scale: float | None = None) -> Tensor:
        """Return the guided prediction for (1, C, h, w) latents; at another scale than that of ``guide`` if given."""
        both = {name: torch.cat([rows, self.conditional[name]]) for name, rows in self.unconditional.items()}
        guide = self.guide if scale is None else ClassifierFree(scale)
        return guide.combine(self.predict(latents.repeat(2, 1, 1, 1), timestep, both).chunk(2))

    def start(self, latents: Tensor, **known: Any) -> Start:
        """Return where the inverted picture starts from; ``known`` are further fields of ``Start``."""
        return Start(
            self.prompt,
            latents,
            int(self.steps),
            self.guide.scale,  # a float, whatever kind of number was given
            self.scheduler,
            forward_samples=self.forward_samples,
            network=Network.of(self.model),
            **known,
        )

    @torch.no_grad()
    def _encoded(self, prompt: Prompt) -> Text:
        return self.model.backbone.encode([prompt])


class Method(Protocol):
    """A way of inverting. To add one, write a frozen dataclass with these two members and list it in ``methods``."""

    @property
    def name(self) -> str:
        """What it is called by."""
        ...

    def __call__(self, task: Task, progress: Progress | None = None) -> Start:
        """Invert the picture of ``task``; ``progress`` is called with (steps done, steps in all)."""
        ...


class Predictor(Protocol):
    """What an inversion needs of a network."""

    def predict(self, latents: Tensor, timestep: Tensor, text: Text) -> Tensor:
        """Return the raw prediction, (rows, C, h, w)."""
        ...


def check_ddim(scheduler: Any) -> None:
    """Raise ``InvalidInput`` unless the scheduler is DDIM in a form that can be run backwards."""
    if type(scheduler).__name__ != "DDIMScheduler":
        raise InvalidInput(f"DDIM inversion needs a DDIMScheduler, not {type(scheduler).__name__}")
    if scheduler.config.clip_sample or scheduler.config.thresholding:
        raise InvalidInput("DDIM inversion cannot undo the clipping of the scheduler: set clip_sample=False")


def check_reach(scheduler: Any, steps: int) -> None:
    """Raise ``InvalidInput`` unless so many steps of a DDIM scheduler end where the model was trained, and near noise.

    Steps go down by whole timesteps, so that 600 steps of 1000 timesteps are only the 600 cleanest. What the scheduler
    adds to all of them, its ``steps_offset``, leads beyond the last one where they are the 1000.
    """
    if _reaches(scheduler, steps):
        return
    trained = scheduler.config.num_train_timesteps
    usable = next(fewer for fewer in range(steps - 1, 0, -1) if _reaches(scheduler, fewer))
    raise InvalidInput(
        f"{steps} steps of this scheduler do not lead from the picture to noise through the {trained} timesteps that "
        f"the model was trained with: use {usable} steps"
    )


def _reaches(scheduler: Any, steps: int) -> bool:
    trained = scheduler.config.num_train_timesteps
    scheduler.set_timesteps(steps)
    return int(scheduler.timesteps[0]) < trained and trained // steps * steps >= LEAST * trained


def check_euler(scheduler: Any) -> None:
    """Raise ``InvalidInput`` unless the scheduler makes Euler's steps on straight paths, without noise."""
    if type(scheduler).__name__ != EULER:
        raise InvalidInput(f"inversion on straight paths needs a {EULER}, not {type(scheduler).__name__}")
    if scheduler.config.stochastic_sampling:
        raise InvalidInput("noise between the steps cannot be undone: set stochastic_sampling=False")


def descending(path: Sequence[Tensor]) -> Tensor:
    """Return (1, C, h, w) latents from clean to noise as one tensor from noise to clean, (steps + 1, C, h, w)."""
    return torch.cat(list(path)[::-1])
