"""Prompt-to-Prompt, the front door: generate pictures, and edit them by editing their words.

Hertz et al. 2022, "Prompt-to-Prompt Image Editing with Cross Attention Control" (arXiv:2208.01626). Source and
targets are denoised together from the same noise, and the targets attend as the source does where the plan says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from wordbrush.backbones.base import Layout, Text, map_sites
from wordbrush.backbones.control import AttentionControl
from wordbrush.backbones.maps import LocalBlend, MapHistory
from wordbrush.edits.blend import BlendRule
from wordbrush.edits.plan import EditPlan, Edits, Recipe, make_plan
from wordbrush.edits.prompt import Prompt
from wordbrush.edits.self_attention import SelfAttention
from wordbrush.edits.window import Clock, Fraction
from wordbrush.errors import InvalidInput
from wordbrush.guidance import ClassifierFree, Guidance
from wordbrush.models import Model
from wordbrush.results import EditResult, Generation
from wordbrush.sampling import Progress, make_scheduler, sample, start_noise

Size = int | tuple[int, int]


@dataclass(frozen=True, eq=False)
class Run:
    """One run of the sampler, which can be repeated exactly.

    Args:
        prompts: one per sample; with a plan, the source and then its targets.
        text: step → conditioning of the whole batch.
        noise: (samples, C, h, w) of variance 1, on the model's device.
    """

    model: Model
    prompts: tuple[Prompt, ...]
    text: Callable[[int], Text]
    noise: Tensor
    guidance: Guidance
    scheduler: Any
    steps: int
    plan: EditPlan | None = None

    def __call__(self, *, record: bool = False, progress: Progress | None = None) -> tuple[Tensor, MapHistory | None]:
        """Return the final (samples, C, h, w) latents, and the word maps of every step if asked for."""
        scheduler = make_scheduler(self.scheduler, self.model.scheduler)
        scheduler.set_timesteps(self.steps, device=self.noise.device)
        backbone = self.model.backbone
        clock = Clock(self.steps, len(scheduler.timesteps))
        height, width = self.noise.shape[-2:]
        sites = map_sites(backbone.sites, backbone.native_latent_size)
        history = MapHistory(self.prompts, sites, (height, width)) if record else None
        blend = self._blend(clock, sites)
        control = AttentionControl(
            backbone,
            self.plan,
            layout=Layout(self.guidance.branches, len(self.prompts)),
            clock=clock,
            latent_size=(height, width),
            probes=[reader.probe for reader in (history, blend) if reader],
        )

        def after_step(step: int, latents: Tensor) -> Tensor:
            if history:
                history.end_step()
            return blend(step, latents) if blend else latents

        with control:
            latents = sample(
                backbone,
                scheduler,
                self.noise,
                text=self.text,
                guidance=self.guidance,
                control=control,
                after_step=after_step,
                progress=progress,
            )
        return latents, history

    def history(self) -> MapHistory:
        """Repeat the run exactly, this time reading the word maps."""
        _, history = self(record=True)
        assert history is not None
        return history

    def _blend(self, clock: Clock, sites: Sequence[Any]) -> LocalBlend | None:
        if self.plan is None or self.plan.blend is None:
            return None
        rule = self.plan.blend
        indicators = torch.tensor(rule.indicators(self.plan.source, self.plan.targets)).to(self.noise)
        return LocalBlend(rule, indicators, sites, steps=rule.steps(clock))


def generate(
    model: Model,
    prompts: str | Sequence[str],
    *,
    seed: int | Sequence[int],
    negative: str = "",
    steps: int | None = None,
    guidance: float | Guidance | None = None,
    scheduler: object = None,
    size: Size | None = None,
    latents: Tensor | None = None,
    maps: bool = False,
    progress: Progress | None = None,
) -> Generation:
    """Generate one picture per prompt.

    Args:
        prompts: one or several.
        seed: one seed gives every prompt the same noise; a list gives one to each.
        negative: the prompt to be guided away from.
        steps, guidance, scheduler: None for the model's defaults.
        size: pixels, one number or (height, width); None for the size the model was trained for.
        latents: (1 or prompts, C, h, w) unit noise to start from instead of the seed's.
        maps: read word maps along the way; otherwise ``.maps`` repeats the run when first asked for.
        progress: called with (steps done, steps in all) after every step.

    Raises:
        InvalidInput: a prompt, size, number, scheduler or tensor that cannot be used as given.
    """
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    backbone = model.backbone
    read = tuple(backbone.read(text) for text in texts)
    if not read or not all(text.strip() for text in texts):
        raise InvalidInput("an empty prompt describes no picture")
    seeds = [seed] * len(read) if isinstance(seed, Integral) else list(seed)  # pyright: ignore
    if len(seeds) != len(read):
        raise InvalidInput(f"there are {len(seeds)} seeds for {len(read)} prompts: give one, or one for each")
    noise = _start(model, seeds, size, latents).expand(len(read), -1, -1, -1)
    run = _run(model, read, negative, noise, guidance, scheduler, steps)
    final, history = run(record=maps, progress=progress)
    return Generation(
        final,
        read,
        settings=_settings(run, seed=seed, negative=negative),
        model=model,
        read_maps=(lambda: history) if history else run.history,
    )


def edit(
    model: Model,
    source: str,
    *,
    to: str | Sequence[str],
    edits: Edits | Recipe | None = None,
    self_attention: Fraction | SelfAttention | None = None,
    blend: BlendRule | None = None,
    seed: int | None = None,
    steps: int | None = None,
    guidance: float | Guidance | None = None,
    scheduler: object = None,
    negative: str = "",
    size: Size | None = None,
    latents: Tensor | None = None,
    maps: bool = False,
    progress: Progress | None = None,
) -> EditResult:
    """Generate the picture of ``source`` and, from the same noise and layout, those of the prompts ``to``.

    Args:
        to: one target prompt or several, all edited from the same source in one batch.
        edits: None infers them from the words; an edit or a list of edits applies to every target; a list of lists
            has one for each target. ``Reweight`` alone acts on top of the inferred edit; ``[]`` is no edit.
        self_attention: the part of the run in which targets attend to themselves as the source does; None for the
            model's default.
        blend: where the pictures may change; None for everywhere.
        seed: the seed of the noise that source and targets share.
        steps, guidance, scheduler, negative, size: as for ``generate``.
        latents: (1, C, h, w) unit noise to start from, instead of a seed.
        maps: read word maps along the way; otherwise ``.maps`` repeats the run when first asked for.
        progress: called with (steps done, steps in all) after every step.

    Raises:
        UnknownWord, AmbiguousWord: a word named by an edit is not in its target, or more than once.
        InvalidInput: a prompt, size, number, scheduler or tensor that cannot be used as given.
        EditNotApplied: the edit did not reach every attention layer it was meant for.
    """
    backbone = model.backbone
    if isinstance(edits, Recipe) and (self_attention is not None or blend is not None):
        raise InvalidInput("a published recipe brings its own self_attention and blend: do not give them as well")
    plan = make_plan(
        backbone.read(source),
        [backbone.read(target) for target in ([to] if isinstance(to, str) else to)],
        edits=edits,
        self_attention=model.defaults.self_attention if self_attention is None else self_attention,
        blend=blend,
    )
    if (seed is None) == (latents is None):
        raise InvalidInput("give the noise to start from: either seed= or latents=")
    prompts = (plan.source, *plan.targets)
    noise = _start(model, [seed], size, latents).expand(len(prompts), -1, -1, -1)
    run = _run(model, prompts, negative, noise, guidance, scheduler, steps, plan)
    final, history = run(record=maps, progress=progress)
    return EditResult(
        final,
        prompts,
        plan=plan,
        settings=_settings(run, seed=seed, negative=negative),
        model=model,
        read_maps=(lambda: history) if history else run.history,
    )


def _run(
    model: Model,
    prompts: Sequence[Prompt],
    negative: str,
    noise: Tensor,
    guidance: float | Guidance | None,
    scheduler: object,
    steps: int | None,
    plan: EditPlan | None = None,
) -> Run:
    """Fill in the model's defaults and encode the prompts."""
    steps = model.defaults.steps if steps is None else steps
    if isinstance(steps, bool) or not isinstance(steps, Integral) or steps < 1:
        raise InvalidInput(f"steps must be a whole number of at least 1, not {steps!r}")
    guidance = model.defaults.guidance if guidance is None else guidance
    guidance = guidance if hasattr(guidance, "combine") else ClassifierFree(guidance)  # pyright: ignore
    scheduler = model.defaults.scheduler if scheduler is None else scheduler
    text = _text(model, prompts, negative, guidance)
    return Run(model, tuple(prompts), lambda step: text, noise, guidance, scheduler, int(steps), plan)


