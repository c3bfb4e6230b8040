"""Every edit and their compositions against explicit softmax maps in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor

import pipelines
import wordbrush as wb
from compare import distance
from oracle import CrossEdit, Oracle

STEPS = 4
SIZE = (16, 24)
TOLERANCE = 1e-12  # float64: some hundred roundings of 1e-16
SOURCE = "a cat on the beach"  # tokens: 0 start, 1 a, 2 cat, 3 on, 4 the, 5 beach, 6 end, 7… padding


def moved(source: Tensor, own: Tensor, origin: dict[int, Sequence[int]]) -> Tensor:
    """Return the edited map in which target token t is the sum of the source tokens ``origin[t]``."""
    edited = own.clone()
    for token, sources in origin.items():
        edited[..., token] = source[..., list(sources)].sum(-1)
    return edited


def same(first: int, last: int, shift: int = 0) -> dict[int, Sequence[int]]:
    """Target tokens ``first`` to ``last`` correspond to source tokens ``shift`` before them."""
    return {token: [token - shift] for token in range(first, last + 1)}


LAST = pipelines.LENGTH - 1
EQUAL = same(0, LAST)


def swap(step: int, source: Tensor, own: Tensor) -> Tensor:
    """Cat → dog: all tokens correspond one to one, in the first 3 of 4 steps (i/4 < 0.8 up to 3/4)."""
    return moved(source, own, EQUAL)


def always(edit: CrossEdit, steps: int) -> CrossEdit:
    return lambda step, source, own: edit(step, source, own) if step < steps else own


def hippopotamus(step: int, source: Tensor, own: Tensor) -> Tensor:
    """Cat → hippopotamus: four tokens share the cat's map, what follows is shifted by three."""
    edited = moved(source, own, {**same(0, 1), **same(6, LAST, 3)})
    edited[..., 2:6] = source[..., 2:3] / 4
    return edited


def fewer(step: int, source: Tensor, own: Tensor) -> Tensor:
    """Hippopotamus → cat: the cat gets the sum of four maps, the last three paddings keep their own."""
    return moved(source, own, {**same(0, 1), 2: [2, 3, 4, 5], **same(3, LAST - 3, -3)})


def red(step: int, source: Tensor, own: Tensor) -> Tensor:
    """A *red* cat: token 2 is new, the others are shifted by one."""
    return moved(source, own, {**same(0, 1), **same(3, LAST, 1)})


def only_cat(step: int, source: Tensor, own: Tensor) -> Tensor:
    """Deleted: "on the beach"; the last three paddings have no counterpart."""
    return moved(source, own, {**same(0, 2), **same(3, LAST - 3, -3)})


def scaled(map: Tensor, factors: dict[int, float]) -> Tensor:
    map = map.clone()
    for token, factor in factors.items():
        map[..., token] *= factor
    return map


def shares(map: Tensor) -> Tensor:
    """Divide by the sums of magnitudes."""
    return map / map.abs().sum(dim=-1, keepdim=True)


def per_word(step: int, source: Tensor, own: Tensor) -> Tensor:
    """until={"dog": 0.5}: the dog (token 2) keeps the cat's map for two steps, the rest always."""
    edited = moved(source, own, EQUAL)
    if step >= 2:
        edited[..., 2] = own[..., 2]
    return edited


@dataclass
class Case:
    """One edit in our words and in the oracle's."""

    to: Sequence[str]
    cross: Sequence[CrossEdit]
    settings: dict[str, Any] = field(default_factory=dict)
    source: str = SOURCE
    self_steps: range | Sequence[range] = range(2)  # i/4 < 0.4: steps 0 and 1; or one range per target
    everywhere: bool = False

    @property
    def windows(self) -> Sequence[range]:
        """The steps of the self-attention injection of every target."""
        return [self.self_steps] * len(self.to) if isinstance(self.self_steps, range) else self.self_steps


def unchanged(step: int, source: Tensor, own: Tensor) -> Tensor:
    """No edit."""
    return own


