"""One run of the sampler over a batch of prompts: checked inputs, and exact repetition."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from wordbrush.ancestral import Ancestral
from wordbrush.backbones.base import Layout, Site, Text, map_sites
from wordbrush.backbones.control import AttentionControl, injected_by_default
from wordbrush.backbones.maps import LocalBlend, MapHistory
from wordbrush.backbones.source_cache import Recording, Replay, Source, SourceCache, same_answer, stale
from wordbrush.checks import check_seed
from wordbrush.edits.plan import EditPlan
from wordbrush.edits.prompt import Prompt
from wordbrush.edits.window import Clock
from wordbrush.errors import InvalidInput, ModelError
from wordbrush.guidance import Distilled, Guidance, SourceApart, Unguided, check_strengthening
from wordbrush.inversion.network import Network
from wordbrush.inversion.start import Start
from wordbrush.masks import Mask
from wordbrush.models import Model
from wordbrush.sampling import (
    Progress,
    Watch,
    check_steps,
    initial_latents,
    make_scheduler,
    model_input,
    sample,
    start_noise,
)
from wordbrush.sizes import Size, check_multiples, read_size

# Strengths and scales above it are said to be too large where a network makes NaN.
LARGE = 100.0


@dataclass(frozen=True, eq=False)
class Run:
    """Everything a run depends on; calling it again gives the same latents.

    Args:
        prompts: one per sample; with a plan, the source and then its targets.
        negative: the prompt of the unconditional branch, or its embedding for every step, (1, tokens, channels) each.
        noise: (samples, C, h, w) of variance 1, on the model's device and in its dtype.
        scheduler: a name or an instance, of which a fresh copy is used; nobody else may hold it.
        evaluations: of the network; some schedulers make more than ``steps``.
        start: the inverted picture that is edited, if it is one.
        mask: where the targets may change, or None for everywhere.
        cache: keeps the source for further runs, or has it.
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
    start: Start | None = None
    mask: Mask | None = None
    cache: SourceCache | None = None

    def __call__(
        self, *, record: bool = False, progress: Progress | None = None, watch: Watch | None = None
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
        known = self._known()
        layout = self._layout(known)
        encoded = self._encoded()
        answer = self._answer(scheduler) if self.cache else None
        tape = self._tape(known, layout, answer)
        recording = tape if isinstance(tape, Recording) else None
        if recording:
            recording.end_step(initial_latents(scheduler, self.noise[:1]))

        def after_step(step: int, latents: Tensor) -> Tensor:
            if history:
                history.end_step()
            if recording:
                recording.end_step(latents[:1])
            latents = blend(step, latents) if blend else latents
            return self.mask.hold(latents) if self.mask else latents

        control = None
        if self.plan or history:
            control = AttentionControl(
                backbone,
                self.plan,
                layout=replace(layout, source_in=self._attended) if known else layout,
                clock=clock,
                latent_size=(height, width),
                probes=[reader.probe for reader in (history, blend) if reader],
                tape=tape,
            )
        with recording or nullcontext():
            with control or nullcontext():
                latents = sample(
                    backbone,
                    self.start.stepping(scheduler) if self.start else scheduler,
                    self.noise,
                    text=self._text(encoded, layout),
                    guidance=self.guidance,
                    layout=layout,
                    source=self._path(known),
                    control=control,
                    after_step=after_step,
                    carries=blend is None or blend.carried or self.mask is not None,
                    progress=progress,
                    watch=watch,
                )
            check_finite(latents, self.model, self.numbers)
            if recording and answer is not None:
                recording.finish(self._key, answer)
        return latents, history

    def check(self) -> None:
        """Raise what the run would raise before its first step: of its negative prompt, and of where it edits."""
        if isinstance(self.negative, str):
            self.model.backbone.read_negative(self.negative)
        AttentionControl(
            self.model.backbone,
            self.plan,
            layout=self._layout(None),
            clock=Clock(self.steps, self.evaluations),
            latent_size=(self.noise.shape[-2], self.noise.shape[-1]),
        )

    def history(self) -> MapHistory:
        """Repeat the run, this time reading the word maps; without a cache, which need not have the source's."""
        _, history = replace(self, cache=None)(record=True)
        assert history is not None
        return history

    @property
    def numbers(self) -> dict[str, float]:
        """The numbers that can be too large for the network, by name."""
        edits = [edit for own in self.plan.edits for edit in own] if self.plan else []
        strengths = [item for edit in edits for item in getattr(edit, "strengths", {}).items()]
        scale = getattr(self.guidance, "scale", None)
        return {
            **({} if scale is None else {"the guidance": scale}),
            **{f"the strength of {word!r}": strength for word, strength in strengths},
        }

    @property
    def settings(self) -> dict[str, Any]:
        """What a reader needs besides prompts and seed to make the same pictures."""
        height, width = self.noise.shape[-2:]
        named = isinstance(self.scheduler, str)
        return {
            "model": self.model.name,
            "steps": self.steps,
            "forward_samples": self.evaluations * self._layout(self._known()).rows + (self.cache is not None),
            "guidance": getattr(self.guidance, "scale", None),
            "scheduler": self.scheduler if named else type(self.scheduler).__name__,
            "size": (height * self.model.factor, width * self.model.factor),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "negative": self.negative if isinstance(self.negative, str) else "optimised per step",
            **({"inversion": self.start.settings} if self.start else {}),
            **({"cache": "used" if self._known() else "filled"} if self.cache else {}),
        }

    def _blend(self, clock: Clock, sites: Sequence[Site]) -> LocalBlend | None:
        if self.plan is None or self.plan.blend is None:
            return None
        rule = self.plan.blend
        indicators = torch.tensor(rule.indicators(self.plan.source, self.plan.targets)).to(self.noise)
        return LocalBlend(rule, indicators, sites, steps=rule.steps(clock))

    @torch.no_grad()
    def _encoded(self) -> Text:
        """Encode the unconditional prompt and then every prompt, one row each."""
        backbone = self.model.backbone
        unconditional = backbone.read_negative(self.negative if isinstance(self.negative, str) else "")
        text = dict(backbone.encode([unconditional, *self.prompts]))
        apart = self.guidance if isinstance(self.guidance, SourceApart) else None
        source, targets = (apart.source, apart.targets) if apart else (self.guidance, self.guidance)
        if isinstance(source, Distilled) and isinstance(targets, Distilled):
            scales = [source.scale, source.scale, *[targets.scale] * (len(self.prompts) - 1)]
            text["guidance"] = torch.tensor(scales, device=self.noise.device, dtype=torch.float32)
        return text

    def _text(self, encoded: Text, layout: Layout) -> Callable[[int], Text]:
        """Lay the embeddings out as the batch, branch by branch."""
        samples = len(self.prompts)
        conditional = list(range(1, samples + 1))
        order = [
            row
            for branch in layout.branches
            for row in (conditional if branch == "cond" else [0] * samples)[
                0 if layout.has_source(branch) else 1 :
            ]
        ]
        text = {name: rows[order] for name, rows in encoded.items()}
        if isinstance(self.negative, str):
            return lambda step: text
        rows = layout.rows_of("uncond")
        return lambda step: _with_negative(text, rows, self.negative[step])  # pyright: ignore[reportArgumentType]

    @property
    def _attended(self) -> tuple[str, ...]:
        """The branches in which targets attend as the source does."""
        rules = self.plan.self_attention if self.plan else ()
        everywhere = any(rule.branches == "all" for rule in rules)
        return self.guidance.branches if everywhere else ("cond",)

    def _layout(self, known: Source | None) -> Layout:
        """Return the rows that the network runs: those of the source only where something is to be had of them."""
        source_in = () if known else self._attended if self._path(known) is not None else None
        return Layout(self.guidance.branches, len(self.prompts), self.prompts[0].length, source_in)

    def _path(self, known: Source | None) -> Tensor | None:
        """Return the source's latents at every step, if they are known beforehand."""
        if known:
            return known.path
        return self.start.path if self.start and not self.start.beside else None

    def _known(self) -> Source | None:
        return self.cache.find(self._key) if self.cache else None

    @cached_property
    def _key(self) -> dict[str, object]:
        """Everything about the source that a cache of it depends on, of the network a sample of its weights."""
        scheduler = make_scheduler(self.scheduler, self.model.scheduler)
        # LMS and DPM2 have the same settings, and noise between the steps has a seed that is none of them.
        kind = self.scheduler if isinstance(self.scheduler, Ancestral) else type(scheduler).__name__
        settings = sorted((k, str(v)) for k, v in scheduler.config.items() if k[0] != "_")
        height, width = self.noise.shape[-2:]
        negative = (
            [self.negative] if isinstance(self.negative, str) else [_digest(one) for one in self.negative]
        )
        led = (
            [_digest(t) for t in (self.start.path, self.start.noises) if t is not None] if self.start else []
        )
        network = Network.of(self.model)
        return {
            "model": f"{network.model} ({network.kind})",
            "prompt": self.prompts[0].text,
            "steps": self.steps,
            "size": f"{height * self.model.factor} × {width * self.model.factor}",
            "dtype": str(self.noise.dtype).removeprefix("torch."),
            "guidance": repr(self.guidance),
            "the scheduler": f"{kind} {settings}",
            "the negative prompt": " ".join(negative),
            "the noise": " ".join([_digest(self.noise[:1]), *led]),
            "the network's weights": _digest(torch.tensor(network.weights)),
        }

    @torch.no_grad()
    def _answer(self, scheduler: Any) -> Tensor:
        """Return the network's prediction for the source at the first step.

        Its prompt is encoded by itself: beside others, it is rounded otherwise, and the network makes much of that.
        """
        timestep, backbone = scheduler.timesteps[0], self.model.backbone
        inputs = model_input(scheduler, initial_latents(scheduler, self.noise[:1]), timestep)
        text = dict(backbone.encode(self.prompts[:1]))
        if isinstance(self.guidance, Distilled):
            text["guidance"] = torch.tensor([float(self.guidance.scale)], device=self.noise.device)
        return backbone.predict(inputs, timestep, text)

    def _tape(self, known: Source | None, layout: Layout, answer: Tensor | None) -> Recording | Replay | None:
        """Return what reads the source from the cache, or fills it.

        Raises:
            InvalidInput: the cache was filled by another network.
        """
        if self.cache is None or answer is None:
            return None
        if known is None:
            backbone = self.model.backbone
            reading = {site.index for site in backbone.sites if site.kind != "self"}
            return self.cache.record(injected_by_default(backbone) | reading, layout, self._attended)
        if not same_answer(known.answer, answer):
            raise stale("the network predicts something else now")
        return Replay(known, layout, replace(layout, source_in=self._attended))


def _with_negative(text: Text, rows: slice, embedding: Tensor) -> Text:
    embeddings = text["encoder_hidden_states"].clone()
    embeddings[rows] = embedding.to(embeddings)
    return {**text, "encoder_hidden_states": embeddings}


def _digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.detach().cpu().double().numpy().tobytes()).hexdigest()[:16]


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
    start: Start | None = None,
    mask: Mask | None = None,
    cache: SourceCache | None = None,
) -> Run:
    """Fill in the model's defaults and check the numbers.

    Raises:
        InvalidInput: the number of steps, the guidance, the scheduler or the negative prompt cannot be used, or is not
            that of the inverted picture.
    """
    steps = model.defaults.steps if steps is None else steps
    source = start.source_guidance if start and start.beside else None  # else the network is not asked for it
    guide = _guidance(model, model.defaults.guidance if guidance is None else guidance, negative, source)
    if not hasattr(guide, "combine"):
        raise InvalidInput(f"guidance is a number such as 7.5 or a guidance object, not {guide!r}")
    if "cond" not in getattr(guide, "branches", ()):
        raise InvalidInput(f"{guide!r} has no branch 'cond', the one whose attention is edited")
    scheduler = next(one for one in (scheduler, model.defaults.scheduler, model.scheduler) if one is not None)
    sampler = make_scheduler(scheduler, model.scheduler)
    check_steps(sampler, steps)
    height, width = noise.shape[-2:]
    model.backbone.schedule(sampler, int(steps), (height, width))
    evaluations = len((start.stepping(sampler) if start else sampler).timesteps)
    _check_negative(negative, guide, evaluations)
    if start and start.path is not None:
        _check_steps(len(start.path) - 1, evaluations)
    if source is not None and source != getattr(guide, "scale", None):
        guide = _apart(guide, source)
    if start and start.beside and cache is not None:
        raise InvalidInput(
            f"{start.method} asks the network for the source too, which a cache does not keep: leave cache out"
        )
    return Run(
        model,
        tuple(prompts),
        negative,
        noise.expand(len(prompts), -1, -1, -1),
        guide,
        deepcopy(scheduler),  # the caller's may change before the run is repeated
        int(steps),
        evaluations,
        plan,
        start,
        mask,
        cache,
    )


