"""Attention control: carries out a plan while the network runs, and checks that nothing of it was left out.

What happens inside an attention layer is in ``values`` and ``maps``; how it gets there, in ``seam``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from torch import Tensor

from wordbrush.backbones.base import AttentionCall, Backbone, Layout, Mix, Site, map_factor
from wordbrush.backbones.joint import JointMix
from wordbrush.backbones.maps import Probe
from wordbrush.backbones.ragged import Restore, levelled, unchanged
from wordbrush.backbones.renormalise import CrossSums, JointSums, Renormalised
from wordbrush.backbones.seam import Handler, attending
from wordbrush.backbones.source_cache import Tape
from wordbrush.backbones.values import ValueMix
from wordbrush.edits.mix import TokenMix
from wordbrush.edits.plan import EditPlan
from wordbrush.edits.self_attention import SelfAttention
from wordbrush.edits.window import Clock
from wordbrush.errors import ControlError, EditNotApplied, InvalidInput


@dataclass(frozen=True, eq=False)
class Action:
    """What happens at one site in one step: the attention is mixed, read, or both."""

    mix: Mix | None
    probes: tuple[Probe, ...] = ()

    @property
    def uses_source(self) -> bool:
        """Whether the source's attention matters: to targets that attend as it does, or to its word maps."""
        return bool(self.probes) or (self.mix is not None and self.mix.borrows)


class AttentionControl:
    """Carries out a plan while the network runs.

        with AttentionControl(backbone, plan, layout=layout, clock=clock, latent_size=(h, w)) as control:
            for step, timestep in enumerate(timesteps):
                with control.at(step):
                    backbone.predict(…)

    Args:
        plan: the edit, or None to only read maps.
        layout: which row of the batch is what.
        clock: the steps of the run.
        latent_size: (height, width) of the latents.
        probes: word maps to read at every step.
        tape: records the source's attention, or puts it back where the source is not run; with the latter, ``layout``
            is that of the attention calls with the source.

    Raises:
        ControlError: the model is already under control, or something in it would bypass the control.
        EditNotApplied: at the end of a step in which an attention layer that should have been edited was not.
    """

    def __init__(
        self,
        backbone: Backbone,
        plan: EditPlan | None,
        *,
        layout: Layout,
        clock: Clock,
        latent_size: tuple[int, int],
        probes: Sequence[Probe] = (),
        tape: Tape | None = None,
    ) -> None:
        self._backbone = backbone
        self._layout = layout
        self._latent_size = latent_size
        self._probes = tuple(probes)
        self._mixes = plan.mixes(clock) if plan else ((),) * clock.evaluations
        self._blocks = _blocks(backbone, plan)
        self._injections = _injections(backbone, plan, clock, latent_size, self._blocks)
        self._prepared: dict[tuple[int, ...], dict[int, Action]] = {}
        self._tape = tape
        self._watched: frozenset[int] = frozenset()
        if tape:
            self._watched = tape.prepare([self._using_source(step) for step in range(clock.evaluations)])
            self._prepared.clear()  # what was prepared did not watch yet
        self._actions: Mapping[int, Action] = {}
        self._reached: set[int] = set()
        self._stack = ExitStack()

    def __enter__(self) -> AttentionControl:
        self._stack.enter_context(attending(self._backbone, self._handler))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @contextmanager
    def at(self, step: int) -> Iterator[None]:
        """Control the network call of one step, counted from 0."""
        self._actions, self._reached = self._actions_at(step), set()
        if self._tape:
            self._tape.begin(step)
        try:
            yield
        finally:
            actions, self._actions = self._actions, {}
        missed = [site for site in self._backbone.sites if site.index in actions.keys() - self._reached]
        if missed:
            raise EditNotApplied(
                f"step {step}: {len(missed)} of {len(actions)} attention layers were not reached, first "
                f"{missed[0].name} ({type(getattr(missed[0].module, 'processor', None)).__name__}): the layer must run "
                "and call torch's scaled_dot_product_attention, as AttnProcessor2_0 does"
            )

    def _handler(self, site: Site) -> Handler | None:
        """Return what handles the attention call of ``site`` in the current step, or None to leave it alone."""
        action = self._actions.get(site.index)
        if action is None:
            return None

        def handle(call: AttentionCall) -> Tensor:
            if site.index in self._reached:
                raise ControlError(
                    f"{site.name} computes attention more than once per call; it cannot be edited"
                )
            self._reached.add(site.index)
            restored: Restore = unchanged
            if site.ragged:
                call, restored = levelled(call, site.pixels(self._latent_size))
            if self._tape:
                call = self._tape.opened(site, call)
            for probe in action.probes:
                probe.read(site, call, action.mix, self._layout.edited, self._latent_size)
            out = action.mix(call) if action.mix else call()
            return restored(self._tape.closed(out) if self._tape else out)

        return handle

    def _actions_at(self, step: int) -> dict[int, Action]:
        """Return the action of every site that does not simply run its own code; equal steps share them."""
        mixes = self._mixes[step]
        injecting = tuple(target for target, rule in enumerate(self._injections) if step in rule.steps)
        key = (id(mixes), *injecting)
        if key not in self._prepared:
            self._prepared[key] = dict(self._prepare(mixes, injecting))
        return self._prepared[key]

    def _using_source(self, step: int) -> frozenset[int]:
        """Return the sites at which the source's attention is used in a step."""
        return frozenset(index for index, action in self._actions_at(step).items() if action.uses_source)

    def _prepare(self, mixes: Sequence[TokenMix], injecting: Sequence[int]) -> Iterator[tuple[int, Action]]:
        made: dict[tuple[object, ...], Mix] = {}  # sites that do the same share their matrices
        for site in self._backbone.sites:
            here, everywhere = self._injecting(site, injecting)
            words = tuple(mixes) if site.block in self._blocks else ()
            key = (site.kind, site.text_first, site.factor, bool(words), *here, None, *everywhere)
            if key not in made:
                made[key] = self._edit_of(site, words, here, everywhere)
            mix = made[key]
            probes = tuple(probe for probe in self._probes if site.index in probe.sites)
            if probes or not mix.is_identity or site.index in self._watched:
                yield site.index, Action(None if mix.is_identity else mix, probes)

    def _edit_of(
        self, site: Site, words: Sequence[TokenMix], here: Sequence[int], everywhere: Sequence[int]
    ) -> Mix:
        layout = self._layout
        mix = self._mix(site, words, here, everywhere, layout)
        targets = [target for target, word in enumerate(words) if word.renormalised]
        if not targets or not site.reads_text:
            return mix
        rows = [layout.targets[target] for target in targets]
        if site.kind == "cross":
            return Renormalised(
                mix, CrossSums.of(rows, [words[target] for target in targets], layout.source), rows
            )
        alone = replace(layout, branches=("cond",))
        magnitude = self._mix(site, [word.magnitude for word in words], here, (), alone)
        return Renormalised(mix, JointSums(magnitude, layout.edited, targets), rows)

    def _mix(
        self,
        site: Site,
        words: Sequence[TokenMix],
        here: Sequence[int],
        everywhere: Sequence[int],
        layout: Layout,
    ) -> Mix:
        if site.kind == "self":
            return ValueMix.injecting(layout, here, everywhere)
        if site.kind == "cross":
            return ValueMix.of(words, layout) if words else ValueMix()
        return JointMix.of(
            words,
            here,
            everywhere,
            layout=layout,
            pixels=site.pixels(self._latent_size),
            text_first=site.text_first,
        )

    def _injecting(self, site: Site, injecting: Sequence[int]) -> tuple[list[int], list[int]]:
        """Return the targets that attend to themselves as the source at ``site``, and which do in all branches."""
        here = [target for target in injecting if site.index in self._injections[target].sites]
        return here, [target for target in here if self._injections[target].everywhere]


