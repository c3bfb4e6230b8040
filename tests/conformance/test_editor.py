"""The editor: diffusers' results, rows that stand alone, masks, sizes, costs, loading, a sentence for bad input."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionInstructPix2PixPipeline
from PIL import Image

import editors
import pipelines
import wordbrush as wb
from original_format import write_single_file
from wordbrush.changed import changed
from wordbrush.files import read_settings
from wordbrush.instruct import PRESETS
from wordbrush.models import EMBEDDED_EDITORS
from wordbrush.sampling import SCHEDULERS
from wordbrush.storybook.judges import Judges

SAY = "a red dog"
FAST: dict[str, Any] = {"steps": 2, "scheduler": "euler"}


def edit(*arguments: Any, **settings: Any) -> wb.Instructed:
    return editors.editor()(*arguments, **{**FAST, **settings})


def far(one: torch.Tensor, two: torch.Tensor) -> float:
    return float((one - two).norm() / two.norm())


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=int)


# Against diffusers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 5])
def test_the_same_seed_is_the_same_picture_in_diffusers(seed: int):
    """With the scheduler that published editors come with, and noise between the steps from the same stream."""
    made = edit(editors.picture(), SAY, seed=seed, scheduler="euler_a", steps=4)
    stock = editors.pipeline(editors.editor(), editors.scheduler())
    settings: dict[str, Any] = {"num_inference_steps": 4, "generator": torch.Generator().manual_seed(seed)}
    expected = stock(SAY, image=editors.picture(), output_type="latent", **settings).images  # pyright: ignore
    assert far(made.latents[0], expected[0]) < 1e-5
    settings["generator"] = torch.Generator().manual_seed(seed)
    shown = stock(SAY, image=editors.picture(), **settings).images[0]  # pyright: ignore
    assert np.abs(pixels(made.images[0]) - pixels(shown)).max() <= 1


def test_image_guidance_below_one_still_guides():
    weak, off = (edit(editors.picture(), SAY, image_guidance=0.9, text_guidance=t) for t in (7.5, 1.0))
    assert far(weak.latents[0], off.latents[0]) > 1e-2


@pytest.mark.parametrize("name", [*SCHEDULERS, "euler_a"])
def test_every_scheduler(name: str):
    one, two = (edit(editors.picture(), SAY, scheduler=name, steps=3, seed=seed) for seed in (1, 2))
    assert torch.isfinite(one.latents[0]).all()
    assert far(one.latents[0], two.latents[0]) > 1e-2
    assert one.settings["scheduler"] == name


# Batches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheduler", ["euler", "euler_a"])
def test_an_edit_depends_on_itself_alone(scheduler: str):
    pictures = [editors.picture(n) for n in range(3)]
    said = [SAY, "snow on the castle", "the beach"]
    settings: dict[str, Any] = {"scheduler": scheduler, "steps": 3}
    together = edit(pictures, said, seed=[4, 5, 6], batch=2, **settings)
    for number in range(3):
        alone = edit(pictures[number], said[number], seed=4 + number, **settings)
        assert far(together.latents[number], alone.latents[0]) < 1e-5
    crossed = edit(pictures, said[::-1], seed=[4, 5, 6], **settings)
    assert far(crossed.latents[0], together.latents[0]) > 1e-3
    assert [row["instruction"] for row in together.rows] == said


def test_one_for_all_or_one_for_each():
    one, two = editors.picture(0), editors.picture(1)
    seeds = edit(one, SAY, seed=[1, 2]).latents
    assert far(seeds[0], seeds[1]) > 1e-3
    said = edit(one, [SAY, "the beach"]).latents
    assert far(said[0], said[1]) > 1e-3
    both = edit([one, two], SAY).latents
    assert far(both[1], edit(two, SAY).latents[0]) < 1e-5


def test_arrays_are_pictures_masks_and_seeds():
    image, region = editors.picture(0), np.zeros((32, 32), dtype=bool)
    region[:16] = True
    levels = region.astype(np.uint8) * np.uint8(255)
    seeds = edit(image, SAY, seed=np.arange(2), mask=Image.fromarray(levels))
    arrays = edit(np.asarray(image), SAY, seed=[0, 1], mask=region)
    assert [row["seed"] for row in seeds.rows] == [0, 1]
    for one, two in zip(seeds.images, arrays.images, strict=True):
        np.testing.assert_array_equal(pixels(one), pixels(two))
        np.testing.assert_array_equal(pixels(one)[~region], pixels(image)[~region])
    grey = edit(image, SAY, seed=[0, 1], mask=levels)
    np.testing.assert_array_equal(pixels(grey.images[1]), pixels(seeds.images[1]))


def test_pictures_of_different_sizes():
    sizes = [(32, 32), (32, 48), (32, 32)]
    made = edit([editors.picture(n, size) for n, size in enumerate(sizes)], SAY, size="native")
    assert [image.size[::-1] for image in made.images] == sizes
    ticks: list[tuple[int, int]] = []
    edit(made.images, SAY, size="native", progress=lambda step, steps: ticks.append((step, steps)))
    assert ticks == [(1, 4), (2, 4), (3, 4), (4, 4)]
    width, height = made.grid().size
    assert width > height


# Masks and sizes --------------------------------------------------------------------------------------------------


def test_outside_the_mask_every_pixel_is_the_picture_s():
    picture = editors.picture(0, (48, 72))
    levels = np.zeros((48, 72), dtype=np.uint8)
    levels[10:30, 10:40], levels[30:40, 10:40] = 255, 128
    free, held = edit(picture, SAY), edit(picture, SAY, mask=Image.fromarray(levels))
    before, after, whole = pixels(picture), pixels(held.images[0]), pixels(free.images[0])
    np.testing.assert_array_equal(after[levels == 0], before[levels == 0])
    np.testing.assert_array_equal(after[levels == 255], whole[levels == 255])
    assert np.abs(whole[levels == 0] - before[levels == 0]).max() > 10, "without the mask it changes there"
    mixed = (before * (127 / 255) + whole * (128 / 255))[levels == 128]
    assert np.abs(after[levels == 128] - mixed).max() <= 0.5 + 1e-9


def test_a_mask_found_from_the_edit_keeps_the_pixels_that_it_left_alone(monkeypatch: pytest.MonkeyPatch):
    compared: list[tuple[Image.Image, Image.Image, int]] = []

    def left_half(edited: Image.Image, unedited: Image.Image, factor: int) -> Image.Image:
        compared.append((edited, unedited, factor))
        mask = Image.new("L", edited.size, 0)
        mask.paste(255, (0, 0, edited.width // 2, edited.height))
        return mask

    picture = editors.picture(0)
    free, held = edit(picture, SAY), edit(picture, SAY, mask="auto")
    assert torch.equal(free.latents[0], held.latents[0]), "what the network does is the same"
    assert (free.rows[0]["masked"], held.rows[0]["masked"]) == (False, "auto")
    monkeypatch.setattr("wordbrush.results.changed", left_half)
    before, after, whole = pixels(picture), pixels(held.images[0]), pixels(free.images[0])
    np.testing.assert_array_equal(after[:, 16:], before[:, 16:])
    np.testing.assert_array_equal(after[:, :16], whole[:, :16])
    ((edited, unedited, factor),), model = compared, editors.editor().model
    np.testing.assert_array_equal(pixels(edited), whole)
    np.testing.assert_array_equal(pixels(unedited), pixels(model.decode(model.encode(picture))[0]))
    assert factor == model.factor


def test_what_changed_is_white_and_what_only_the_autoencoder_lost_is_black():
    unedited = Image.new("RGB", (64, 48), (90, 120, 60))
    edited = unedited.copy()
    edited.paste((200, 20, 20), (16, 16, 40, 32))
    assert changed(unedited, unedited, 8).getextrema() == (0, 0)
    found = np.asarray(changed(edited, unedited, 8))
    assert found.shape == (48, 64)
    assert (found[20:28, 20:36] == 255).all()
    assert (found[:4] == 0).all()
    assert (found[:, 56:] == 0).all()
    assert set(np.unique(found)) - {0, 255}, "its edges are soft"


@pytest.mark.parametrize(
    ("size", "result", "worked"),
    [
        ("whole", (50, 72), (24, 36)),
        ("published", (24, 32), (24, 32)),
        ((16, 40), (16, 40), (16, 40)),
        (16, (16, 16), (16, 16)),
    ],
)
def test_sizes(size: Any, result: tuple[int, int], worked: tuple[int, int]):
    made = edit(editors.picture(0, (50, 72)), SAY, size=size, mask=Image.new("L", (72, 50), 255))
    assert made.images[0].size[::-1] == made.before[0].size[::-1] == result
    assert made.rows[0]["worked_size"] == worked
    assert tuple(made.latents[0].shape[1:]) == (worked[0] // 2, worked[1] // 2)


def test_native_is_the_picture_itself_or_refused():
    picture = editors.picture(0, (34, 26))
    made = edit(picture, SAY, size="native")
    np.testing.assert_array_equal(pixels(made.before[0]), pixels(picture))
    assert made.rows[0]["worked_size"] == (34, 26)
    with pytest.raises(wb.BadPicture, match="multiples of 2 pixels: 36 × 26, not 35 × 26"):
        edit(editors.picture(0, (35, 26)), SAY, size="native")


# Cost -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("guided", "cost"),
    [
        (None, 18),
        (wb.GuidedSteps(0.5), 12),
        (wb.GuidedSteps(0.5, reuse=False), 12),
        (wb.GuidedSteps(every=2), 12),
        (wb.GuidedSteps((0.5, 1.0), every=3), 8),
    ],
)
def test_forward_samples_are_counted(monkeypatch: pytest.MonkeyPatch, guided: Any, cost: int):
    counted: list[int] = []
    editor = editors.editor()
    predict = editor.backbone.predict
    monkeypatch.setattr(
        editor.backbone, "predict", lambda x, *rest: (counted.append(len(x)), predict(x, *rest))[1]
    )
    made = edit(editors.picture(), [SAY, "the beach"], steps=6, guided=guided)
    assert made.settings["forward_samples_per_edit"] == cost
    assert made.settings["forward_samples"] == sum(counted) == 2 * cost


def test_keys_and_values_of_texts_are_made_once(monkeypatch: pytest.MonkeyPatch):
    editor = editors.editor()
    crossing = [site.module for site in editor.backbone.sites if site.kind == "cross"]
    layers = {layer for module in crossing for layer in (module.to_k, module.to_v)}  # pyright: ignore
    made: list[torch.nn.Module] = []
    forward = torch.nn.Linear.forward

    def counting(self: torch.nn.Linear, inputs: torch.Tensor) -> torch.Tensor:
        made.extend({self} & layers)
        return forward(self, inputs)

    before = [set(layer.__dict__) for layer in layers]
    guided = wb.GuidedSteps(every=2)
    monkeypatch.setattr(torch.nn.Linear, "forward", counting)
    remembered = edit(editors.picture(), SAY, steps=6, guided=guided).latents[0]
    assert len(made) == 2 * len(layers), "once in steps of all branches, and once in the others"
    assert [set(layer.__dict__) for layer in layers] == before
    monkeypatch.setattr("wordbrush.instruct_run.remembering_text", lambda backbone: nullcontext())
    made.clear()
    again = edit(editors.picture(), SAY, steps=6, guided=guided).latents[0]
    assert len(made) == 6 * len(layers)
    assert torch.equal(remembered, again)


def test_fewer_guided_steps_are_an_approximation():
    """Guidance in all steps is the whole of it; reusing what it added is nearer to it than leaving it out."""
    every, all_of_it, reused, left_out = (
        edit(editors.picture(), SAY, steps=8, guided=guided).latents[0]
        for guided in (
            None,
            wb.GuidedSteps((0.0, 1.0)),
            wb.GuidedSteps(every=2),
            wb.GuidedSteps(every=2, reuse=False),
        )
    )
    assert torch.equal(every, all_of_it)
    assert 1e-4 < far(reused, every) < far(left_out, every)


def test_presets():
    assert set(PRESETS) == {"published", "default", "fast"}
    costs = {}
    for name in ("default", "fast"):
        costs[name] = editors.editor()(editors.picture(), SAY, preset=name).settings[
            "forward_samples_per_edit"
        ]
    assert costs["default"] <= 45
    assert costs["fast"] < 20
    published = editors.editor()(editors.picture(), SAY, preset="published", steps=2)
    assert published.settings["scheduler"] == "euler_a"
    assert PRESETS["published"].steps == 100


# Results ----------------------------------------------------------------------------------------------------------


def test_saved_pictures_know_how_they_were_made(tmp_path: Path):
    made = edit(editors.picture(), [SAY, "the beach"], seed=3, image_guidance=0.8)
    made.save(tmp_path / "all")
    names = ["01.png", "02.png"]
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == names
    known = read_settings(tmp_path / "all" / "02.png")
    assert known["instruction"] == "the beach"
    assert (known["seed"], known["image_guidance"], known["steps"]) == (3, 0.8, 2)
    assert set(known["versions"]) == {"wordbrush", "torch", "diffusers"}
    with Image.open(tmp_path / "all" / "01.png") as image:
        np.testing.assert_array_equal(pixels(image), pixels(made.images[0]))
        assert image.info["Description"] == SAY
    with pytest.raises(wb.InvalidInput, match="2 pictures do not fit"):
        made.save(tmp_path / "one.png")
    edit(editors.picture(), SAY).save(tmp_path / "one.png")
    assert read_settings(tmp_path / "one.png")["instruction"] == SAY


# Bad input --------------------------------------------------------------------------------------------------------

BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"instructions": ""}, wb.InvalidInput, "an empty instruction"),
    ({"instructions": "cat " * 30}, wb.PromptTooLong, "32 tokens"),
    ({"negative": "cat " * 30}, wb.PromptTooLong, "32 tokens"),
    ({"instructions": 3}, wb.InvalidInput, "a prompt is a piece of text"),
    (
        {"instructions": [SAY] * 2, "seed": [1, 2, 3]},
        wb.InvalidInput,
        "2 instructions, 3 seeds cannot be paired",
    ),
    ({"images": []}, wb.InvalidInput, "0 images cannot be paired"),
    ({"images": "nowhere.png"}, wb.BadPicture, "cannot read nowhere.png"),
    ({"images": 3}, wb.InvalidInput, "a picture is the path"),
    ({"images": np.zeros((32, 32, 3))}, wb.BadPicture, r"uint8 of shape .h, w, 3. .*, not float64 of shape"),
    (
        {"images": iter([editors.picture()])},
        wb.InvalidInput,
        "images are one, or a list, not a list_iterator: give",
    ),
    ({"seed": np.ones((1, 2), int)}, wb.InvalidInput, "a seed is a whole number"),
    ({"images": editors.picture(0, (2, 90))}, wb.BadPicture, "too long and narrow"),
    ({"seed": -1}, wb.InvalidInput, "whole number of at least 0"),
    ({"text_guidance": float("inf")}, wb.InvalidInput, "text guidance scale must be a finite number"),
    ({"image_guidance": "1.5"}, wb.InvalidInput, "image guidance scale must be a finite number"),
    ({"mask": Image.new("L", (32, 30), 255)}, wb.BadPicture, "30 × 32 pixels and the picture 32 × 32"),
    ({"mask": Image.new("L", (32, 32), 0)}, wb.BadPicture, "black everywhere"),
    ({"preset": "fats"}, wb.InvalidInput, r"not 'fats' \(did you mean 'fast'"),
    ({"steps": 0}, wb.InvalidInput, "at least 1, not 0"),
    ({"steps": 1001}, wb.InvalidInput, "1000 timesteps"),
    ({"scheduler": "euler_b"}, wb.InvalidInput, "did you mean 'euler_a'.*deis, lcm, euler_a"),
    ({"guided": 0.8}, wb.InvalidInput, "guided is GuidedSteps"),
    ({"guided": wb.GuidedSteps((0.1, 0.2))}, wb.InvalidInput, "holds none of the 2 steps"),
    ({"size": "hole"}, wb.InvalidInput, r"not 'hole' \(did you mean 'whole'"),
    ({"size": 17}, wb.InvalidInput, "multiples of 2 pixels"),
    ({"size": (16, 0)}, wb.InvalidInput, "whole numbers of pixels"),
    ({"batch": 0}, wb.InvalidInput, "batch must be"),
]


@pytest.mark.parametrize(("changes", "error", "message"), BAD, ids=[str(c)[:40] for c, _, _ in BAD])
def test_bad_input(changes: dict[str, Any], error: type[Exception], message: str):
    def never(step: int, steps: int) -> None:
        raise AssertionError("nothing may be computed before the input is checked")

    given: dict[str, Any] = {"images": editors.picture(), "instructions": SAY, **changes}
    with pytest.raises(error, match=message) as caught:
        edit(given.pop("images"), given.pop("instructions"), progress=never, **given)
    assert "\n" not in str(caught.value)


def test_every_bad_input_is_tried():
    assert len(BAD) == 27


def test_memory_that_runs_out_is_a_sentence(monkeypatch: pytest.MonkeyPatch):
    def full(*arguments: Any, **settings: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("wordbrush.instruct.denoise", full)
    with pytest.raises(wb.ModelError, match=r"2 pictures of 32 × 32 pixels: edit fewer pictures.*bfloat16"):
        edit([editors.picture()] * 2, SAY)


def test_pictures_that_are_not_finite_are_refused(monkeypatch: pytest.MonkeyPatch):
    editor = editors.editor()
    monkeypatch.setattr(editor.backbone, "predict", lambda latents, *rest: latents * float("nan"))
    with pytest.raises(wb.ModelError, match="NaN or infinite values in float32"):
        edit(editors.picture(), SAY)


# Loading ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return editors.save(tmp_path_factory.mktemp("models") / "editor")


def made(editor: wb.Editor) -> torch.Tensor:
    return editor(editors.picture(), SAY, seed=1, **FAST).latents[0]


def test_directory(folder: Path):
    assert torch.equal(made(wb.load_editor(folder, device="cpu")), made(editors.editor()))


def test_defaults_of_the_editor(folder: Path, tmp_path: Path):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "wordbrush.json").write_text('{"text_guidance": 3.0, "preset": "fast", "side": 16}')
    result = wb.load_editor(copy, device="cpu")(editors.picture(), SAY)
    assert result.settings["text_guidance"] == 3.0
    assert result.settings["steps"] == PRESETS["fast"].steps
    assert result.rows[0]["worked_size"] == (16, 16)
    for text, message in (
        ('{"preset": "slow"}', "preset is one of published, default, fast, not 'slow'"),
        ('{"text_guidance": "much"}', "text guidance scale must be a finite number"),
        ('{"prest": 1}', "did you mean 'preset'"),
        ('{"side": "x"}', "side must be a whole number of at least 1, not 'x'"),
        ("[1]", "cannot be read: .* holds a list"),
    ):
        (copy / "wordbrush.json").write_text(text)
        with pytest.raises(wb.ModelError, match=message):
            wb.load_editor(copy, device="cpu")


def test_models_of_the_other_kind_are_pointed_to_the_other_door(
    folder: Path, tmp_path: Path, tiny_folder: Path
):
    with pytest.raises(wb.ModelError, match=r"StableDiffusionPipeline, a text-to-image model.*use load"):
        wb.load_editor(tiny_folder, device="cpu")
    with pytest.raises(wb.ModelError, match=r"which cannot be edited by its words.*use load_editor"):
        wb.load(folder, device="cpu")
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    index = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps({**index, "_class_name": "StableDiffusionPipeline"}))
    with pytest.raises(wb.ModelError, match=r"8 input channels .* instruction editor: use load_editor"):
        wb.load(copy, device="cpu")
    wrong = {**index, "_class_name": "StableDiffusionXLInstructPix2PixPipeline"}
    (copy / "model_index.json").write_text(json.dumps(wrong))
    with pytest.raises(wb.ModelError, match="is incomplete: it has no text_encoder_2"):
        wb.load_editor(copy, device="cpu")
    (copy / "model_index.json").write_text(json.dumps(index))
    pipelines.model("sd1", torch.float32).unet.save_pretrained(copy / "unet")  # pyright: ignore
    with pytest.raises(wb.ModelError, match=r"4 input channels.*use load, and edit its words"):
        wb.load_editor(copy, device="cpu")


def test_storybook_makes_it_night():
    meadow = wb.generate(wb.load("storybook", device="cpu"), "a tree in a meadow", seed=3).images[0]
    editor = wb.load_editor("storybook", device="cpu")
    night, noon = editor(meadow, ["make it night", "make it noon"]).images
    assert night.size == noon.size == meadow.size
    reading = Judges().read([meadow, night, noon]).words
    assert reading["time"] == ["noon", "night", "noon"]
    assert set(reading["subject"]) == {"tree"}


def test_diffusers_makes_the_same_picture_with_the_shipped_editor():
    picture = editors.picture(size=(128, 128))
    editor = wb.load_editor("storybook", device="cpu")
    made = editor(picture, "make it night", seed=3, steps=4, scheduler="ddim")
    stock = StableDiffusionInstructPix2PixPipeline.from_pretrained(
        EMBEDDED_EDITORS["storybook"], dtype=torch.float32
    )
    shown = stock(
        "make it night",
        image=picture,
        num_inference_steps=4,
        guidance_scale=editor.defaults.text_guidance,
        image_guidance_scale=editor.defaults.image_guidance,
        generator=torch.Generator().manual_seed(3),
    ).images[0]
    assert np.abs(pixels(made.images[0]) - pixels(picture)).mean() > 5
    assert np.abs(pixels(made.images[0]) - pixels(shown)).max() <= 1


def test_a_missing_storybook_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(EMBEDDED_EDITORS, "storybook", tmp_path / "editor")
    with pytest.raises(wb.ModelError, match=r"weights of 'storybook' are missing .*editor\): reinstall"):
        wb.load_editor("storybook")


def test_names_that_are_nothing():
    with pytest.raises(wb.ModelError, match=r"no model at 'storybok'.*did you mean 'storybook'"):
        wb.load_editor("storybok")


def test_single_file_with_and_without_averages(folder: Path, tmp_path: Path):
    plain, both = tmp_path / "plain.safetensors", tmp_path / "both.safetensors"
    write_single_file(folder, plain, layers=1, levels=2)
    write_single_file(folder, both, layers=1, levels=2, averages=lambda tensor: tensor * 0.9)
    settings: dict[str, Any] = {"config": folder, "device": "cpu"}
    expected = made(editors.editor())
    assert torch.equal(made(wb.load_editor(plain, **settings)), expected)
    assert torch.equal(made(wb.load_editor(both, averaged=False, **settings)), expected)
    averaged = wb.load_editor(both, **settings)
    assert far(made(averaged), expected) > 1e-3
    weight = averaged.model.unet.get_parameter("conv_out.weight")
    torch.testing.assert_close(weight, editors.editor().model.unet.get_parameter("conv_out.weight") * 0.9)
    with pytest.raises(wb.ModelError, match=r"no averaged .EMA. weights"):
        wb.load_editor(plain, averaged=True, **settings)