def _guidance(model: Model, guidance: object, negative: object, source: float | None) -> Any:
    """Return what a number means for the model, or the guidance object itself.

    Args:
        source: the scale for the source if it has one of its own.
    """
    if guidance is None:
        return Unguided()
    if isinstance(guidance, Distilled) and not isinstance(model.backbone.guide(guidance.scale), Distilled):
        raise InvalidInput(
            f"{model.name} takes no guidance scale as an input: give the number {guidance.scale:g}"
        )
    if not isinstance(guidance, Real) or isinstance(guidance, bool):
        return guidance
    scale = check_strengthening(guidance)
    chosen = model.backbone.guide(scale)
    # At 1 the unconditional prediction cancels, so it need not be made.
    cancels = scale == 1 and "uncond" in chosen.branches and source in (None, 1)
    return Unguided() if cancels and not negative else chosen


def _apart(guidance: Guidance, source: float) -> Guidance:
    """Return guidance with another scale for the source.

    Raises:
        InvalidInput: it has no scale that could be another.
    """
    if isinstance(guidance, Unguided) or not hasattr(guidance, "scale"):
        raise InvalidInput(
            f"{type(guidance).__name__} guidance has one scale for all: invert the picture without source_guidance"
        )
    return SourceApart(replace(guidance, scale=source), guidance)  # pyright: ignore[reportArgumentType]