def _blocks(backbone: Backbone, plan: EditPlan | None) -> frozenset[int]:
    """Return the blocks in which a plan edits attention."""
    present = frozenset(site.block for site in backbone.sites)
    if plan is None or plan.blocks is None:
        return present
    if unknown := sorted(plan.blocks - present):
        raise InvalidInput(
            f"there is no block {unknown[0]} to edit: the network's blocks are 0 to {max(present)}"
        )
    return plan.blocks


@dataclass(frozen=True)
class _Injection:
    """Where and when one target attends to itself as the source does."""

    sites: frozenset[int]
    steps: range
    everywhere: bool


def injected_by_default(backbone: Backbone) -> frozenset[int]:
    """Return the self-attention sites at map resolution or coarser, where the source's is injected by default."""
    factor = map_factor(backbone.sites, backbone.native_latent_size)
    return frozenset(site.index for site in backbone.sites if site.reads_image and site.factor >= factor)


def _injections(
    backbone: Backbone,
    plan: EditPlan | None,
    clock: Clock,
    latent_size: tuple[int, int],
    blocks: Collection[int],
) -> tuple[_Injection, ...]:
    rules = plan.self_attention if plan else ()
    made = {rule: _injection(backbone, rule, clock, latent_size, blocks) for rule in rules}
    return tuple(made[rule] for rule in rules)


def _injection(
    backbone: Backbone,
    rule: SelfAttention,
    clock: Clock,
    latent_size: tuple[int, int],
    blocks: Collection[int],
) -> _Injection:
    steps = rule.window.steps(clock, rule.rounding)
    layers = [site for site in backbone.sites if site.reads_image and site.block in blocks]
    if rule.max_pixels is None:
        default = injected_by_default(backbone)
        sites = [site for site in layers if site.index in default]
    else:
        sites = [site for site in layers if _pixels(site, latent_size) <= rule.max_pixels]
    if steps and not sites:
        smallest = min((_pixels(site, latent_size) for site in layers), default=None)
        have = "there is none" if smallest is None else f"the smallest has {smallest}"
        limit = (
            "at map resolution or coarser"
            if rule.max_pixels is None
            else f"of at most {rule.max_pixels} pixels"
        )
        raise EditNotApplied(
            f"no self-attention layer {limit} can be injected: {have}; use self_attention=0 to do without"
        )
    return _Injection(frozenset(site.index for site in sites), steps, rule.branches == "all")


def _pixels(site: Site, latent_size: tuple[int, int]) -> int:
    height, width = site.grid(latent_size)
    return height * width
