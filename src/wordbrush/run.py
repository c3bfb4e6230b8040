"""One run of the sampler over a batch of prompts: checked inputs, and exact repetition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from wordbrush.backbones.base import Layout, Site, Text, map_sites
from wordbrush.backbones.control import AttentionControl
from wordbrush.backbones.maps import LocalBlend, MapHistory
from wordbrush.edits.plan import EditPlan
from wordbrush.edits.prompt import Prompt
from wordbrush.edits.window import Clock
from wordbrush.errors import InvalidInput, ModelError
from wordbrush.guidance import ClassifierFree, Guidance
from wordbrush.models import Model
from wordbrush.sampling import Progress, Watch, make_scheduler, sample, start_noise
from wordbrush.sizes import Size, check_multiples, read_size


@dataclass(frozen=True, eq=False)
class Run:
    """Everything a run depends on; calling it again gives the same latents.

    Args:
        prompts: one per sample; with a plan, the source and then its targets.
        negative: the prompt of the unconditional branch, or its embedding for every step, (1, tokens, channels) each.
        noise: (samples, C, h, w) of variance 1, on the model's device and in its dtype.
        scheduler: a name or an instance, of which a fresh copy is used.
        evaluations: of the network; some schedulers make more than ``steps``.
    """

    model: Model
    prompts: tuple[Prompt, ...]
    negative: str | Sequence[Tensor]
    noise: Tensor
    guidance: Guidance
    scheduler: object
    steps: int
    evaluations: int
    plan: EditPlan | None = None

    def __call__(
        self, *, record: bool = False, progress: Progress | None = None, watch: Watch | None = None
    ) -> tuple[Tensor, MapHistory | None]:
        """Return the final (samples, C, h, w) latents, and the word maps of every step if asked for."""
        scheduler = make_scheduler(self.scheduler, self.model.scheduler)
        scheduler.set_timesteps(self.steps, device=self.noise.device)
        backbone = self.model.backbone
        clock = Clock(self.steps, self.evaluations)
        height, width = self.noise.shape[-2:]
        sites = map_sites(backbone.sites, backbone.native_latent_size)
        history = MapHistory(self.prompts, sites, (height, width)) if record else None
        blend = self._blend(clock, sites)

        def after_step(step: int, latents: Tensor) -> Tensor:
            if history:
                history.end_step()
            return blend(step, latents) if blend else latents

        control = None
        if self.plan or history:
            control = AttentionControl(
                backbone,
                self.plan,
                layout=Layout(self.guidance.branches, len(self.prompts)),
                clock=clock,
                latent_size=(height, width),
                probes=[reader.probe for reader in (history, blend) if reader],
            )
        with control or nullcontext():
            latents = sample(
                backbone,
                scheduler,
                self.noise,
                text=self._text(),
                guidance=self.guidance,
                control=control,
                after_step=after_step,
                progress=progress,
                watch=watch,
            )
        check_finite(latents)
        return latents, history

    def history(self) -> MapHistory:
        """Repeat the run exactly, this time reading the word maps."""
        _, history = self(record=True)
        assert history is not None
        return history

    @property
    def settings(self) -> dict[str, Any]:
        """What a reader needs besides prompts and seed to make the same pictures."""
        height, width = self.noise.shape[-2:]
        named = isinstance(self.scheduler, str)
        return {
            "model": self.model.name,
            "steps": self.steps,
            "forward_samples": self.evaluations * len(self.guidance.branches) * len(self.prompts),
            "guidance": getattr(self.guidance, "scale", None),
            "scheduler": self.scheduler if named else type(self.scheduler).__name__,
            "size": (height * self.model.factor, width * self.model.factor),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "negative": self.negative if isinstance(self.negative, str) else "optimised per step",
        }

    def _blend(self, clock: Clock, sites: Sequence[Site]) -> LocalBlend | None:
        if self.plan is None or self.plan.blend is None:
            return None
        rule = self.plan.blend
        indicators = torch.tensor(rule.indicators(self.plan.source, self.plan.targets)).to(self.noise)
        return LocalBlend(rule, indicators, sites, steps=rule.steps(clock))

    @torch.no_grad()
    def _text(self) -> Callable[[int], Text]:
        """Encode every prompt once and lay the embeddings out as the batch, branch by branch."""
        backbone, samples = self.model.backbone, len(self.prompts)
        fixed = isinstance(self.negative, str)
        unconditional = backbone.read(self.negative if isinstance(self.negative, str) else "")
        encoded = backbone.encode([unconditional, *self.prompts])
        conditional = list(range(1, samples + 1))
        order = [
            row
            for branch in self.guidance.branches
            for row in (conditional if branch == "cond" else [0] * samples)
        ]
        text = {name: rows[order] for name, rows in encoded.items()}
        if fixed:
            return lambda step: text
        return lambda step: self._with_negative(text, self.negative[step])  # pyright: ignore[reportArgumentType]

    def _with_negative(self, text: Text, embedding: Tensor) -> Text:
        start = self.guidance.branches.index("uncond") * len(self.prompts)
        embeddings = text["encoder_hidden_states"].clone()
        embeddings[start : start + len(self.prompts)] = embedding
        return {**text, "encoder_hidden_states": embeddings}


def make_run(
    model: Model,
    prompts: Sequence[Prompt],
    *,
    negative: str | Sequence[Tensor],
    noise: Tensor,
    guidance: float | Guidance | None,
    scheduler: object,
    steps: int | None,
    plan: EditPlan | None = None,
) -> Run:
    """Fill in the model's defaults and check the numbers.

    Raises:
        InvalidInput: the number of steps, the guidance, the scheduler or the negative prompt cannot be used.
    """
    steps = model.defaults.steps if steps is None else steps
    guidance = model.defaults.guidance if guidance is None else guidance
    if isinstance(guidance, float | int):
        guidance = ClassifierFree(guidance)
    if not hasattr(guidance, "combine"):
        raise InvalidInput(f"guidance is a number such as 7.5 or a guidance object, not {guidance!r}")
    if "cond" not in getattr(guidance, "branches", ()):
        raise InvalidInput(f"{guidance!r} has no branch 'cond', the one whose attention is edited")
    scheduler = model.defaults.scheduler if scheduler is None else scheduler
    sampler = make_scheduler(scheduler, model.scheduler)
    evaluations = count_evaluations(sampler, steps)
    _check_negative(negative, guidance, evaluations)
    batch = noise.expand(len(prompts), -1, -1, -1)
    return Run(model, tuple(prompts), negative, batch, guidance, scheduler, int(steps), evaluations, plan)


def count_evaluations(sampler: Any, steps: object) -> int:
    """Return how often the network is evaluated in ``steps`` steps of a scheduler, whose timesteps are set.

    Raises:
        InvalidInput: not a number of steps that the scheduler can make.
    """
    if isinstance(steps, bool) or not isinstance(steps, Integral) or steps < 1:
        raise InvalidInput(f"steps must be a whole number of at least 1, not {steps!r}")
    trained = sampler.config.num_train_timesteps
    if steps > trained:
        raise InvalidInput(
            f"the model was trained with {trained} timesteps, so there cannot be {steps} steps"
        )
    sampler.set_timesteps(int(steps))
    return len(sampler.timesteps)


def check_finite(latents: Tensor) -> None:
    """Raise ``ModelError`` if what a model made has NaN or infinite values, naming the dtype to use instead."""
    if not torch.isfinite(latents).all():
        raise ModelError(
            f"the model made NaN or infinite values in {str(latents.dtype).removeprefix('torch.')}: load it with "
            "dtype='float32'" + (", or 'bfloat16'" if latents.dtype == torch.float16 else "")
        )


def check_seed(seed: object) -> int:
    """Return a seed. Raises ``InvalidInput`` unless it is a whole number that a generator takes."""
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= int(seed) < 2**63:
        raise InvalidInput(f"a seed is a whole number of at least 0 and below 2⁶³, not {seed!r}")
    return int(seed)


def _check_negative(negative: object, guidance: Guidance, evaluations: int) -> None:
    if "uncond" not in guidance.branches and not (isinstance(negative, str) and not negative):
        raise InvalidInput(
            f"{type(guidance).__name__} guidance asks no unconditional branch: leave negative out"
        )
    if isinstance(negative, str):
        return
    if not isinstance(negative, Sequence) or not all(isinstance(one, Tensor) for one in negative):
        raise InvalidInput(f"negative is one prompt, the text to be guided away from, not {negative!r}")
    if len(negative) != evaluations:
        raise InvalidInput(
            f"the picture was inverted in {len(negative)} steps and the run would have {evaluations}: "
            "leave steps and scheduler out, or invert it again"
        )


def make_noise(model: Model, seeds: Sequence[object], size: Size | None, latents: Tensor | None) -> Tensor:
    """Return (seeds or 1, C, h, w) unit noise on the model's device: the seeds', unless ``latents`` are given.

    Raises:
        InvalidInput: a size that the autoencoder cannot make, or latents of another shape or not finite.
    """
    height, width = _latent_size(model, size, latents)
    shape = (model.backbone.latent_channels, height, width)
    if latents is None:
        noise = start_noise([check_seed(seed) for seed in seeds], shape)
        return noise.to(device=model.device, dtype=model.dtype)
    if not isinstance(latents, Tensor) or tuple(latents.shape) not in ((1, *shape), (len(seeds), *shape)):
        expected = " or ".join(f"({n}, {', '.join(map(str, shape))})" for n in dict.fromkeys((1, len(seeds))))
        raise InvalidInput(
            f"latents must be a tensor of shape {expected}, not {tuple(getattr(latents, 'shape', ()))}"
        )
    if not torch.isfinite(latents).all():
        raise InvalidInput("the latents contain NaN or infinite values")
    return latents.to(device=model.device, dtype=model.dtype, copy=True)


def _latent_size(model: Model, size: Size | None, latents: Tensor | None) -> tuple[int, int]:
    """Return the (height, width) of the latents."""
    if size is None and isinstance(latents, Tensor) and latents.ndim == 4:
        return latents.shape[2], latents.shape[3]
    height, width = read_size(model.image_size if size is None else size)
    check_multiples(height, width, model.factor)
    return height // model.factor, width // model.factor
