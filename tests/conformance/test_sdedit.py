"""SDEdit against diffusers' image-to-image pipeline of the same networks, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    HeunDiscreteScheduler,
    StableDiffusionImg2ImgPipeline,
)

import editors
import families
import pipelines
import wordbrush as wb
from wordbrush.baselines.sdedit import sdedit

PROMPTS = ["a red dog", "a cat on the beach"]
SCHEDULERS = {
    "ddim": DDIMScheduler,
    "dpm++": DPMSolverMultistepScheduler,
    "heun": HeunDiscreteScheduler,
}


def stock(model: wb.Model, scheduler: object) -> StableDiffusionImg2ImgPipeline:
    made = StableDiffusionImg2ImgPipeline(
        unet=model.unet,  # pyright: ignore[reportArgumentType]
        vae=model.vae,
        text_encoder=model.text_encoder,  # pyright: ignore[reportArgumentType]
        tokenizer=model.tokenizer,
        scheduler=scheduler,  # pyright: ignore[reportArgumentType]
        safety_checker=None,  # pyright: ignore[reportArgumentType]
        feature_extractor=None,  # pyright: ignore[reportArgumentType]
        requires_safety_checker=False,
    )
    made.set_progress_bar_config(disable=True)
    return made


@pytest.mark.parametrize("strength", [0.3, 0.75, 1.0])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_it_is_what_diffusers_makes(name: str, strength: float):
    model = pipelines.model("sd1", torch.float32)
    picture = editors.picture(1)
    settings = {"strength": strength, "steps": 10, "guidance": 4.0, "scheduler": name}
    made = sdedit(model, [picture] * 2, PROMPTS, seeds=[3, 4], **settings)
    pipeline = stock(model, SCHEDULERS[name].from_config(model.scheduler.config))
    for prompt, seed, image in zip(PROMPTS, (3, 4), made.images, strict=True):
        expected = pipeline(
            prompt,
            image=model.encode(picture),  # diffusers draws a sample of the posterior
            strength=strength,
            num_inference_steps=10,
            guidance_scale=4.0,
            generator=torch.Generator().manual_seed(seed),
            output_type="np",
        ).images[0]  # pyright: ignore[reportAttributeAccessIssue]
        worst = np.abs(np.asarray(image) / 255 - expected).max()
        assert worst < 0.6 / 255
    assert made.images[0].size == picture.size


def test_it_costs_the_steps_that_are_left():
    model = pipelines.model("sd1", torch.float32)
    made = [
        sdedit(model, [editors.picture(2)], PROMPTS[:1], strength=strength, seeds=[0], steps=10)
        for strength in (0.2, 0.6, 1.0)
    ]
    assert [one.settings["forward_samples"] for one in made] == [4, 12, 20]
    assert len({one.images[0].tobytes() for one in made}) == 3
    unguided = sdedit(model, [editors.picture(2)], PROMPTS[:1], strength=0.6, seeds=[0], steps=10, guidance=1)
    assert unguided.settings["forward_samples"] == 6


def test_an_edit_depends_on_nothing_beside_it():
    model = pipelines.model("sd1", torch.float32)
    pictures = [editors.picture(1), editors.picture(2, size=(48, 32)), editors.picture(3)]
    together = sdedit(model, pictures, [*PROMPTS, "snow"], strength=0.5, seeds=[1, 2, 3], steps=4)
    alone = sdedit(model, pictures[2:], ["snow"], strength=0.5, seeds=[3], steps=4)
    assert [image.size for image in together.images] == [(32, 32), (32, 48), (32, 32)]
    difference = np.asarray(together.images[2], int) - np.asarray(alone.images[0], int)
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"strength": 0}, "above 0 and at most 1, not 0"),
        ({"strength": 1.5}, "at most 1, not 1.5"),
        ({"strength": 0.05}, "less than one of 10 steps: give at least 0.1"),
        ({"prompts": []}, "1 pictures, 0 prompts and 1 seeds"),
        ({"prompts": [" "]}, "an empty prompt"),
        ({"seeds": [-1]}, "a seed is"),
        ({"scheduler": "lcm"}, "cannot begin in the middle"),
        ({"scheduler": "dim"}, "did you mean 'ddim'"),
    ],
)
def test_what_cannot_be_used_is_refused(change: dict, says: str):
    given = {
        "pictures": [editors.picture()],
        "prompts": PROMPTS[:1],
        "seeds": [0],
        "strength": 0.5,
        "steps": 10,
    }
    with pytest.raises(wb.InvalidInput, match=says):
        sdedit(pipelines.model("sd1", torch.float32), **{**given, **change})


def test_models_without_noise_to_add_are_refused():
    with pytest.raises(wb.ModelError, match="straight paths"):
        sdedit(families.model("sd3"), [editors.picture()], PROMPTS[:1], seeds=[0], strength=0.5)