def check_finite(latents: Tensor, model: Model, numbers: Mapping[str, float]) -> None:
    """Raise ``ModelError`` if what a model made has NaN or infinite values, with the likeliest reason.

    Args:
        numbers: what the caller chose that could be too large, by its name.
    """
    if torch.isfinite(latents).all():
        return
    half = latents.dtype in (torch.float16, torch.bfloat16)
    made = f"the model made NaN or infinite values in {str(latents.dtype).removeprefix('torch.')}"
    if weight := _not_finite(model):
        instead = "load it with dtype='float32', and if that does not help, " if half else ""
        raise ModelError(
            f"{made}, because its weights hold such values, first {weight}: {instead}get its files again"
        )
    name, largest = max(numbers.items(), key=lambda item: abs(item[1]), default=("", 0.0))
    if abs(largest) > LARGE:
        raise ModelError(f"{made}, because {name} is too large: {largest:g}; usual numbers are below 20")
    if half:
        others = ", or 'bfloat16'" if latents.dtype == torch.float16 else ""
        raise ModelError(f"{made}: load it with dtype='float32'{others}")
    given = "".join(f", {name} is {number:g}" for name, number in numbers.items())
    raise ModelError(
        f"{made}, though its weights are finite{given}: try smaller numbers, or another scheduler"
    )


