"""Control inside diffusers' own pipelines: the latents of ``wb.edit``, and nothing left behind."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from PIL import Image
from torch import Tensor

import editors
import families
import pipelines
import wordbrush as wb
from compare import distance
from families import T5_LENGTH

STEPS = 4
SIZE = (24, 32)
SOURCE, DOG, RED = "a cat on the beach", "a dog on the beach", "a red cat on the beach"
TOLERANCE = 1e-6  # diffusers' schedulers work in float32 whatever they are given
# Latent diffusion's own pipeline reads 77 tokens whatever its text encoder is, which the tiny one's cannot.
OLDER = ("sd1", "sd2")
APART = ("lumina2", "qwen", "zimage")
KINDS = (*OLDER, *(kind for kind in families.KINDS if kind not in APART))

pytestmark = pytest.mark.usefixtures("same_fresh_noise")
start = partial(families.noise, size=SIZE)


def model_of(kind: str) -> wb.Model:
    return pipelines.model(kind) if kind in OLDER else families.model(kind)


def stock(model: wb.Model) -> Any:
    """Diffusers' own pipeline of the parts."""
    if model.name not in OLDER:
        return families.stock(model)
    parts: dict[str, Any] = {
        "unet": model.unet,
        "vae": model.vae,
        "text_encoder": model.text_encoder,
        "tokenizer": model.tokenizer,
        "scheduler": type(model.scheduler).from_config(model.scheduler.config),
    }
    pipe = StableDiffusionPipeline(
        **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )  # pyright: ignore
    pipe.set_progress_bar_config(disable=True)
    return pipe


def run(pipe: Any, model: wb.Model, prompts: list[str], **changed: Any) -> Tensor:
    """The latents that the pipeline makes of the prompts from one noise, (prompts, C, h, w)."""
    noise = start(model).expand(len(prompts), -1, -1, -1)
    given = {"guidance_scale": model.defaults.guidance or 0.0, "output_type": "latent", "latents": noise}
    if model.name.startswith("pixart") or model.name == "sana":
        given |= {"use_resolution_binning": False, "clean_caption": False}
    if model.name in ("flux", "schnell"):
        given["latents"] = pipe._pack_latents(noise, *noise.shape)
    if model.name in families.KINDS and model.name not in ("sdxl", "lcm", "sana"):
        given |= {"max_sequence_length": T5_LENGTH}
    height, width = (
        (32, 32) if model.name == "sana" else SIZE
    )  # Sana wants multiples of 32, and looks at the latents
    settings = {"height": height, "width": width, "num_inference_steps": STEPS, **given, **changed}
    made = pipe(prompts, **settings).images
    if model.name in ("flux", "schnell"):
        made = pipe._unpack_latents(made, height, width, pipe.vae_scale_factor)
    return made


