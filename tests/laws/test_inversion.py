"""Inversion: exact where theory says so, held where it is meant to be, and equal to the published way."""

from __future__ import annotations

import copy
import json
from dataclasses import fields, replace
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
from wordbrush.backbones.base import Layout, Text
from wordbrush.backbones.control import AttentionControl
from wordbrush.edits.window import Clock
from wordbrush.guidance import ClassifierFree, Unguided
from wordbrush.inversion.ddim import invert_ddim
from wordbrush.inversion.methods import METHODS
from wordbrush.inversion.network import Network
from wordbrush.inversion.task import Task
from wordbrush.sampling import make_scheduler, sample, start_noise

STEPS = 5
HALF: Any = np.float32(0.5)
ONE: Any = np.int64(1)


class KnownNoise:
    """A backbone whose prediction depends on nothing but time, so that DDIM inversion has no error."""

    def predict(self, latents: Tensor, timestep: Tensor, text: Text) -> Tensor:
        return torch.full_like(latents, 0.1) * torch.cos(timestep / 100)


@pytest.mark.parametrize("settings", [{}, {"steps_offset": 1}, {"timestep_spacing": "trailing"}])
def test_inversion_of_a_known_denoiser_is_exact(settings: dict[str, Any]):
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(**pipelines.BETAS, clip_sample=False, set_alpha_to_one=False, **settings)
    backbone: Any = KnownNoise()
    clean = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    scheduler.set_timesteps(STEPS)
    path = invert_ddim(backbone, scheduler, clean, text={})
    assert len(path) == STEPS + 1
    assert (path[-1] - clean).norm() > 0.1
    again = sample(backbone, scheduler, path[-1], text=lambda step: {}, guidance=Unguided())
    torch.testing.assert_close(again, clean, rtol=1e-6, atol=1e-6)  # the scheduler's alphas are float32


def clean_latents(model: wb.Model) -> Tensor:
    return wb.generate(model, "a cat on the beach", seed=1, steps=STEPS, guidance=1.0, size=16).latents


def test_null_text_returns_closer_to_the_picture():
    model = pipelines.model()
    clean, prompt = clean_latents(model), "a cat on the beach"
    ticks: list[tuple[int, int]] = []
    start = wb.invert_latents(
        model,
        clean,
        prompt,
        method="null-text",
        steps=STEPS,
        guidance=3.0,
        progress=lambda i, n: ticks.append((i, n)),
    )
    assert ticks == [(i + 1, STEPS) for i in range(STEPS)]
    fitted = wb.edit(model, start, to="a dog on the beach")
    empty = wb.edit(model, prompt, to="a dog on the beach", latents=start.latents, steps=STEPS, guidance=3.0)
    assert fitted.settings["steps"] == STEPS
    assert fitted.settings["guidance"] == 3.0
    assert (fitted.latents[0] - clean).norm() < 0.9 * (empty.latents[0] - clean).norm()
    assert (fitted.latents[1] - fitted.latents[0]).norm() > 1e-3


def test_an_inverted_picture_brings_its_own_noise():
    model = pipelines.model()
    start = wb.invert_latents(
        model, clean_latents(model), "a cat", method=wb.NullText(inner_steps=1), steps=1
    )
    with pytest.raises(wb.InvalidInput, match="exactly once"):
        wb.edit(model, start, to="a dog", seed=1)


def test_inversion_needs_ddim():
    model = pipelines.model()
    scheduler = make_scheduler("euler", model.scheduler)
    with pytest.raises(wb.InvalidInput, match="needs a DDIMScheduler, not EulerDiscreteScheduler"):
        invert_ddim(model.backbone, scheduler, torch.zeros(1, 4, 8, 8), text={})


# --- all methods

