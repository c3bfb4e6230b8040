"""Every family beyond Stable Diffusion 1 and 2 under the same control, on tiny pipelines of the real classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import families
import wordbrush as wb
from families import KINDS, T5_LENGTH
from family_oracle import Explicit, WordEdit, stock_latents
from pipelines import LENGTH
from wordbrush.sampling import start_noise

STEPS = 2
SIZE = (24, 32)
SOURCE, DOG = "a cat on the beach", "a dog on the beach"
HIPPO, RED = "a hippopotamus on the beach", "a red cat on the beach"
# diffusers' schedulers work in float32 whatever they are given: a rounding of the latents at every step.
TOLERANCE = 1e-6
EVERYWHERE = 10**9


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def noise(model: wb.Model) -> Tensor:
    shape = (model.backbone.latent_channels, *(side // model.factor for side in SIZE))
    return start_noise([1], shape).to(model.dtype)


def sequences(kind: str) -> list[tuple[int, int, int]]:
    """Where each tokenizer's reading begins, its length, and the position of the first word in it."""
    clip, t5 = (0, LENGTH, 1), (0, T5_LENGTH, 0)
    if kind in ("sdxl", "lcm"):
        return [clip]
    return [clip, (LENGTH, T5_LENGTH, 0)] if kind.startswith("sd3") else [t5]


def text_length(kind: str) -> int:
    return sum(length for _, length, _ in sequences(kind))


def swap(kind: str) -> WordEdit:
    """Cat → dog: token by token."""
    return lambda source, own: source


def hippopotamus(kind: str) -> WordEdit:
    """Cat → hippopotamus: four tokens share the cat's map, what follows is shifted by three."""

    def edit(source: Tensor, own: Tensor) -> Tensor:
        edited = own.clone()
        for start, length, first in sequences(kind):
            cat, end = start + first + 1, start + length
            edited[..., start:cat] = source[..., start:cat]
            edited[..., cat : cat + 4] = source[..., cat : cat + 1] / 4
            edited[..., cat + 4 : end] = source[..., cat + 1 : end - 3]
        return edited

    return edit


def red(kind: str) -> WordEdit:
    """A *red* cat: one new token, what follows is shifted by one."""

    def edit(source: Tensor, own: Tensor) -> Tensor:
        edited = own.clone()
        for start, length, first in sequences(kind):
            new, end = start + first + 1, start + length
            edited[..., start:new] = source[..., start:new]
            edited[..., new + 1 : end] = source[..., new : end - 1]
        return edited

    return edit


def louder(kind: str, edit: Callable[[str], WordEdit], word: int, factor: float) -> WordEdit:
    """The word at a position turned up, on top of another edit."""

    def both(source: Tensor, own: Tensor) -> Tensor:
        edited = edit(kind)(source, own).clone()
        for start, _, first in sequences(kind):
            edited[..., start + first + word] *= factor
        return edited

    return both


def unchanged(kind: str) -> WordEdit:
    return lambda source, own: own


@dataclass
class Case:
    """One edit in our words and in the oracle's."""

    to: Sequence[str]
    words: Callable[[str], Sequence[WordEdit]]
    settings: dict[str, Any] = field(default_factory=dict)
    word_steps: range = range(STEPS)
    image_steps: range = range(0)


CASES = {
    "replace, one step": Case(
        [DOG], lambda k: [swap(k)], {"edits": wb.Replace(until=0.5)}, word_steps=range(1)
    ),
    "replace, more tokens": Case([HIPPO], lambda k: [hippopotamus(k)], {"edits": wb.Replace(until=1.0)}),
    "refine": Case([RED], lambda k: [red(k)], {"edits": wb.Refine(until=1.0)}),
    "re-weight": Case(
        [DOG],
        lambda k: [louder(k, unchanged, 1, -1.5)],
        {"edits": [wb.Replace(until=0.0), wb.Reweight({"dog": -1.5})]},
    ),
    "self-attention": Case(
        [DOG],
        lambda k: [unchanged(k)],
        {"edits": [], "self_attention": wb.SelfAttention(0.5, max_pixels=EVERYWHERE)},
        image_steps=range(1),
    ),
    "all of them, many targets": Case(
        [DOG, HIPPO, RED],
        lambda k: [louder(k, swap, 4, 2.0), louder(k, hippopotamus, 7, 2.0), louder(k, red, 5, 2.0)],
        {
            "edits": [
                [wb.Replace(until=1.0), wb.Reweight({"beach": 2.0})],
                [wb.Replace(until=1.0), wb.Reweight({"beach": 2.0})],
                [wb.Refine(until=1.0), wb.Reweight({"beach": 2.0})],
            ],
            "self_attention": wb.SelfAttention(0.5, max_pixels=EVERYWHERE),
        },
        image_steps=range(1),
    ),
}


def edited(model: wb.Model, case: Case, **settings: Any) -> wb.EditResult:
    given = {"self_attention": 0.0, "latents": noise(model), "steps": STEPS, **case.settings, **settings}
    return wb.edit(model, SOURCE, to=case.to, **given)


@pytest.fixture
def same_fresh_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise that LCM adds between the steps, the same for the stock pipeline as for ours."""

    def drawn(shape: Sequence[int], dtype: torch.dtype, **_: Any) -> Tensor:
        return torch.randn(shape[1:], generator=torch.Generator().manual_seed(5)).to(dtype).expand(*shape)

    monkeypatch.setattr("diffusers.schedulers.scheduling_lcm.randn_tensor", drawn)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("same_fresh_noise")
def test_generate_equals_the_stock_pipeline(kind: str):
    model = families.model(kind)
    made = wb.generate(model, [SOURCE, HIPPO], latents=noise(model), steps=STEPS).latents
    expected = stock_latents(model, [SOURCE, HIPPO], noise(model), steps=STEPS)
    assert made.shape == expected.shape
    assert distance(made[0], made[1]) > 1e-3
    assert distance(made, expected) < TOLERANCE


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("same_fresh_noise")
def test_edit_equals_explicit_maps(kind: str, name: str):
    model, case = families.model(kind), CASES[name]
    prompts = [SOURCE, *case.to]
    oracle = Explicit(
        kind, len(prompts), case.words(kind), case.word_steps, case.image_steps, text_length(kind)
    )
    expected = stock_latents(model, prompts, noise(model), steps=STEPS, explicit=oracle)
    assert oracle.step == STEPS - 1
    plain = wb.generate(model, prompts, latents=noise(model), steps=STEPS).latents
    for row in range(1, len(prompts)):
        assert distance(expected[row], plain[row]) > 1e-4, "the edit does something"
    made = edited(model, case).latents
    assert torch.equal(made[0], plain[0]), "the source is what it is without targets"
    assert distance(made, expected) < TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
def test_no_edit_is_bit_equal(kind: str):
    model = families.model(kind)
    plain = wb.generate(model, [SOURCE, DOG], latents=noise(model), steps=STEPS).latents
    assert torch.equal(edited(model, Case([DOG], lambda k: [], {"edits": []})).latents, plain)
    neutral = {"edits": [wb.Replace(until=0.0), wb.Reweight({"dog": 1.0})]}
    assert torch.equal(edited(model, Case([DOG], lambda k: [], neutral)).latents, plain)