def _not_finite(model: Model) -> str:
    """Return where a model's weights have NaN or infinite values first; nothing if they have none."""
    parts = {"unet": model.unet, "text_encoder": model.text_encoder, "vae": model.vae, **model.more}
    for part, network in parts.items():
        for name, weight in network.named_parameters() if isinstance(network, nn.Module) else ():
            if not torch.isfinite(weight).all():
                return f"{part}.{name}"
    return ""


def _check_negative(negative: object, guidance: Guidance, evaluations: int) -> None:
    if "uncond" not in guidance.branches and not (isinstance(negative, str) and not negative):
        raise InvalidInput(
            f"{type(guidance).__name__} guidance asks no unconditional branch: leave negative out"
        )
    if isinstance(negative, str):
        return
    if not isinstance(negative, Sequence) or not all(isinstance(one, Tensor) for one in negative):
        raise InvalidInput(f"negative is one prompt, the text to be guided away from, not {negative!r}")
    _check_steps(len(negative), evaluations)


def _check_steps(inverted: int, evaluations: int) -> None:
    if inverted != evaluations:
        raise InvalidInput(
            f"the picture was inverted in {inverted} steps and the run would have {evaluations}: "
            "leave steps and scheduler out, or invert it again"
        )


def make_noise(model: Model, seeds: Sequence[object], size: Size | None, latents: Tensor | None) -> Tensor:
    """Return (seeds or 1, C, h, w) unit noise on the model's device: the seeds', unless ``latents`` are given.

    Raises:
        InvalidInput: a size that the autoencoder cannot make, or latents of another shape or not finite.
    """
    height, width = latent_size(model, size, latents)
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


def latent_size(model: Model, size: Size | None, latents: Tensor | None = None) -> tuple[int, int]:
    """Return the (height, width) of the latents of pictures of a size; None for that of ``latents`` or the model's own.

    Raises:
        InvalidInput: a size that the autoencoder cannot make, or a larger one than any machine can.
    """
    if size is None and isinstance(latents, Tensor) and latents.ndim == 4:
        height, width = latents.shape[2:]
        if height % (patch := model.backbone.patch) or width % patch:
            raise InvalidInput(
                f"both sides of the latents must be multiples of {patch}, not {height} × {width}"
            )
        return height, width
    height, width = read_size(model.image_size if size is None else size)
    check_multiples(height, width, model.factor * model.backbone.patch)
    return height // model.factor, width // model.factor