SOURCE, TARGET = "a cat on the beach", "a dog on the beach"
GUIDANCE = 3.0
QUICK: dict[str, Any] = {"null-text": wb.NullText(inner_steps=2)}
NAMES = tuple(method.name for method in METHODS)
LED = ("direct", "edit-friendly", "exact")
# Rows of all network calls per step; null-text makes one optimiser step or two.
COSTS = {"ddim": 1, "negative-prompt": 1, "direct": 1, "edit-friendly": 2, "exact": 2}


def any_latents(seed: int = 5) -> Tensor:
    """Latents that no model has made."""
    return torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(seed)).double()


def inverted(method: Any, kind: str = "sd1", **settings: Any) -> wb.Start:
    settings = {"steps": STEPS, "guidance": GUIDANCE, **settings}
    method = QUICK.get(method, method)
    return wb.invert_latents(pipelines.model(kind), any_latents(), SOURCE, method=method, **settings)


def test_every_method_is_tried():
    assert NAMES == ("ddim", "null-text", "negative-prompt", "direct", "edit-friendly", "exact")


@pytest.mark.parametrize("kind", pipelines.KINDS)
@pytest.mark.parametrize("method", NAMES)
def test_an_inverted_picture_is_edited(method: str, kind: str):
    start = inverted(method, kind)
    result = wb.edit(pipelines.model(kind), start, to=[TARGET, "a red cat on the beach"])
    assert result.settings["inversion"] == {"method": method, "forward_samples": start.forward_samples}
    assert start.forward_samples >= STEPS
    assert distance(result.latents[1], result.latents[0]) > 1e-3
    assert distance(result.latents[2], result.latents[1]) > 1e-3
    if method in LED:
        assert torch.equal(result.latents[:1], any_latents())


@pytest.mark.parametrize("method", COSTS)
def test_costs_are_counted(method: str):
    extra = 2 if method == "exact" else 0
    start = inverted(method)
    assert start.forward_samples == COSTS[method] * STEPS + extra
    rows = 3 if method in LED else 4
    assert wb.edit(pipelines.model(), start, to=TARGET).settings["forward_samples"] == rows * STEPS


@pytest.mark.parametrize("kind", ["sd1", "sd2"])
@pytest.mark.parametrize("method", ["edit-friendly", "exact", wb.Exact(momentum=0.9)])
def test_exact_steps_return_by_themselves(method: Any, kind: str):
    """Without being held to the path: with guidance, in float64, to rounding; DDIM does not."""
    model, settings = pipelines.model(kind), {"steps": 10}
    exact, plain = (replace(inverted(m, kind, **settings), path=None) for m in (method, "ddim"))
    strayed = wb.edit(model, plain, to=TARGET).latents[:1]
    returned = wb.edit(model, exact, to=TARGET).latents[:1]
    assert distance(strayed, any_latents()) > 1e-2
    assert distance(returned, any_latents()) < 1e-9


def test_negative_prompt_returns_as_no_guidance_does():
    start, plain = inverted("negative-prompt"), inverted("ddim")
    model = pipelines.model()
    strong = wb.edit(model, start, to=TARGET).latents
    unguided = wb.edit(model, replace(plain, guidance=1.0), to=TARGET).latents
    assert distance(strong[:1], unguided[:1]) < 1e-12
    assert distance(strong[1:], unguided[1:]) > 1e-3