def state(pipe: Any, model: wb.Model) -> list[Any]:
    """What control could leave behind: attributes and hooks of every module and of the scheduler."""
    modules = [
        (name, frozenset(module.__dict__), len(module._forward_pre_hooks))
        for name, module in model.unet.named_modules()
    ]
    return [*modules, "step" in vars(pipe.scheduler)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_latents_are_those_of_edit(kind: str):
    """Word swap and refinement with self-attention injection and a blend, in one batch."""
    model = model_of(kind)
    pipe = stock(model)
    settings: dict[str, Any] = {
        "edits": [[wb.Replace(0.5)], [wb.Refine(0.5), wb.Reweight({"red": 2.0})]],
        "self_attention": 0.0 if kind == "sana" else wb.SelfAttention(0.5, max_pixels=10**9),  # Sana has none
        "blend": wb.Blend("cat", [["dog"], ["cat"]], threshold=0.6, start=0.3),
    }
    plan = wb.plan(wb.from_pipe(pipe), SOURCE, to=[DOG, RED], **settings)
    plain = run(pipe, model, [SOURCE, DOG, RED])
    before = state(pipe, model)  # after a plain run, in which some pipelines leave attributes of their own
    with wb.control(pipe, plan) as prompts:
        assert prompts == [SOURCE, DOG, RED]
        controlled = run(pipe, model, prompts)
        again = run(pipe, model, prompts)
    assert state(pipe, model) == before
    expected = wb.edit(model, SOURCE, to=[DOG, RED], latents=start(model), steps=STEPS, **settings).latents
    assert all(distance(controlled[row], plain[row]) > 1e-4 for row in (1, 2)), "the edit does something"
    assert distance(controlled, expected) < TOLERANCE
    assert torch.equal(again, controlled), "another run in the same block begins anew"
    assert distance(plain[0], controlled[0]) < TOLERANCE, "the source is the plain picture"


@pytest.mark.parametrize("name", ["pndm", "heun", "dpm2", "dpm++", "unipc", "euler"])
def test_steps_are_counted_as_the_scheduler_makes_them(name: str):
    from wordbrush.sampling import make_scheduler

    model = pipelines.model("sd1")
    pipe = stock(model)
    pipe.scheduler = make_scheduler(name, model.scheduler)
    blend = wb.Blend("cat", "dog", threshold=0.6, start=0.3)
    settings: dict[str, Any] = {"edits": wb.Replace((0.25, 0.75)), "self_attention": 0.0, "blend": blend}
    with wb.control(pipe, wb.plan(model, SOURCE, to=DOG, **settings)) as prompts:
        made = run(pipe, model, prompts)
    given: dict[str, Any] = {"latents": start(model), "steps": STEPS, "scheduler": name, **settings}
    expected = wb.edit(model, SOURCE, to=DOG, **given).latents
    assert distance(made, expected) < 1e-4  # some schedulers compute in float32
    assert distance(made[1], run(pipe, model, prompts)[1]) > 1e-3


def test_pndm_loses_what_the_published_blend_did_first(monkeypatch: pytest.MonkeyPatch):
    """Its second evaluation starts from the noise again; only a blend of today's is carried over to it."""
    from wordbrush.sampling import make_scheduler

    model = pipelines.model("sd1")
    pipe = stock(model)
    pipe.scheduler = make_scheduler("pndm", model.scheduler)
    blend = wb.published.LocalBlend(["cat", "dog"], threshold=0.6, start=0.0)
    settings: dict[str, Any] = {"edits": wb.Replace(0.5), "self_attention": 0.0, "blend": blend}
    given: dict[str, Any] = {"latents": start(model), "steps": STEPS, "scheduler": "pndm", **settings}

    def made() -> Tensor:
        with wb.control(pipe, wb.plan(model, SOURCE, to=DOG, **settings)) as prompts:
            return run(pipe, model, prompts)

    published = made()
    assert distance(published, wb.edit(model, SOURCE, to=DOG, **given).latents) < TOLERANCE
    monkeypatch.setattr(wb.published.LocalBlend, "carried", True)
    carried = made()
    assert distance(carried[1], published[1]) > 1e-3
    assert distance(carried, wb.edit(model, SOURCE, to=DOG, **given).latents) < TOLERANCE


def test_a_compiled_network():
    import copy

    model = copy.deepcopy(pipelines.model("sd1", torch.float32))
    plain = stock(model)
    plan = wb.plan(model, SOURCE, to=DOG)
    with wb.control(plain, plan) as prompts:
        expected = run(plain, model, prompts)
    compiled = stock(model)
    compiled.unet = torch.compile(model.unet, backend="eager")
    with wb.control(compiled, plan) as prompts:
        torch.testing.assert_close(run(compiled, model, prompts), expected)


def test_restored_after_an_error_and_an_interruption():
    model = pipelines.model("sd1")
    pipe = stock(model)
    before, plain = state(pipe, model), run(pipe, model, [SOURCE, DOG])
    plan = wb.plan(model, SOURCE, to=DOG)
    during: list[bool] = []

    def stop(*_: Any) -> dict[str, Any]:
        during.append(state(pipe, model) != before)
        raise error("stop")

    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error, match="stop"), wb.control(pipe, plan) as prompts:
            run(pipe, model, prompts, callback_on_step_end=stop)
        assert state(pipe, model) == before
    assert during == [True, True]
    assert torch.equal(run(pipe, model, [SOURCE, DOG]), plain)


