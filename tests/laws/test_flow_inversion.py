"""Inversion on straight paths: held to the picture, exact where theory says so, and equal to the published loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import families
import pipelines
import wordbrush as wb
from compare import distance
from pipelines import drawn
from wordbrush.backbones.base import Text
from wordbrush.guidance import Unguided
from wordbrush.inversion.methods import FLOW_METHODS, method_of
from wordbrush.inversion.task import Task
from wordbrush.sampling import make_scheduler, noise_source, sample

STEPS = 4
SOURCE, TARGET = "a cat on the beach", "a dog on the beach"
KINDS = ("sd3", "sd3.5", "flux", "schnell", "auraflow", "sana", "lumina2", "qwen", "zimage")
NAMES = ("rectified-flow", "flow-edit")
# The steps of 4 that flow-edit leaves out, and the scale of its source, where they are published.
PUBLISHED = {"sd3": (2, 3.5), "sd3.5": (2, 3.5), "flux": (1, 1.5)}
PLAIN: dict[str, Any] = {"edits": [], "self_attention": 0.0}


def any_latents(model: wb.Model) -> Tensor:
    """Latents that no model has made."""
    shape = (1, model.backbone.latent_channels, 8, 12)
    return torch.randn(shape, generator=torch.Generator().manual_seed(5)).double()


def inverted(kind: str, method: Any, **settings: Any) -> wb.Start:
    model = families.model(kind)
    settings = {"steps": STEPS, **settings}
    return wb.invert_latents(model, any_latents(model), SOURCE, method=method, **settings)


def test_every_method_is_tried():
    assert tuple(method.name for method in FLOW_METHODS) == NAMES


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", NAMES)
def test_an_inverted_picture_is_edited(method: str, kind: str):
    model, start = families.model(kind), inverted(kind, method)
    result = wb.edit(model, start, to=[TARGET, "a red cat on the beach"])
    told = {"method": method, "forward_samples": start.forward_samples}
    skipped, source = PUBLISHED.get(kind, (2, None))
    beside = {"skipped": skipped, "source_guidance": source} if method == "flow-edit" else {}
    assert result.settings["inversion"] == {**told, **beside}
    assert distance(result.latents[:1], any_latents(model)) < 1e-12
    assert distance(result.latents[1], result.latents[0]) > 1e-4
    assert distance(result.latents[2], result.latents[1]) > 1e-4


def test_costs_are_counted():
    """A forward-sample per step to invert; to edit, the target under both prompts and the source where it is asked."""
    start, model = inverted("sd3", "rectified-flow"), families.model("sd3")
    assert start.forward_samples == STEPS
    assert wb.edit(model, start, to=TARGET).settings["forward_samples"] == 3 * STEPS
    start = inverted("sd3", wb.FlowEdit(skipped=0.5))
    assert start.forward_samples == 0
    assert wb.edit(model, start, to=TARGET).settings["forward_samples"] == 4 * STEPS // 2
    start = inverted("flux", wb.FlowEdit(skipped=0.5))
    assert wb.edit(families.model("flux"), start, to=TARGET).settings["forward_samples"] == 2 * STEPS // 2


class KnownVelocity:
    """A network whose prediction depends on nothing but time, so that running backwards has no error."""

    def __init__(self, backbone: Any) -> None:
        self._backbone = backbone

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backbone, name)

    def predict(self, latents: Tensor, timestep: Tensor, text: Text) -> Tensor:
        return torch.ones_like(latents) * torch.cos(timestep.double() / 100)


def test_inversion_of_a_known_velocity_is_exact(monkeypatch: pytest.MonkeyPatch):
    model = families.model("sd3")
    known: Any = KnownVelocity(model.backbone)
    monkeypatch.setattr(Task, "predict", lambda task, *given: known.predict(*given))
    start = inverted("sd3", "rectified-flow")
    assert distance(start.latents, any_latents(model)) > 0.1
    scheduler = make_scheduler("flow", model.scheduler)
    model.backbone.schedule(scheduler, STEPS, (8, 12))
    again = sample(known, scheduler, start.latents, text=lambda step: {}, guidance=Unguided())
    torch.testing.assert_close(again, any_latents(model), rtol=1e-6, atol=1e-6)  # the levels are float32


def network(kind: str) -> Callable[[str, Tensor, Tensor, float], Tensor]:
    """The guided velocity under a prompt, each branch asked by itself."""
    model = families.model(kind)
    backbone = model.backbone

    def velocity(prompt: str, latents: Tensor, timestep: Tensor, scale: float) -> Tensor:
        text = dict(backbone.encode([backbone.read(prompt)]))
        if kind == "flux":
            text["guidance"] = torch.tensor([scale])
            return backbone.predict(latents, timestep, text)
        cond = backbone.predict(latents, timestep, text)
        if scale == 1:
            return cond
        empty = backbone.predict(latents, timestep, backbone.encode([backbone.read_negative("")]))
        return empty + scale * (cond - empty)

    return velocity


@pytest.mark.parametrize("kind", ["sd3", "flux"])
@torch.no_grad()
def test_rectified_flow_is_euler_backwards(kind: str):
    """Written out, without guidance: the velocity at the noisier level, of the cleaner latents."""
    model, velocity = families.model(kind), network(kind)
    scheduler = make_scheduler("flow", model.scheduler)
    model.backbone.schedule(scheduler, STEPS, (8, 12))
    latents = any_latents(model)
    for step in reversed(range(STEPS)):
        here, there = scheduler.sigmas[step], scheduler.sigmas[step + 1]
        latents = latents + (here - there) * velocity(SOURCE, latents, scheduler.timesteps[step], 1.0)
    start = inverted(kind, "rectified-flow")
    assert distance(start.latents, any_latents(model)) > 1e-2
    assert distance(start.latents, latents) < 1e-10


@pytest.mark.parametrize(
    ("kind", "skipped", "scales"), [("sd3", 0.25, (3.5, 13.5)), ("flux", 0.5, (1.5, 5.5))]
)
@torch.no_grad()
def test_flow_edit_is_the_published_loop(kind: str, skipped: float, scales: tuple[float, float]):
    """Kulikov et al. written out: fresh noise per step, the difference of the velocities added to the picture."""
    model, velocity = families.model(kind), network(kind)
    scheduler = make_scheduler("flow", model.scheduler)
    model.backbone.schedule(scheduler, STEPS, (8, 12))
    picture, (low, high) = any_latents(model), scales
    draw = noise_source([3], tuple(picture.shape[1:]))
    moved = picture
    for step in range(int(skipped * STEPS), STEPS):
        here, there = scheduler.sigmas[step].double(), scheduler.sigmas[step + 1].double()
        timestep = scheduler.timesteps[step]
        source = (1 - here) * picture + here * draw().double()
        target = moved + source - picture
        difference = velocity(TARGET, target, timestep, high) - velocity(SOURCE, source, timestep, low)
        moved = moved + (there - here) * difference
    method = wb.FlowEdit(skipped, source_guidance=low, seed=3)
    start = inverted(kind, method, guidance=high)
    result = wb.edit(model, start, to=TARGET, **PLAIN).latents
    assert distance(result[:1], picture) < 1e-12
    assert distance(moved, picture) > 1e-2
    assert distance(result[1:], moved) < 1e-6  # the levels are float32


@pytest.mark.parametrize("kind", ["sd3", "flux", "qwen"])
def test_flow_edit_to_the_same_words_returns_the_picture(kind: str):
    """With one scale for both; the published ones differ."""
    model = families.model(kind)
    result = wb.edit(model, inverted(kind, "flow-edit", guidance=3.0), to=SOURCE, **PLAIN).latents
    assert distance(result[1:], any_latents(model)) < 1e-12
    other = wb.edit(model, inverted(kind, "flow-edit", guidance=3.0), to=TARGET, **PLAIN).latents
    assert distance(other[1:], any_latents(model)) > 1e-4


@pytest.mark.parametrize(
    ("kind", "steps", "skipped", "scales"),
    [("sd3", 50, 17, (3.5, 13.5)), ("flux", 28, 4, (1.5, 5.5)), ("schnell", 2, 1, (None, 1.0))],
)
def test_flow_edit_by_name_has_the_published_settings(
    kind: str, steps: int, skipped: int, scales: tuple[float | None, float]
):
    """arXiv:2412.08629: the last 33 of 50 steps of Stable Diffusion 3, the last 24 of 28 of FLUX.1 dev."""
    start = inverted(kind, "flow-edit", steps=None)
    assert (start.steps, start.skipped) == (steps, skipped)
    assert (start.source_guidance, start.guidance) == scales
    assert start.path is not None
    assert len(start.path) == steps - skipped + 1


def test_settings_of_ones_own_take_the_place_of_published_ones():
    start = inverted("flux", wb.FlowEdit(skipped=0.5, source_guidance=2.0), guidance=4.0)
    assert (start.steps, start.skipped, start.source_guidance, start.guidance) == (STEPS, 2, 2.0, 4.0)
    start = inverted("sd3", "flow-edit", guidance=4.0)
    assert (start.skipped, start.source_guidance, start.guidance) == (2, None, 4.0)


def test_a_model_with_a_guidance_of_its_own_keeps_it():
    """The published scales are for models that are guided as Stable Diffusion 3 is."""
    model = families.model("sd3")
    small = replace(model, defaults=replace(model.defaults, guidance=4.0))
    assert wb.FlowEdit().settled(small, None, None) == (wb.FlowEdit(), None, None)
    assert wb.FlowEdit().settled(model, None, None) == (wb.FlowEdit(0.34, 3.5), 50, 13.5)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "flow-edit",
            {"skiped": "1"},
            r"'flow-edit' has no setting 'skiped' \(did you mean 'skipped'\?\); its set",
        ),
        ("direct", {"skipped": "1"}, "'direct' has no setting 'skipped'; it has none"),
        ("flow-edit", {"skipped": "x"}, "skipped of the inversion 'flow-edit' is a number or none, not 'x'"),
        ("null-text", {"inner_steps": "1.5"}, "inner_steps of .* is a whole number, not '1.5'"),
        ("null-text", {"epsilon": "none"}, "epsilon of .* is a number, not 'none'"),
        ("flow-edit", {"skipped": "1"}, "the part of the steps to skip is at least 0 and below 1, not 1.0"),
    ],
)
def test_settings_of_a_method_by_name(name: str, settings: dict[str, str], message: str):
    given = {"skipped": "0.25", "source_guidance": "none", "seed": "3"}
    assert method_of("flow-edit", given) == wb.FlowEdit(0.25, None, 3)
    with pytest.raises(wb.InvalidInput, match=message):
        method_of(name, settings)


def test_attention_control_acts_on_flow_edit():
    model, start = families.model("sd3"), inverted("sd3", "flow-edit")
    plain = wb.edit(model, start, to=TARGET, **PLAIN).latents
    controlled = wb.edit(model, start, to=TARGET, edits=wb.Replace(until=1.0)).latents
    assert distance(controlled[:1], plain[:1]) < 1e-12
    assert distance(controlled[1:], plain[1:]) > 1e-4


@pytest.mark.parametrize("method", NAMES)
def test_what_is_saved_is_what_is_loaded(method: str, tmp_path: Path):
    model, start = families.model("sd3"), inverted("sd3", method)
    start.save(tmp_path / "start.safetensors")
    loaded = wb.Start.load(tmp_path / "start.safetensors")
    assert (
        (loaded.skipped, loaded.beside)
        == (start.skipped, start.beside)
        == ((2, True) if start.beside else (0, False))
    )
    first, second = (wb.edit(model, one, to=TARGET).latents for one in (start, loaded))
    assert torch.equal(first, second)


def test_the_method_follows_the_model():
    assert inverted("sd3", None).method == "rectified-flow"
    model = pipelines.model()
    clean = torch.zeros(1, 4, 8, 8).double()
    assert wb.invert_latents(model, clean, SOURCE, steps=1).method == "direct"
    with pytest.raises(
        wb.InvalidInput, match="'flow-edit' is not for sd1, which was not trained on straight"
    ):
        wb.invert_latents(model, clean, SOURCE, method="flow-edit", steps=1)
    with pytest.raises(
        wb.InvalidInput, match=r"'direct' is not for sd3, .*: use rectified-flow or flow-edit"
    ):
        inverted("sd3", "direct")
    with pytest.raises(
        wb.InvalidInput, match="needs a FlowMatchEulerDiscreteScheduler, not DPMSolverMultistep"
    ):
        inverted("sana", None, scheduler="dpm++")


def test_sana_is_sampled_and_inverted_by_eulers_steps():
    """Its own scheduler is another one of straight paths; the shift, by another name there, is taken over."""
    model = families.model("sana")
    euler = make_scheduler("flow", model.scheduler)
    assert type(euler).__name__ == "FlowMatchEulerDiscreteScheduler"
    assert euler.config.shift == model.scheduler.config.flow_shift == 3.0
    assert type(make_scheduler("dpm++", model.scheduler)).__name__ == "DPMSolverMultistepScheduler"
    made = [
        wb.generate(model, SOURCE, seed=1, steps=80, scheduler=name).latents for name in ("flow", "dpm++")
    ]
    rough = wb.generate(model, SOURCE, seed=1, steps=2, scheduler="flow").latents
    assert distance(*made) < distance(rough, made[0]) / 4
    start = inverted("sana", None)
    assert (start.method, start.scheduler) == ("rectified-flow", "flow")


def test_the_size_that_is_named_can_be_used():
    """Of a network of patches it is a multiple of theirs, for the picture and for a mask drawn on it."""
    model, picture = families.model("sd3"), Image.fromarray(drawn(46, 64))
    with pytest.raises(wb.BadPicture, match=r"46 × 64 pixels .* trained for 64 × 64: give size=\(48, 64\)"):
        wb.invert(model, picture, SOURCE, steps=1)
    start = wb.invert(model, picture, SOURCE, steps=1, size=(48, 64))
    assert (start.given_size, start.latents.shape[2:]) == ((46, 64), (24, 32))
    mask = np.zeros((46, 64), np.uint8)
    mask[:, :32] = 255
    held = wb.edit(model, start, to=TARGET, mask=mask).latents
    assert torch.equal(held[1, :, :, 16:], held[0, :, :, 16:])
    assert (held[1] != held[0]).any()


@pytest.mark.parametrize("kind", ["sd3", "qwen", "flux"])
def test_flow_edit_with_an_unguided_target(kind: str):
    """A source at another scale needs both branches, though the target does not."""
    model, start = families.model(kind), inverted(kind, wb.FlowEdit(source_guidance=2.0), guidance=1.0)
    result = wb.edit(model, start, to=TARGET)
    alike = wb.edit(model, inverted(kind, wb.FlowEdit(source_guidance=1.0), guidance=1.0), to=TARGET)
    assert result.settings["guidance"] == 1.0
    assert distance(result.latents[:1], any_latents(model)) < 1e-12
    assert distance(result.latents[1:], alike.latents[1:]) > 1e-4


@pytest.mark.parametrize("guidance", [0.5, 0, -1])
def test_a_guidance_that_edits_refuse_is_refused_before_anything_is_computed(guidance: float):
    model, asked = families.model("sd3"), []
    with pytest.raises(wb.InvalidInput, match=f"a guidance of {guidance:g} would"):
        wb.invert_latents(
            model, any_latents(model), SOURCE, guidance=guidance, progress=lambda *n: asked.append(n)
        )
    picture = Image.new("RGB", (8, 8))  # of a size that would be refused next
    with pytest.raises(wb.InvalidInput, match=f"a guidance of {guidance:g} would"):
        wb.invert(model, picture, SOURCE, guidance=guidance)
    assert not asked


def test_what_flow_edit_cannot_do():
    model, start = families.model("sd3"), inverted("sd3", "flow-edit")
    with pytest.raises(
        wb.InvalidInput, match=r"flow-edit asks the network for the source too, .* leave cache out"
    ):
        wb.edit(model, start, to=TARGET, cache=wb.SourceCache())
    with pytest.raises(wb.InvalidInput, match="Unguided guidance has one scale for all"):
        wb.edit(families.model("schnell"), inverted("schnell", wb.FlowEdit(source_guidance=2.0)), to=TARGET)
    with pytest.raises(
        wb.InvalidInput, match=r"the part of the steps to skip is at least 0 and below 1, not 1.0"
    ):
        wb.FlowEdit(skipped=1.0)
    with pytest.raises(wb.InvalidInput, match="the source guidance scale must be a finite number"):
        wb.FlowEdit(source_guidance=float("nan"))