def test_direct_equals_the_published_passes():
    """Ju et al. as published: offsets from a guided pass over the path, added to the source row of a full batch."""
    model, steps = pipelines.model(), 10
    start = inverted("direct", steps=steps)
    result = wb.edit(model, start, to=TARGET)
    backbone, guide, published = model.backbone, ClassifierFree(GUIDANCE), 0
    scheduler = make_scheduler("ddim", model.scheduler)
    scheduler.set_timesteps(steps)
    text = backbone.encode([backbone.read(words) for words in ("", "", SOURCE, TARGET)])

    def denoised(latents: Tensor, timestep: Tensor) -> Tensor:
        nonlocal published
        predictions = backbone.predict(latents.repeat(2, 1, 1, 1), timestep, text)
        published += 4
        return scheduler.step(guide.combine(predictions.chunk(2)), timestep, latents).prev_sample

    with torch.no_grad():
        conditional = {name: rows[2:3] for name, rows in text.items()}
        path = invert_ddim(backbone, scheduler, any_latents(), text=conditional)[::-1]
        published += steps
        offsets = [
            path[step + 1] - denoised(path[step].repeat(2, 1, 1, 1), timestep)[:1]
            for step, timestep in enumerate(scheduler.timesteps)
        ]
        latents = path[0].repeat(2, 1, 1, 1)
        layout, clock = Layout(guide.branches, 2), Clock(steps, steps)
        with AttentionControl(
            backbone, result.plan, layout=layout, clock=clock, latent_size=(8, 8)
        ) as control:
            for step, timestep in enumerate(scheduler.timesteps):
                with control.at(step):
                    latents = denoised(latents, timestep)
                latents[:1] += offsets[step]
    assert max(float(offset.norm()) for offset in offsets) > 1e-2
    assert distance(result.latents, latents) < 1e-11
    assert published == 9 * steps  # 450 for 50 steps
    assert start.forward_samples + result.settings["forward_samples"] == 4 * steps  # 200


@torch.no_grad()
def test_only_edit_friendly_returns_the_picture_under_its_own_words():
    """A fader at strength 1: the targets have the source's noise; of direct only the source is held to its path."""
    same: Any = {"to": SOURCE, "edits": [wb.Reweight({"cat": 1.0})], "self_attention": 0.0}
    rows = {
        name: wb.edit(pipelines.model(), inverted(name), **same).latents
        for name in ("edit-friendly", "direct")
    }
    assert distance(rows["edit-friendly"][1:], rows["edit-friendly"][:1]) < 1e-9
    assert distance(rows["direct"][1:], rows["direct"][:1]) > 1e-3


def test_edit_friendly_is_the_published_loop():
    """Huberman-Spiegelglas et al. written out: the first 36 of 100 steps left out, two scales of guidance."""
    model, steps, skip, low, high = pipelines.model(), 11, 4, 3.5, 15.0
    method = wb.EditFriendly(seed=3, skipped=0.36, source_guidance=low)
    start = inverted(method, steps=steps, guidance=high)
    scheduler = make_scheduler("ddim", model.scheduler)
    scheduler.set_timesteps(steps)
    empty, source, target = (
        model.backbone.encode([model.backbone.read(words)]) for words in ("", SOURCE, TARGET)
    )

    def mean(latents: Tensor, timestep: Tensor, text: Text, scale: float) -> Tensor:
        uncond, cond = (model.backbone.predict(latents, timestep, one) for one in (empty, text))
        silent = torch.zeros_like(latents)
        guided = uncond + scale * (cond - uncond)
        return scheduler.step(guided, timestep, latents, eta=1.0, variance_noise=silent).prev_sample

    clean, alphas = any_latents(), scheduler.alphas_cumprod[scheduler.timesteps].double()
    drawn = start_noise([3], (steps * 4, 8, 8)).double().reshape(steps, 1, 4, 8, 8)
    path = [
        alpha.sqrt() * clean + (1 - alpha).sqrt() * noise for alpha, noise in zip(alphas, drawn, strict=True)
    ]
    path.append(clean)
    edited = path[skip]
    for step in range(skip, steps):
        timestep = scheduler.timesteps[step]
        noise = path[step + 1] - mean(path[step], timestep, source, low)
        edited = mean(edited, timestep, target, high) + noise
    assert (start.skipped, start.source_guidance, start.guidance) == (skip, low, high)
    assert start.forward_samples == 2 * (steps - skip)
    result = wb.edit(model, start, to=TARGET, edits=[], self_attention=0.0)
    assert result.settings["inversion"]["skipped"] == skip
    assert result.settings["forward_samples"] == 3 * (steps - skip)
    assert torch.equal(result.latents[:1], clean)
    assert distance(result.latents[1:], clean) > 0.1
    assert distance(result.latents[1:], edited) < 1e-6  # the levels are float32


