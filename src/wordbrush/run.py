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
from wordbrush.guidance import ClassifierFree, Distilled, Guidance, Unguided
from wordbrush.models import Model
from wordbrush.sampling import Progress, make_scheduler, sample, start_noise

Size = int | tuple[int, int]


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
        self, *, record: bool = False, progress: Progress | None = None
    ) -> tuple[Tensor, MapHistory | None]:
        """Return the final (samples, C, h, w) latents, and the word maps of every step if asked for."""
        scheduler = make_scheduler(self.scheduler, self.model.scheduler)
        backbone = self.model.backbone
        height, width = self.noise.shape[-2:]
        backbone.schedule(scheduler, self.steps, (height, width), self.noise.device)
        clock = Clock(self.steps, self.evaluations)
        sites = map_sites(backbone)
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
                layout=Layout(self.guidance.branches, len(self.prompts), self.prompts[0].length),
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
            )
        if not torch.isfinite(latents).all():
            raise ModelError(
                f"the model made NaN or infinite values in {self.settings['dtype']}: load it with dtype='float32'"
                + (", or 'bfloat16'" if self.noise.dtype == torch.float16 else "")
            )
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
        if isinstance(self.guidance, Distilled):
            text["guidance"] = torch.full((len(order),), float(self.guidance.scale), device=self.noise.device)
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
    if isinstance(steps, bool) or not isinstance(steps, Integral) or steps < 1:
        raise InvalidInput(f"steps must be a whole number of at least 1, not {steps!r}")
    guide = _guidance(model, model.defaults.guidance if guidance is None else guidance, negative)
    if not hasattr(guide, "combine"):
        raise InvalidInput(f"guidance is a number such as 7.5 or a guidance object, not {guide!r}")
    if "cond" not in getattr(guide, "branches", ()):
        raise InvalidInput(f"{guide!r} has no branch 'cond', the one whose attention is edited")
    scheduler = model.defaults.scheduler if scheduler is None else scheduler
    sampler = make_scheduler(scheduler, model.scheduler)
    trained = sampler.config.num_train_timesteps
    if steps > trained:
        raise InvalidInput(
            f"the model was trained with {trained} timesteps, so there cannot be {steps} steps"
        )
    height, width = noise.shape[-2:]
    model.backbone.schedule(sampler, int(steps), (height, width))
    evaluations = len(sampler.timesteps)
    _check_negative(negative, guide, evaluations)
    batch = noise.expand(len(prompts), -1, -1, -1)
    return Run(model, tuple(prompts), negative, batch, guide, scheduler, int(steps), evaluations, plan)


def _guidance(model: Model, guidance: object, negative: object) -> Any:
    """Return what a number means for the model, or the guidance object itself."""
    if guidance is None:
        return Unguided()
    if isinstance(guidance, Distilled) and not isinstance(model.backbone.guide(guidance.scale), Distilled):
        raise InvalidInput(
            f"{model.name} takes no guidance scale as an input: give the number {guidance.scale:g}"
        )
    if not isinstance(guidance, float | int) or isinstance(guidance, bool):
        return guidance
    if guidance < 1:
        raise InvalidInput(
            f"a guidance of {guidance:g} would turn the picture away from its prompt: give 1 for no guidance (which "
            f"diffusers also writes 0), or ClassifierFree({guidance:g}) if that is meant"
        )
    chosen = model.backbone.guide(guidance)
    # At 1 the unconditional prediction cancels, so it need not be made.
    return Unguided() if chosen == ClassifierFree(1.0) and not negative else chosen


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
        for seed in seeds:
            if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= int(seed) < 2**63:
                raise InvalidInput(f"a seed is a whole number of at least 0 and below 2⁶³, not {seed!r}")
        noise = start_noise([int(seed) for seed in seeds], shape)  # pyright: ignore[reportArgumentType]
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
        height, width = latents.shape[2:]
        if height % (patch := model.backbone.patch) or width % patch:
            raise InvalidInput(
                f"both sides of the latents must be multiples of {patch}, not {height} × {width}"
            )
        return height, width
    size = model.image_size if size is None else size
    sides = tuple(size) if isinstance(size, list | tuple) else (size, size)
    if len(sides) != 2 or any(isinstance(s, bool) or not isinstance(s, Integral) or s < 1 for s in sides):
        raise InvalidInput(f"a size is one or two whole numbers of pixels, not {size!r}")
    height, width = map(int, sides)
    multiple = model.factor * model.backbone.patch
    if height % multiple or width % multiple:
        near = [max(1, round(side / multiple)) * multiple for side in (height, width)]
        raise InvalidInput(
            f"both sides of a picture must be multiples of {multiple} pixels: {near[0]} × {near[1]}, not "
            f"{height} × {width}"
        )
    return height // model.factor, width // model.factor