@torch.no_grad()
def _text(model: Model, prompts: Sequence[Prompt], negative: str, guidance: Guidance) -> Text:
    """Encode every prompt once, in the order of the batch: branch by branch, the negative prompt in the first."""
    backbone = model.backbone
    encoded = backbone.encode([backbone.read(negative), *prompts])
    cond = list(range(1, len(prompts) + 1))
    order = [row for branch in guidance.branches for row in (cond if branch == "cond" else [0] * len(prompts))]
    return {name: rows[order] for name, rows in encoded.items()}


def _start(model: Model, seeds: Sequence[Any], size: Size | None, latents: Tensor | None) -> Tensor:
    """Return (seeds or 1, C, h, w) unit noise on the model's device: the given one, or the seeds'."""
    height, width = _latent_size(model, size, latents)
    shape = (model.backbone.latent_channels, height, width)
    if latents is None:
        for seed in seeds:
            if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
                raise InvalidInput(f"a seed is a whole number of at least 0, not {seed!r}")
        noise = start_noise([int(seed) for seed in seeds], shape)
    else:
        noise = latents
        if noise.ndim != 4 or noise.shape[0] not in (1, len(seeds)) or tuple(noise.shape[1:]) != shape:
            expected = f"(1, {', '.join(map(str, shape))})"
            raise InvalidInput(f"latents of shape {tuple(noise.shape)} were given where {expected} is expected")
        if not torch.isfinite(noise).all():
            raise InvalidInput("the latents contain NaN or infinite values")
    return noise.to(device=model.device, dtype=model.dtype)


def _latent_size(model: Model, size: Size | None, latents: Tensor | None) -> tuple[int, int]:
    """Return the (height, width) of the latents."""
    if size is None and latents is not None and latents.ndim == 4:
        return latents.shape[2], latents.shape[3]
    height, width = model.image_size if size is None else (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1 or height % model.factor or width % model.factor:
        nearest = " × ".join(str(max(1, math.floor(side / model.factor + 0.5)) * model.factor) for side in (height, width))
        raise InvalidInput(
            f"a picture of {height} × {width} pixels cannot be made: both sides must be multiples of {model.factor}, "
            f"such as {nearest}"
        )
    return height // model.factor, width // model.factor


def _settings(run: Run, **given: Any) -> dict[str, Any]:
    """Return what a reader needs to make the same picture again."""
    height, width = (side * run.model.factor for side in run.noise.shape[-2:])
    name = run.scheduler if isinstance(run.scheduler, str) else type(run.scheduler).__name__
    return {
        "model": run.model.name,
        "steps": run.steps,
        "guidance": getattr(run.guidance, "scale", None),
        "scheduler": name,
        "size": (height, width),
        "dtype": str(run.model.dtype).removeprefix("torch."),
        **given,
    }