@pytest.mark.parametrize("epsilon", [0.0, 1e3])  # never early, and after every first update
def test_null_text_is_the_published_loop(epsilon: float):
    """Mokady et al. written out: fresh Adam per step, rate 0.01 (1 - i/100), warm start, stop after the update."""
    model, steps, inner, calls = pipelines.model(), 4, 3, 0
    method = wb.NullText(inner_steps=inner, epsilon=epsilon)
    start = inverted(method, steps=steps)
    alphas, stride = model.scheduler.alphas_cumprod, 1000 // steps
    uncond, cond = model.backbone.encode([model.backbone.read(words) for words in ("", SOURCE)])[
        "encoder_hidden_states"
    ].split(1)

    def noise(latents: Tensor, timestep: int, text: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return model.unet(latents, timestep, encoder_hidden_states=text).sample

    def moved(latents: Tensor, predicted: Tensor, here: int, there: int) -> Tensor:
        a, b = (alphas[t] if t >= 0 else alphas[0] for t in (here, there))
        return b.sqrt() * (latents - (1 - a).sqrt() * predicted) / a.sqrt() + (1 - b).sqrt() * predicted

    timesteps = [1 + stride * i for i in reversed(range(steps))]  # of the scheduler, with its offset of 1
    pivots = [any_latents()]
    with torch.no_grad():
        for t in reversed(timesteps):
            pivots.append(moved(pivots[-1], noise(pivots[-1], t, cond), t - stride, t))
    latents, embeddings, uncond = pivots[-1], [], uncond.detach()
    for i, t in enumerate(timesteps):
        uncond = uncond.clone().requires_grad_()
        optimizer = torch.optim.Adam([uncond], lr=1e-2 * (1 - i / 100))
        with torch.no_grad():
            known = noise(latents, t, cond)
        for _ in range(inner):
            free = noise(latents, t, uncond)
            loss = (
                (moved(latents, free + GUIDANCE * (known - free), t, t - stride) - pivots[-2 - i])
                .square()
                .mean()
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if loss.item() < epsilon + i * 2e-5:
                break
        uncond = uncond.detach()
        embeddings.append(uncond)
        with torch.no_grad():
            free = noise(latents, t, uncond)
            latents = moved(latents, free + GUIDANCE * (known - free), t, t - stride)
    assert isinstance(start.negative, list)
    assert start.forward_samples == calls
    assert (calls < steps * (3 + inner)) == (epsilon > 0)
    assert distance(start.latents, pivots[-1]) < 1e-9
    assert all(distance(a, b) < 1e-6 for a, b in zip(start.negative, embeddings, strict=True))
    assert distance(embeddings[0], embeddings[-1]) > 1e-3


@pytest.mark.parametrize("kind", ["sdxl", "pixart-sigma"])  # whose text is more than one embedding
def test_null_text_of_other_families_returns_closer_to_the_picture(kind: str):
    model = families.model(kind)
    side = 8 * model.factor
    clean = wb.generate(model, SOURCE, seed=1, steps=3, guidance=1.0, size=side, scheduler="ddim").latents
    off = []
    for method in ("ddim", wb.NullText(inner_steps=20, epsilon=0.0)):
        start = wb.invert_latents(model, clean, SOURCE, method=method, steps=3, guidance=GUIDANCE)
        off.append(distance(wb.edit(model, start, to=TARGET).latents[:1], clean))
    assert off[0] > 0.01
    assert off[1] < 0.95 * off[0]


def test_distilled_guidance_is_refused():
    model = families.model("lcm")
    latents = torch.zeros(1, 4, 8, 8)
    with pytest.raises(wb.InvalidInput, match="lcm has its guidance distilled into it"):
        wb.invert_latents(model, latents, SOURCE, steps=2)


@pytest.mark.parametrize("branches", ["cond", "all"])
def test_a_held_source_leaves_the_targets_as_they_are(branches: Any):
    """Holding a source to the path that it takes anyway changes nothing, whether or not its rows are all run."""
    model = pipelines.model()
    injection = wb.SelfAttention(0.6, branches=branches)
    noise = inverted("ddim").latents
    how: dict[str, Any] = {"steps": STEPS, "guidance": GUIDANCE, "self_attention": injection, "blend": "auto"}
    path = [noise]
    free = wb.edit(model, SOURCE, to=TARGET, latents=noise, **how)
    for steps in range(STEPS):  # the path of plain generation, step by step
        path.append(_after(model, noise, steps + 1))
    start = wb.Start(SOURCE, noise, STEPS, GUIDANCE, "ddim", path=torch.cat(path))
    held = wb.edit(model, start, to=TARGET, self_attention=injection, blend="auto")
    assert held.settings["forward_samples"] == (3 if branches == "cond" else 4) * STEPS
    assert distance(held.latents, free.latents) < 1e-11


def _after(model: wb.Model, noise: Tensor, steps: int) -> Tensor:
    """The latents of the source after some steps of plain generation."""
    seen: list[Tensor] = []
    scheduler = make_scheduler("ddim", model.scheduler)
    scheduler.set_timesteps(STEPS)
    text = model.backbone.encode([model.backbone.read(words) for words in ("", SOURCE)])
    sample(
        model.backbone,
        scheduler,
        noise,
        text=lambda step: text,
        guidance=ClassifierFree(GUIDANCE),
        after_step=lambda step, latents: (seen.append(latents), latents)[1],
    )
    return seen[steps - 1]


# --- files


@pytest.mark.parametrize("method", NAMES)
def test_what_is_saved_is_what_is_loaded(method: str, tmp_path: Path):
    model, path = pipelines.model(), tmp_path / "start.safetensors"
    scheduler = make_scheduler("ddim", model.scheduler) if method == "ddim" else "ddim"
    start = inverted(method, scheduler=scheduler)
    start.save(path)
    loaded = wb.Start.load(path)
    for field in fields(start):
        kept, again = getattr(start, field.name), getattr(loaded, field.name)
        if isinstance(kept, Tensor):
            assert torch.equal(kept, again), field.name
        elif isinstance(kept, list):
            assert all(torch.equal(a, b) for a, b in zip(kept, again, strict=True)), field.name
        elif field.name != "scheduler":
            assert kept == again, field.name
    first, second = (wb.edit(model, one, to=TARGET).latents for one in (start, loaded))
    assert torch.equal(first, second)
    assert [file.name for file in tmp_path.iterdir()] == ["start.safetensors"]


@pytest.mark.parametrize(
    "method", ["ddim", wb.Exact(HALF), wb.EditFriendly(skipped=HALF, source_guidance=HALF, seed=ONE)]
)
def test_numbers_of_numpy_are_saved(method: Any, tmp_path: Path):
    """Under a name in capital letters, which is read as any other."""
    start = inverted(method, steps=np.int64(2), guidance=np.float32(2.5))
    start.save(tmp_path / "start.SAFETENSORS")
    loaded = wb.Start.load(tmp_path / "start.SAFETENSORS")
    assert (loaded.steps, loaded.guidance) == (2, 2.5)
    assert (loaded.momentum, loaded.source_guidance) == (start.momentum, start.source_guidance)


def test_a_saved_picture_is_loaded_with_all_that_was_done_to_it(tmp_path: Path):
    start = wb.invert(pipelines.model(), drawn(48, 64), SOURCE, crop=True, steps=1, guidance=1.0)
    start.save(tmp_path / "start.safetensors")
    loaded = wb.Start.load(tmp_path / "start.safetensors")
    assert start.picture is not None
    assert loaded.picture is not None
    assert loaded.picture.tobytes() == start.picture.tobytes()
    for name in ("given_size", "cropped", "notes"):
        assert getattr(loaded, name) == getattr(start, name), name


def others_of(model: wb.Model, name: str, change: Any) -> wb.Model:
    """The model under another name, with a copy of its network that was changed."""
    network = copy.deepcopy(model.unet)
    with torch.no_grad():
        change(network)
    return replace(model, name=name, unet=network)


def one_weight(network: Any) -> None:
    """What an adapter changes: a layer out of many."""
    network.get_parameter("mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight").mul_(1.01)


def test_another_network_is_refused(tmp_path: Path):
    model, path = pipelines.model(), tmp_path / "start.safetensors"
    inverted("direct").save(path)
    for start in (inverted("direct"), wb.Start.load(path)):
        wb.edit(model, start, to=TARGET)
        with pytest.raises(
            wb.InvalidInput, match=r"inverted with sd1 \(UNet2DConditionModel\), not with other \(UNet2D"
        ):
            wb.edit(others_of(model, "other", one_weight), start, to=TARGET)
        with pytest.raises(wb.InvalidInput, match="inverted with other weights of sd1 than it has now"):
            wb.edit(others_of(model, "sd1", one_weight), start, to=TARGET)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_the_same_network_in_another_precision_is_not_refused(dtype: torch.dtype):
    model, start = pipelines.model(), inverted("direct", guidance=1.0)
    rounded = others_of(model, "copy", lambda network: network.to(dtype))
    assert start.network is not None
    start.network.check(rounded)
    Network.of(rounded).check(model)
    with pytest.raises(wb.InvalidInput, match="not with other"):
        start.network.check(others_of(rounded, "other", lambda network: network.conv_in.weight.mul_(2)))


def test_pictures_saved_before_networks_were_known_are_edited(tmp_path: Path):
    """Files of the same format without the field are of any network."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    path = tmp_path / "start.safetensors"
    inverted("direct").save(path)
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["settings"])
        tensors = {name: file.get_tensor(name) for name in file.keys() if name != "weights"}  # noqa: SIM118
    assert header.pop("network")
    save_file(tensors, path, {"format": "wordbrush.start.1", "settings": json.dumps(header)})
    start = wb.Start.load(path)
    assert start.network is None
    wb.edit(others_of(pipelines.model(), "other", one_weight), start, to=TARGET)


def test_files_that_are_no_inverted_pictures(tmp_path: Path):
    from safetensors.torch import save_file

    path = tmp_path / "start.safetensors"
    with pytest.raises(wb.InvalidInput, match="there is no inverted picture"):
        wb.Start.load(path)
    save_file({"latents": torch.zeros(1)}, path)
    with pytest.raises(wb.InvalidInput, match="but not an inverted picture"):
        wb.Start.load(path)
    inverted("direct").save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(wb.InvalidInput, match="or is damaged"):
        wb.Start.load(path)
    short = replace(inverted("direct"), path=torch.zeros(3, 4, 8, 8))
    short.save(path)
    with pytest.raises(wb.InvalidInput, match=r"damaged: its path has the shape \(3, 4, 8, 8\)"):
        wb.Start.load(path)
    with pytest.raises(wb.InvalidInput, match=r"saved as \.safetensors"):
        short.save(tmp_path / "start.pt")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": "x"}, "its prompt or its numbers are none"),
        ({"steps": 0}, "its prompt or its numbers are none"),
        ({"skipped": -1}, "its prompt or its numbers are none"),
        ({"guidance": "x"}, "its prompt or its numbers are none"),
        ({"momentum": float("nan")}, "its prompt or its numbers are none"),
        ({"prompt": 5}, "its prompt or its numbers are none"),
        (
            {"scheduler": {"class": "DDIMScheduler", "num_train_timesteps": "x"}},
            "of this version of wordbrush",
        ),
    ],
)
def test_damaged_settings_are_one_sentence(changes: dict[str, Any], message: str, tmp_path: Path):
    from safetensors import safe_open
    from safetensors.torch import save_file

    path = tmp_path / "start.safetensors"
    inverted("direct").save(path)
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["settings"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    settings = json.dumps({**header, **changes})
    save_file(tensors, path, {"format": "wordbrush.start.1", "settings": settings})
    with pytest.raises(wb.InvalidInput, match=message) as raised:
        wb.Start.load(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("part", ["latents", "path", "negative"])
def test_a_saved_picture_with_nan_is_refused(part: str, tmp_path: Path):
    """The source is held to its path, so that NaN in there would come out as a picture of nothing."""
    path, start = tmp_path / "start.safetensors", inverted("null-text" if part == "negative" else "direct")
    whole: Any = torch.cat(list(start.negative)) if part == "negative" else getattr(start, part).clone()  # pyright: ignore[reportArgumentType]
    whole.view(-1)[-1] = float("nan")
    replace(start, **{part: list(whole.split(1)) if part == "negative" else whole}).save(path)
    with pytest.raises(wb.InvalidInput, match="damaged: it holds NaN"):
        wb.Start.load(path)


# --- the front door


@pytest.mark.parametrize("kind", pipelines.KINDS)
def test_a_picture_is_inverted_from_whatever_it_comes_in(kind: str, tmp_path: Path):
    model = pipelines.model(kind)
    side = model.image_size[0]
    pixels = drawn(side, side)
    image = Image.fromarray(pixels)
    image.save(tmp_path / "picture.png")
    settings: dict[str, Any] = {"steps": 2, "guidance": 2.0}
    starts = [wb.invert(model, p, SOURCE, **settings) for p in (pixels, image, tmp_path / "picture.png")]
    assert all(torch.equal(start.latents, starts[0].latents) for start in starts)
    assert starts[0].picture is not None
    assert starts[0].picture.tobytes() == image.tobytes()
    assert torch.equal(wb.edit(model, starts[0], to=TARGET).latents[:1], model.encode(image))


def test_pictures_are_resized_only_as_told():
    model = pipelines.model()
    quick: dict[str, Any] = {"steps": 1, "guidance": 1.0}
    with pytest.raises(wb.InvalidInput, match=r"48 × 64 pixels .* trained for 32 × 32: give size=\(24, 32\)"):
        wb.invert(model, drawn(48, 64), SOURCE, **quick)
    with pytest.raises(wb.InvalidInput, match=r"stretched to 32 × 32: give size=\(24, 32\)"):
        wb.invert(model, drawn(48, 64), SOURCE, size=32, **quick)
    with pytest.raises(wb.InvalidInput, match="multiples of 2 pixels"):
        wb.invert(model, drawn(48, 64), SOURCE, size=31, **quick)
    resized = wb.invert(model, drawn(48, 64), SOURCE, size=(24, 32), **quick)
    cropped = wb.invert(model, drawn(48, 64), SOURCE, crop=True, **quick)
    assert (resized.latents.shape, cropped.latents.shape) == ((1, 4, 12, 16), (1, 4, 16, 16))
    assert resized.given_size == cropped.given_size == (48, 64)
    assert resized.notes == ("resized from 48 × 64 pixels",)
    assert cropped.settings["picture"] == ["cut around its middle and resized from 48 × 64 pixels"]
    assert cropped.picture is not None
    assert np.array(cropped.picture)[16, 0, 1] > 20  # the left sixth is cut off
    square = wb.invert(model, drawn(64, 64), SOURCE, crop=True, **quick)
    assert square.notes == ("resized from 64 × 64 pixels",)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"picture": "no/such.png"}, wb.InvalidInput, "no/such.png: no such file"),
        ({"picture": 3}, wb.InvalidInput, "the path of a file or a PIL image"),
        ({"picture": drawn() / 255}, wb.InvalidInput, "uint8 of shape"),
        ({"prompt": " "}, wb.InvalidInput, "what the picture shows"),
        ({"prompt": "cat " * 30}, wb.PromptTooLong, "32 tokens but the text encoder reads 24"),
        ({"method": "dirct"}, wb.InvalidInput, r"no inversion 'dirct' \(did you mean 'direct'"),
        ({"method": wb.NullText}, wb.InvalidInput, "a method is one of"),
        ({"scheduler": "euler"}, wb.InvalidInput, "needs a DDIMScheduler, not EulerDiscreteScheduler"),
        ({"steps": 0}, wb.InvalidInput, "from 1 to 1000"),
        ({"steps": True}, wb.InvalidInput, "from 1 to 1000"),
        ({"guidance": float("nan")}, wb.InvalidInput, "finite number"),
    ],
)
def test_bad_inversions(changes: dict[str, Any], error: type[Exception], message: str):
    given: dict[str, Any] = {"picture": drawn(), "prompt": SOURCE, "steps": 2, **changes}
    picture, prompt = given.pop("picture"), given.pop("prompt")
    with pytest.raises(error, match=message):
        wb.invert(pipelines.model(), picture, prompt, **given)


def test_settings_of_methods_are_checked():
    for make, message in (
        (lambda: wb.Exact(momentum=0.0), "above 0 and at most 1"),
        (lambda: wb.EditFriendly(seed=-1), "a seed is a whole number"),
        (lambda: wb.EditFriendly(skipped=1.0), "the part of the steps to skip is at least 0 and below 1"),
        (lambda: wb.EditFriendly(source_guidance=float("inf")), "the source guidance scale must be a finite"),
        (lambda: wb.NullText(inner_steps=0), "inner_steps must be a whole number of at least 1"),
    ):
        with pytest.raises(wb.InvalidInput, match=message):
            make()


def test_an_inverted_picture_keeps_its_steps_and_scheduler():
    start = inverted("direct")
    with pytest.raises(wb.InvalidInput, match="inverted in 5 steps and the run would have 4"):
        wb.edit(pipelines.model(), start, to=TARGET, steps=4)
    with pytest.raises(wb.InvalidInput, match="leave scheduler out"):
        wb.edit(pipelines.model(), start, to=TARGET, scheduler="dpm++")
    other = wb.edit(pipelines.model(), start, to=TARGET, guidance=1.0).latents
    assert torch.equal(other[:1], any_latents())  # whatever the guidance
    assert distance(other[1:], wb.edit(pipelines.model(), start, to=TARGET).latents[1:]) > 1e-3


@pytest.mark.parametrize(
    ("kind", "steps", "usable"),
    [("sd1", 1000, 999), ("sd1", 600, 500), ("sd1", 400, 333), ("sd2", 600, 500), ("sd2", 1000, None)],
)
def test_steps_that_do_not_lead_to_noise_are_refused(kind: str, steps: int, usable: int | None):
    """Of 1000 timesteps; the scheduler of ``sd1`` adds 1 to each, that of ``sd2`` spaces them from the last one."""
    model = pipelines.model(kind)
    if usable is None:
        assert int(Task(model, any_latents(), SOURCE, steps, GUIDANCE).sampler.timesteps[0]) == 999
        return
    with pytest.raises(
        wb.InvalidInput, match=f"{steps} steps of this scheduler do not .*: use {usable} steps"
    ):
        Task(model, any_latents(), SOURCE, steps, GUIDANCE)
    Task(model, any_latents(), SOURCE, usable, GUIDANCE)


def test_schedulers_that_clip_are_refused():
    scheduler = make_scheduler("ddim", pipelines.model().scheduler)
    clipping = type(scheduler).from_config(scheduler.config, clip_sample=True)
    with pytest.raises(wb.InvalidInput, match="cannot undo the clipping"):
        inverted("direct", scheduler=clipping)
