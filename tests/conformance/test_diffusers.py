"""Our sampler against diffusers' own pipeline: same latents for every scheduler and prediction type."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

import pipelines
import wordbrush as wb
from wordbrush.sampling import SCHEDULERS, make_scheduler, start_noise

STEPS = 4
PROMPTS = ["a cat on the beach", "a red dog"]


def stock(model: wb.Model, scheduler: Any, noise: Tensor, *, negative: str) -> Tensor:
    """The latents of the plain diffusers pipeline."""
    pipeline = StableDiffusionPipeline(
        unet=model.unet,  # pyright: ignore[reportArgumentType]
        vae=model.vae,
        text_encoder=model.text_encoder,  # pyright: ignore[reportArgumentType]
        tokenizer=model.tokenizer,
        scheduler=scheduler,
        safety_checker=None,  # pyright: ignore[reportArgumentType]
        feature_extractor=None,  # pyright: ignore[reportArgumentType]
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    height, width = (side * 2 for side in noise.shape[-2:])
    settings: dict[str, Any] = {"height": height, "width": width, "num_inference_steps": STEPS}
    made = pipeline(
        PROMPTS,
        negative_prompt=[negative] * 2,
        latents=noise.expand(2, -1, -1, -1),
        guidance_scale=5.0,
        output_type="latent",
        **settings,
    )
    return made.images  # pyright: ignore


@pytest.mark.parametrize("kind", ["sd1", "sd2"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_generate_equals_the_stock_pipeline(kind: str, name: str):
    model = pipelines.model(kind)
    noise = start_noise([3], (4, 8, 16)).double()
    expected = stock(model, make_scheduler(name, model.scheduler), noise, negative="snow")
    made = wb.generate(
        model, PROMPTS, seed=3, scheduler=name, steps=STEPS, guidance=5.0, negative="snow", size=(16, 32)
    )
    # Some schedulers compute in float32, and zero terminal SNR amplifies their rounding.
    torch.testing.assert_close(made.latents, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_every_scheduler_is_tried():
    assert len(SCHEDULERS) == 10


@pytest.mark.parametrize("name", SCHEDULERS)
def test_edits_work_with_every_scheduler(name: str):
    """Evaluations are counted, not nominal steps: PNDM makes one more than asked for, Heun nearly twice as many."""
    model = pipelines.model("sd1", torch.float32)
    settings: dict[str, Any] = {"seed": 1, "steps": STEPS, "size": 16, "scheduler": name}
    ticks: list[tuple[int, int]] = []
    source, target = "a cat on the beach", "a dog on the beach"
    result = wb.edit(model, source, to=target, progress=lambda i, n: ticks.append((i, n)), **settings)
    expected = wb.generate(model, [source, target], **settings).latents
    assert ticks == [(i + 1, len(ticks)) for i in range(len(ticks))]
    assert len(ticks) == {"pndm": STEPS + 1, "heun": 2 * STEPS - 1, "dpm2": 2 * STEPS - 1}.get(name, STEPS)
    assert torch.equal(result.latents[0], expected[0])
    assert float((result.latents[1] - expected[1]).norm() / expected[1].norm()) > 1e-3


def test_named_scheduler_instances_and_class_names_agree():
    model = pipelines.model("sd1", torch.float32)
    instance = make_scheduler("euler", model.scheduler)
    settings: dict[str, Any] = {"seed": 1, "steps": STEPS, "size": 16}
    named, given, by_class = (
        wb.generate(model, "a cat", scheduler=choice, **settings).latents
        for choice in ("euler", instance, "EulerDiscreteScheduler")
    )
    assert torch.equal(named, given)
    assert torch.equal(named, by_class)
    assert instance.num_inference_steps is None, "the caller's scheduler is left alone"


def test_ddim_from_another_schedulers_settings_does_not_clip():
    from diffusers import PNDMScheduler

    scheduler = make_scheduler("ddim", PNDMScheduler(steps_offset=1))
    assert not scheduler.config.clip_sample
    assert not scheduler.config.set_alpha_to_one
    assert scheduler.config.steps_offset == 1


def test_v_prediction_settings_are_taken_over():
    scheduler = make_scheduler("ddim", pipelines.model("sd2").scheduler)
    assert scheduler.config.prediction_type == "v_prediction"
    assert scheduler.config.timestep_spacing == "trailing"
    assert scheduler.config.rescale_betas_zero_snr


@pytest.mark.parametrize("size", [16, (16, 40), (26, 18)])
@pytest.mark.parametrize("kind", pipelines.KINDS)
def test_any_size_and_aspect(kind: str, size: Any):
    model = pipelines.model(kind, torch.float32)
    blend = wb.Blend("cat", "dog")
    result = wb.edit(model, "a cat", to="a dog", seed=1, steps=2, size=size, blend=blend, maps=True)
    height, width = (size, size) if isinstance(size, int) else size
    assert result.source.size == result.images[0].size == (width, height)
    assert torch.isfinite(result.latents).all()
    assert result.maps["dog"].shape == result.maps["cat"].shape


def test_compiled_network():
    """Control acts inside a compiled network too; nothing in it draws random numbers or breaks the graph's result."""
    import copy

    plain = pipelines.model("sd1", torch.float32)
    model = copy.deepcopy(plain)
    model.unet = torch.compile(model.unet, backend="eager")  # pyright: ignore[reportAttributeAccessIssue]
    settings: dict[str, Any] = {"seed": 1, "steps": 2, "size": 16}
    compiled = wb.edit(model, "a cat", to="a dog", **settings).latents
    torch.testing.assert_close(compiled, wb.edit(plain, "a cat", to="a dog", **settings).latents)
