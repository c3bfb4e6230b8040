"""Instruction editors of Stable Diffusion XL: diffusers' results, CosXL's included, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    EDMDPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    StableDiffusionXLInstructPix2PixPipeline,
)

import editors
import families
import pipelines
import wordbrush as wb
from wordbrush.training.widen import load_base

SAY = "a red dog"
SETTINGS: dict[str, Any] = {"seed": 3, "steps": 4, "size": "native"}
COSXL: dict[str, Any] = {
    "sigma_min": 0.002,
    "sigma_max": 120.0,
    "sigma_data": 1.0,
    "prediction_type": "v_prediction",
    "sigma_schedule": "exponential",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An editor with random weights as diffusers writes it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = families.sdxl("editor", channels=8)
    place = tmp_path_factory.mktemp("models") / "xl"
    StableDiffusionXLInstructPix2PixPipeline(**parts, add_watermarker=False).save_pretrained(place)
    return place


def with_scheduler(folder: Path, place: Path, scheduler: Any, **index: Any) -> Path:
    """Return a copy of the editor with another scheduler and entries of ``model_index.json``."""
    shutil.copytree(folder, place)
    scheduler.save_pretrained(place / "scheduler")
    path = place / "model_index.json"
    entries = {**json.loads(path.read_text()), "scheduler": ["diffusers", type(scheduler).__name__], **index}
    path.write_text(json.dumps(entries))
    return place


def stock(folder: Path, **settings: Any) -> torch.Tensor:
    """What diffusers' pipeline makes of it, with the settings of its directory."""
    pipeline = StableDiffusionXLInstructPix2PixPipeline.from_pretrained(folder, add_watermarker=False)
    pipeline.set_progress_bar_config(disable=True)
    given: dict[str, Any] = {"num_inference_steps": 4, "guidance_scale": 5.0, **settings}
    size = {"height": 32, "width": 32}
    generator = torch.Generator().manual_seed(3)
    return pipeline(
        SAY, image=editors.picture(), output_type="latent", generator=generator, **size, **given
    ).images[0]  # pyright: ignore


def edit(folder: Path, instruction: str = SAY, **settings: Any) -> wb.Instructed:
    editor = wb.load_editor(folder, device="cpu")
    return editor(editors.picture(), instruction, **{**SETTINGS, **settings})


def far(one: torch.Tensor, two: torch.Tensor) -> float:
    return float((one - two).norm() / two.norm())


EULER = EulerDiscreteScheduler(**pipelines.BETAS, steps_offset=1, timestep_spacing="leading")
EDM = EDMEulerScheduler(**COSXL)
CASES: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "euler": (EULER, "euler", {}),
    "scaled condition": (EULER, "euler", {"is_cosxl_edit": True}),
    "empty text that is not zeros": (EULER, "euler", {"force_zeros_for_empty_prompt": False}),
    "v-prediction": (
        DDIMScheduler(**pipelines.BETAS, clip_sample=False, prediction_type="v_prediction"),
        "ddim",
        {},
    ),
    "ancestral": (EulerAncestralDiscreteScheduler(**pipelines.BETAS, steps_offset=1), "euler_a", {}),
    "cosxl": (EDM, "euler", {"is_cosxl_edit": True}),
}


@pytest.mark.parametrize("name", CASES)
def test_latents_are_those_of_diffusers(name: str, folder: Path, tmp_path: Path):
    scheduler, named, index = CASES[name]
    place = with_scheduler(folder, tmp_path / "editor", scheduler, **index)
    made = edit(place, scheduler=named)
    assert made.settings["text_guidance"] == 5.0
    assert far(made.latents[0], stock(place)) < 1e-5
    if index:
        assert far(made.latents[0], edit(folder, scheduler=named).latents[0]) > 1e-3, (
            "the switch does nothing"
        )


def test_the_default_sampler_is_that_of_the_models_kind(folder: Path, tmp_path: Path):
    """The names of solvers mean those for CosXL where the model is one."""
    own = with_scheduler(folder, tmp_path / "own", EDM, is_cosxl_edit=True)
    solver = EDMDPMSolverMultistepScheduler(**COSXL)
    other = with_scheduler(folder, tmp_path / "other", solver, is_cosxl_edit=True)
    assert far(edit(own, preset="default").latents[0], stock(other)) < 1e-5
    editor = wb.load_editor(own, device="cpu")
    refused: tuple[dict[str, Any], ...] = ({"preset": "published"}, {"scheduler": "ddim"})
    for settings in refused:
        with pytest.raises(
            wb.InvalidInput, match=r"cannot sample this model, .*\(EDM\).*; use one of euler, dpm\+\+, or"
        ):
            editor(editors.picture(), SAY, **settings)


def test_a_negative_prompt_is_that_of_diffusers(folder: Path):
    made = edit(folder, scheduler="euler", negative="snow").latents[0]
    assert far(made, stock(folder, negative_prompt="snow")) < 1e-5
    assert far(made, edit(folder, scheduler="euler", instruction="the snow").latents[0]) > 1e-3


def test_several_edits_in_half_precision_depend_on_themselves_alone(folder: Path):
    editor = wb.load_editor(folder, device="cpu", dtype="bfloat16")
    pictures = [editors.picture(0), editors.picture(1, (32, 48))]
    made = editor(pictures, [SAY, "the snow"], seed=[1, 2], size="native", steps=2)
    assert [image.size for image in made.images] == [(32, 32), (48, 32)]
    alone = editor(pictures[1], "the snow", seed=2, size="native", steps=2)
    assert torch.equal(made.latents[1], alone.latents[0])


def test_a_cosxl_that_does_not_say_how_it_sees_pictures_is_refused(folder: Path, tmp_path: Path):
    place = with_scheduler(folder, tmp_path / "cosxl", EDM)
    with pytest.raises(
        wb.ModelError, match=r'write "is_cosxl_edit": true, or false, into its model_index.json'
    ):
        wb.load_editor(place, device="cpu")


def test_it_is_for_editing_by_instruction_alone(folder: Path, tmp_path: Path):
    with pytest.raises(wb.ModelError, match=r"it follows instructions; use load_editor"):
        wb.load(folder, device="cpu")
    with pytest.raises(
        wb.ModelError,
        match=r"of the family instruction editors of Stable Diffusion XL; editors are made of Stable Diffusion 1",
    ):
        load_base(folder)
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    families.model("sdxl", torch.float32).unet.save_pretrained(copy / "unet")  # pyright: ignore
    with pytest.raises(wb.ModelError, match=r"4 input channels.*use load, and edit its words"):
        wb.load_editor(copy, device="cpu")