def test_a_run_that_broke_off_does_not_disturb_the_next_one():
    model = pipelines.model("sd1")
    pipe = stock(model)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of memory")

    with wb.control(pipe, wb.plan(model, SOURCE, to=DOG)) as prompts:
        whole = run(pipe, model, prompts)
        handle = model.unet.mid_block.register_forward_pre_hook(fail)  # pyright: ignore
        with pytest.raises(RuntimeError, match="out of memory"):
            run(pipe, model, prompts)
        handle.remove()
        assert torch.equal(run(pipe, model, prompts), whole)


@pytest.mark.parametrize(
    ("prompts", "changed", "said"),
    [
        ([SOURCE], {}, r"runs 2 rows with guidance, where the 2 prompts of the plan make 4"),
        ([SOURCE, DOG, RED], {}, r"runs 6 rows"),
        ([SOURCE, DOG], {"num_images_per_prompt": 2, "latents": None}, r"one picture per prompt"),
        ([SOURCE, DOG], {"guidance_scale": 1.0, "num_images_per_prompt": 2, "latents": None}, r"without guidance"),
        ([SOURCE, DOG], {"latents": None}, r"different noise"),
    ],
)  # fmt: skip
def test_other_batches_are_refused(prompts: list[str], changed: dict[str, Any], said: str):
    model = pipelines.model("sd1")
    pipe = stock(model)
    plan = wb.plan(model, SOURCE, to=DOG)
    with pytest.raises(wb.InvalidInput, match=said), wb.control(pipe, plan):
        run(pipe, model, prompts, **changed)


