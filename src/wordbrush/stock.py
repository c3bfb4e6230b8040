"""The same control inside diffusers' own pipelines.

A stock pipeline makes its own batch, text and noise. Two things are needed of it: when its network is about to run,
for which torch has a public hook, and when its scheduler has made a step, where local blend acts on the latents.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from wordbrush.backbones.base import Backbone, Layout, map_sites
from wordbrush.backbones.control import AttentionControl
from wordbrush.backbones.families import LUMINA2, QWEN_IMAGE, Z_IMAGE, family_of
from wordbrush.backbones.maps import LocalBlend
from wordbrush.backbones.patches import pack, unpack
from wordbrush.edits.plan import EditPlan
from wordbrush.edits.window import Clock
from wordbrush.errors import ControlError, EditNotApplied, InvalidInput, ModelError
from wordbrush.models import PARTS, TEXT_TO_IMAGE, Defaults, Model
from wordbrush.sampling import carry_change

# Their pipelines do not run a plan's prompts as one batch: branch by branch, or as lists.
APART = (LUMINA2, QWEN_IMAGE, Z_IMAGE)


def from_pipe(pipe: Any) -> Model:
    """Return a model that shares the parts of a diffusers pipeline, which stay where and as they are.

    It is for ``plan`` and ``control``, and for ``edit`` and ``generate`` if the parts are all on one device. Its
    defaults are those of the family.

    Raises:
        ModelError: the pipeline is not one whose words can be edited, lacks a part, or is a U-Net with text encoders
            of another dtype.
    """
    classes = [one.__name__ for one in type(pipe).__mro__]
    name = next((one for one in classes if family_of(one)), classes[0])
    family = family_of(name)
    if family is None:
        reason = next(
            (TEXT_TO_IMAGE.instead[one][0] for one in classes if one in TEXT_TO_IMAGE.instead), None
        )
        raise ModelError(f"the pipeline is a {name}, {reason or TEXT_TO_IMAGE.refusal}")
    names = {"unet": family.network, **family.pipelines[name]}
    parts: dict[str, Any] = {
        part: getattr(pipe, names.get(part, part), None) for part in (*PARTS, *family.more)
    }
    spared = family.spared(lambda part: parts[part] is None)
    needed = [part for part in parts if part not in spared]
    if missing := [names.get(part, part) for part in needed if parts[part] is None]:
        raise ModelError(f"the {name} has no {missing[0]}, which is needed to edit its words")
    if family.network == "unet":
        _check_dtypes(parts)
    settings = {"_class_name": name, **pipe.config}
    own = {part: parts.pop(part) for part in PARTS}
    return Model(
        name,
        **own,
        defaults=Defaults(**family.defaults(own["unet"])),
        family=family,
        more={**parts, **{entry: settings[entry] for entry in family.settings if entry in settings}},
    )


def _check_dtypes(parts: Mapping[str, Any]) -> None:
    """Refuse text encoders that are not in the dtype of the U-Net, to which no pipeline of one brings its text."""
    dtypes = {
        part: next((weights.dtype for weights in found.parameters() if weights.is_floating_point()), None)
        for part, found in parts.items()
        if isinstance(found, nn.Module)
    }
    for part, dtype in dtypes.items():
        if part.startswith("text_encoder") and dtype and dtype != dtypes["unet"]:
            raise ModelError(
                f"the pipeline has its unet in {dtypes['unet']} and its {part} in {dtype}, which cannot run together: "
                "load it with dtype=torch.float32, or call pipe.to(torch.float32)"
            )


@contextmanager
def control(pipe: Any, plan: EditPlan) -> Iterator[list[str]]:
    """Carry out a plan in every run of a diffusers pipeline; afterwards it is as it was.

        plan = wb.plan(wb.from_pipe(pipe), "a cat on a beach", to="a dog on a beach")
        with wb.control(pipe, plan) as prompts:
            source, edited = pipe(prompts, generator=[torch.Generator().manual_seed(3) for _ in prompts]).images

    The pipeline is given the plan's prompts, the source first, and the same noise for all of them: one generator each,
    of one seed, or ``latents`` that are repeated. It brings everything else: steps, guidance, scheduler, adapters.

    Args:
        pipe: a pipeline of one of the families that ``load`` takes.
        plan: from ``plan``, made with a model of the same family.

    Returns:
        The prompts of the plan, for the pipeline.

    Raises:
        ModelError: the pipeline is not one whose words can be edited, or lacks a part.
        InvalidInput: within, if the pipeline runs other rows than those of the plan, or from other noise.
        ControlError: the pipeline does not run its prompts as one batch; within, if it is under control already, or
            runs in a way that cannot be controlled.
        EditNotApplied: the edit did not reach every attention layer it was meant for, or the pipeline was not run.
    """
    model = from_pipe(pipe)
    if model.family in APART:
        raise ControlError(
            f"a {type(pipe).__name__} does not run its prompts as one batch, so a plan cannot be carried out in it: "
            "use edit(from_pipe(pipe), …)"
        )
    controlled = _Controlled(pipe, model.backbone, plan)
    with ExitStack() as undo:
        undo.callback(controlled.end)
        undo.callback(
            model.unet.register_forward_pre_hook(controlled.before_network, with_kwargs=True).remove
        )
        undo.enter_context(_replaced_step(pipe.scheduler, controlled.before_step, controlled.after_network))
        yield [prompt.text for prompt in (plan.source, *plan.targets)]
    if not controlled.runs:
        raise EditNotApplied(
            f"this {type(pipe).__name__} made no step while it was under control: run it inside the with block"
        )


@contextmanager
def _replaced_step(
    scheduler: Any, given: Callable[[Tensor], None], made: Callable[[Any, Any], Any]
) -> Iterator[None]:
    """Show ``given`` the latents before every step, and let ``made(timestep, outcome)`` return what it returns."""
    original, present = scheduler.step, "step" in vars(scheduler)

    @functools.wraps(original)  # pipelines read its signature
    def step(model_output: Any, timestep: Any, sample: Tensor, *args: Any, **kwargs: Any) -> Any:
        given(sample)
        return made(timestep, original(model_output, timestep, sample, *args, **kwargs))

    scheduler.step = step
    try:
        yield
    finally:
        del scheduler.step
        if present:
            scheduler.step = original


class _Controlled:
    """A plan, and how far the pipeline's present run of it has come.

    Args:
        pipe: the pipeline.
        backbone: its network.
        plan: what is carried out.
    """

    def __init__(self, pipe: Any, backbone: Backbone, plan: EditPlan) -> None:
        self.runs = 0
        self._pipe = pipe
        self._backbone = backbone
        self._plan = plan
        network = getattr(backbone.network, "_orig_mod", backbone.network)  # torch.compile wraps the network
        self._signature = inspect.signature(type(network).forward)
        self._timesteps: Tensor | None = None
        self._size: tuple[int, int] = (0, 0)
        self._packed = False
        self._control: AttentionControl | None = None
        self._blend: LocalBlend | None = None
        self._made: Tensor | None = None
        self._done = 0
        self._run = ExitStack()
        self._step: ExitStack | None = None

    def before_network(self, network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Begin a step, and with the first one the run: a scheduler has other timesteps in every run."""
        if self._timesteps is not self._pipe.scheduler.timesteps:
            self._begin(self._signature.bind(network, *args, **kwargs).arguments)
        elif self._step is not None:
            raise ControlError(
                f"the network of this {type(self._pipe).__name__} is asked more than once in a step, as it is for "
                "true_cfg_scale, for skipped layers, or by another pipeline: only one call can be edited"
            )
        assert self._control is not None
        self._step = ExitStack()
        self._step.enter_context(self._control.at(self._done))

    def before_step(self, latents: Tensor) -> None:
        """Let the scheduler go on from blended latents."""
        if self._made is not None and self._timesteps is self._pipe.scheduler.timesteps:
            carry_change(self._pipe.scheduler, self._made, latents)

    def after_network(self, timestep: Any, outcome: Any) -> Any:
        """End a step; return the scheduler's outcome, blended."""
        if self._step is None or self._timesteps is None:
            return outcome  # the scheduler of somebody else
        if not self._done and float(timestep) != float(self._timesteps[0]):
            raise ControlError(
                f"this {type(self._pipe).__name__} begins at timestep {float(timestep):g} and not at the first, "
                f"{float(self._timesteps[0]):g}: only runs from noise can be edited, not strength= or denoising_start="
            )
        step, self._step = self._step, None
        step.close()
        if self._blend is not None:
            if self._blend.carried:
                self._made = outcome[0] if isinstance(outcome, tuple) else outcome.prev_sample
            outcome = self._blended(self._blend, outcome)
        self._done += 1
        return outcome

    def end(self) -> None:
        """Leave the network alone; a step that was broken off is forgotten."""
        self._run.close()
        self._step = None

    def _begin(self, given: Mapping[str, Any]) -> None:
        self.end()
        hidden = given["sample"] if "sample" in given else given["hidden_states"]
        branches = self._branches(len(hidden))
        self._check_text(given["encoder_hidden_states"])
        samples = 1 + len(self._plan.targets)
        if not torch.equal(hidden[:samples], hidden[:1].expand_as(hidden[:samples])):
            raise InvalidInput(
                "the prompts start from different noise: give the pipeline one generator for each, all of one seed, "
                "or latents that are the same for all"
            )
        self._packed = hidden.ndim == 3
        self._size = _places(given["img_ids"]) if self._packed else (hidden.shape[-2], hidden.shape[-1])
        scheduler = self._pipe.scheduler
        evaluations = len(scheduler.timesteps)
        clock = Clock(getattr(scheduler, "num_inference_steps", None) or evaluations, evaluations)
        self._blend = self._local_blend(clock, hidden)
        self._control = AttentionControl(
            self._backbone,
            self._plan,
            layout=Layout(branches, samples, self._plan.source.length),
            clock=clock,
            latent_size=self._size,
            probes=[self._blend.probe] if self._blend else [],
        )
        self._run.enter_context(self._control)
        self._timesteps, self._done, self._made = scheduler.timesteps, 0, None
        self.runs += 1

    def _branches(self, rows: int) -> tuple[str, ...]:
        samples = 1 + len(self._plan.targets)
        guided = getattr(self._pipe, "do_classifier_free_guidance", rows == 2 * samples)
        branches = ("uncond", "cond") if guided else ("cond",)
        if rows != samples * len(branches):
            raise InvalidInput(
                f"the network runs {rows} rows {'with' if guided else 'without'} guidance, where the {samples} prompts "
                f"of the plan make {samples * len(branches)}: give the pipeline the source and its targets as one "
                "list, in this order, with one picture per prompt"
            )
        return branches

    def _check_text(self, text: Tensor) -> None:
        expected = self._plan.source.length - self._backbone.own_text
        if text.shape[1] != expected:
            raise InvalidInput(
                f"the pipeline's text has {text.shape[1]} positions where the plan's prompts have {expected}: make "
                "the plan with from_pipe(pipe), and give the pipeline a max_sequence_length that fits it"
            )

    def _local_blend(self, clock: Clock, like: Tensor) -> LocalBlend | None:
        rule = self._plan.blend
        if rule is None:
            return None
        indicators = torch.tensor(rule.indicators(self._plan.source, self._plan.targets)).to(like)
        return LocalBlend(rule, indicators, map_sites(self._backbone), steps=rule.steps(clock))

    def _blended(self, blend: LocalBlend, outcome: Any) -> Any:
        """Blend the latents after a step, and the estimate beside them, which pipelines of few steps decode."""

        def blended(latents: Tensor) -> Tensor:
            if self._packed:
                return pack(blend(self._done, unpack(latents, *self._size)))
            return blend(self._done, latents)

        if isinstance(outcome, tuple):
            return tuple(blended(one) if isinstance(one, Tensor) else one for one in outcome)
        outcome.prev_sample = blended(outcome.prev_sample)
        return outcome


def _places(ids: Tensor) -> tuple[int, int]:
    """Return the (height, width) of the latents whose 2 × 2 patches have these rows and columns, (patches, 3)."""
    height, width = ids[:, 1:].amax(dim=0).tolist()
    return 2 * (int(height) + 1), 2 * (int(width) + 1)