DOG, HIPPO = "a dog on the beach", "a hippopotamus on the beach"
CASES = {
    "swap": Case([DOG], [always(swap, 4)], {"edits": wb.Replace(until=1.0)}),
    "swap, inferred": Case([DOG], [always(swap, 4)], {}),
    "swap, some steps": Case([DOG], [always(swap, 2)], {"edits": wb.Replace(until=0.5)}),
    "swap, more tokens": Case([HIPPO], [always(hippopotamus, 4)]),
    "swap, fewer tokens": Case([SOURCE], [always(fewer, 4)], source=HIPPO),
    "addition": Case(["a red cat on the beach"], [always(red, 4)], {"edits": wb.Refine(until=1.0)}),
    "deletion": Case(["a cat"], [always(only_cat, 2)], {"edits": wb.Refine(until=0.5)}),
    "per word": Case([DOG], [per_word], {"edits": wb.Replace(until={"dog": 0.5})}),
    "late window": Case(
        [DOG],
        [lambda step, source, own: moved(source, own, EQUAL) if step in (1, 2) else own],
        {"edits": wb.Replace(until=(0.25, 0.75))},
    ),
    "fader": Case(
        [SOURCE],
        [lambda step, source, own: scaled(moved(source, own, EQUAL), {5: 3.0})],
        {"edits": wb.Reweight({"beach": 3.0})},
    ),
    "two faders, one negative, own windows": Case(
        [SOURCE],
        [lambda step, source, own: scaled(source, {5: 3.0, 2: -1.0}) if step < 2 else source],
        {"edits": wb.Reweight({"beach": 3.0, "cat": -1.0}, until=0.5)},
    ),
    "swap and fader": Case(
        [DOG],
        [lambda step, source, own: scaled(source if step < 2 else own, {2: 2.0})],
        {"edits": [wb.Replace(until=0.5), wb.Reweight({"dog": 2.0})]},
    ),
    "fader of own maps": Case(
        [DOG],
        [lambda step, source, own: scaled(own, {2: 2.0})],
        {"edits": [wb.Replace(until=0.0), wb.Reweight({"dog": 2.0})]},
    ),
    "only one word injected": Case(
        [DOG],
        [lambda step, source, own: moved(source, own, {2: [2]})],
        {"edits": wb.Replace(until={"dog": 1.0, "default_": 0.0})},
    ),
    "addition and fader": Case(
        ["a red cat on the beach"],
        [lambda step, source, own: scaled(red(step, source, own), {2: 2.0, 6: 0.5})],
        {"edits": [wb.Refine(until=1.0), wb.Reweight({"red": 2.0, "beach": 0.5})]},
    ),
    "fader, renormalised": Case(
        [SOURCE],
        [lambda step, source, own: shares(scaled(source, {5: 3.0, 2: -1.0}))],
        {"edits": wb.Reweight({"beach": 3.0, "cat": -1.0}, renormalise=True)},
    ),
    "addition and fader, renormalised for a while": Case(
        ["a red cat on the beach"],
        [lambda step, source, own: shares(scaled(red(step, source, own), {2: 4.0})) if step < 2 else own],
        {
            "edits": [
                wb.Refine(until=0.5),
                wb.Reweight({"red": 4.0}, until=0.5, renormalise=True),
            ]
        },
    ),
    "renormalised beside one that is not, and one that has no need": Case(
        [DOG, DOG, HIPPO],
        [
            lambda step, source, own: shares(scaled(source, {2: 2.0})),
            lambda step, source, own: scaled(source, {2: 2.0}),
            always(hippopotamus, 4),
        ],
        {
            "edits": [
                [wb.Replace(until=1.0), wb.Reweight({"dog": 2.0}, renormalise=True)],
                [wb.Replace(until=1.0), wb.Reweight({"dog": 2.0}, renormalise=False)],
                [wb.Replace(until=1.0), wb.Reweight({"hippopotamus": 1.0}, renormalise=True)],
            ]
        },
    ),
    "three targets, edits inferred for each": Case(
        [DOG, HIPPO, "a red cat on the beach"],
        [always(swap, 4), always(hippopotamus, 4), always(red, 4)],
    ),
    "edits per target": Case(
        [DOG, DOG, DOG],
        [
            lambda step, source, own: own,
            always(swap, 2),
            lambda step, source, own: scaled(source, {2: 2.0}),
        ],
        {"edits": [[], [wb.Replace(until=0.5)], [wb.Replace(until=1.0), wb.Reweight({"dog": 2.0})]]},
    ),
    "self-attention window": Case(
        [DOG],
        [lambda step, source, own: own],
        {"edits": [], "self_attention": (0.25, 0.75)},
        self_steps=range(1, 3),
    ),
    "self-attention of each target for itself": Case(
        [DOG, HIPPO, DOG],
        [unchanged] * 3,
        {"edits": [], "self_attention": [0.75, 0.0, (0.25, 0.5)]},
        self_steps=[range(3), range(0), range(1, 2)],
    ),
    "self-attention in all branches": Case(
        [DOG, HIPPO],
        [always(swap, 4), always(hippopotamus, 4)],
        {
            "edits": wb.Replace(until=1.0),
            "self_attention": [wb.SelfAttention(0.5, branches="all"), wb.SelfAttention(0.75, branches="all")],
        },
        self_steps=[range(2), range(3)],
        everywhere=True,
    ),
}


def noise() -> Tensor:
    return torch.randn(1, 4, SIZE[0] // 2, SIZE[1] // 2, generator=torch.Generator().manual_seed(1)).double()


def explicit(case: Case) -> Tensor:
    model = pipelines.model()
    prompts = [case.source, *case.to]
    oracle = Oracle(
        model,
        prompts,
        case.cross,
        lambda step, target: step in case.windows[target],
        self_everywhere=case.everywhere,
    )
    return oracle.run(noise(), model.scheduler, steps=STEPS, guidance=7.5)


@lru_cache
def unedited(source: str, targets: tuple[str, ...]) -> Tensor:
    return explicit(
        Case(targets, [lambda step, s, own: own] * len(targets), source=source, self_steps=range(0))
    )


@pytest.mark.parametrize("name", CASES)
def test_edit_equals_explicit_maps(name: str):
    case = CASES[name]
    expected, plain = explicit(case), unedited(case.source, tuple(case.to))
    assert torch.equal(expected[0], plain[0])
    for edited, own, cross, window in zip(expected[1:], plain[1:], case.cross, case.windows, strict=True):
        assert distance(edited, own) > 1e-3 or (cross is unchanged and not window)
    result = wb.edit(
        pipelines.model(), case.source, to=case.to, seed=1, size=SIZE, steps=STEPS, **case.settings
    )
    assert distance(result.latents, expected) < TOLERANCE


def test_all_cases_are_run():
    assert len(CASES) == 23