def test_without_guidance_and_with_generators():
    """One generator for each prompt, of one seed, is the same noise for all."""
    model = pipelines.model("sd1")
    pipe = stock(model)
    settings: dict[str, Any] = {"guidance_scale": 1.0, "latents": None}
    with wb.control(pipe, wb.plan(model, SOURCE, to=DOG)) as prompts:
        generators = [torch.Generator().manual_seed(3) for _ in prompts]
        made = run(pipe, model, prompts, generator=generators, **settings)
    noise = torch.randn((1, 4, 12, 16), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    expected = wb.edit(model, SOURCE, to=DOG, latents=noise, steps=STEPS, guidance=1).latents
    assert distance(made, expected) < TOLERANCE


def test_nesting_is_refused():
    model = pipelines.model("sd1")
    pipe = stock(model)
    plan = wb.plan(model, SOURCE, to=DOG)
    with (
        pytest.raises(wb.ControlError, match="being edited already"),
        wb.control(pipe, plan) as prompts,
        wb.control(pipe, plan),
    ):
        run(pipe, model, prompts)
    with wb.control(pipe, plan) as prompts:
        run(pipe, model, prompts)
        with pytest.raises(wb.ControlError, match="being edited already"):
            wb.edit(model, SOURCE, to=DOG, seed=1, steps=1, size=16)


def test_a_block_without_a_run_is_told():
    model = pipelines.model("sd1")
    plan = wb.plan(model, SOURCE, to=DOG)
    with pytest.raises(wb.EditNotApplied, match="made no step"), wb.control(stock(model), plan):
        pass


def test_another_pipeline_of_the_same_network_is_refused():
    model = pipelines.model("sd1")
    with (
        pytest.raises(wb.ControlError, match="or by another pipeline"),
        wb.control(stock(model), wb.plan(model, SOURCE, to=DOG)) as prompts,
    ):
        run(stock(model), model, prompts)


def test_two_calls_in_a_step_are_refused():
    model = families.model("flux")
    pipe = stock(model)
    plan = wb.plan(model, SOURCE, to=DOG)
    with pytest.raises(wb.ControlError, match="true_cfg_scale"), wb.control(pipe, plan) as prompts:
        run(pipe, model, prompts, true_cfg_scale=2.0, negative_prompt=["snow"] * 2)


def test_runs_from_the_middle_are_refused():
    model = pipelines.model("sd1", torch.float32)
    parts = {name: part for name, part in stock(model).components.items() if name != "image_encoder"}
    pipe = StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    picture = Image.new("RGB", (32, 32), "teal")
    generator = [torch.Generator().manual_seed(3) for _ in range(2)]
    plan = wb.plan(model, SOURCE, to=DOG)
    with pytest.raises(wb.ControlError, match="only runs from noise"), wb.control(pipe, plan):
        pipe([SOURCE, DOG], image=picture, strength=0.5, num_inference_steps=4, generator=generator)


@pytest.mark.parametrize("kind", APART)
def test_pipelines_that_run_no_batch_are_refused(kind: str):
    pipe = families.stock(families.model(kind))
    plan = wb.plan(wb.from_pipe(pipe), SOURCE, to=DOG)
    with (
        pytest.raises(wb.ControlError, match="does not run its prompts as one batch"),
        wb.control(pipe, plan),
    ):
        pass


def test_a_pipeline_without_t5():
    whole = families.model("sd3")
    model = replace(whole, more={**whole.more, "text_encoder_3": None, "tokenizer_3": None})
    pipe = stock(model)
    plan = wb.plan(wb.from_pipe(pipe), SOURCE, to=DOG, edits=[wb.Replace(0.5)], self_attention=0.5)
    with wb.control(pipe, plan) as prompts:
        controlled = run(pipe, model, prompts, max_sequence_length=256)
    expected = wb.edit(
        model, SOURCE, to=DOG, edits=[wb.Replace(0.5)], self_attention=0.5, latents=start(model), steps=STEPS
    )
    assert distance(controlled, expected.latents) < TOLERANCE
    assert distance(controlled, run(pipe, model, [SOURCE, DOG], max_sequence_length=256)) > 1e-4


def test_longer_texts_are_refused():
    model = families.model("sd3")
    pipe = stock(model)
    with (
        pytest.raises(wb.InvalidInput, match=r"text has 32 positions where the plan's prompts have 40"),
        wb.control(pipe, wb.plan(model, SOURCE, to=DOG)) as prompts,
    ):
        run(pipe, model, prompts, max_sequence_length=8)


def test_pipelines_whose_words_cannot_be_edited():
    from diffusers import DDPMPipeline, StableDiffusionInstructPix2PixPipeline

    parts = editors.editor().model
    editor = StableDiffusionInstructPix2PixPipeline(
        unet=parts.unet, vae=parts.vae, text_encoder=parts.text_encoder, tokenizer=parts.tokenizer,
        scheduler=parts.scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip  # pyright: ignore
    with pytest.raises(wb.ModelError, match="it follows instructions"):
        wb.from_pipe(editor)
    with pytest.raises(wb.ModelError, match="DDPMPipeline, which cannot be edited by its words"):
        wb.from_pipe(DDPMPipeline(unet=parts.unet, scheduler=parts.scheduler))  # pyright: ignore
    pipe = stock(pipelines.model("sd1"))
    pipe.text_encoder = None
    with pytest.raises(wb.ModelError, match="has no text_encoder"):
        wb.from_pipe(pipe)


def test_parts_of_several_dtypes_are_refused():
    """transformers reads a text encoder in the dtype in which it is stored, diffusers a network in float32."""
    pipe = stock(pipelines.model("sd1"))
    whole = pipe.text_encoder
    pipe.text_encoder = copy.deepcopy(whole).half()
    with pytest.raises(wb.ModelError, match=r"unet in torch.float64 and its text_encoder in torch.float16"):
        wb.from_pipe(pipe)
    pipe.text_encoder = whole
    assert wb.from_pipe(pipe).text_encoder is whole
