"""The model with joint attention: what stands for T5, exact resume, and an export that diffusers draws alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

import wordbrush
from wordbrush.errors import WordbrushError
from wordbrush.storybook import font
from wordbrush.storybook.recipe import autoencoder, cli, denoiser, joint_text_to_image, renders, vocabulary
from wordbrush.storybook.recipe import latents as stage_of_latents
from wordbrush.storybook.recipe.budget import Budget
from wordbrush.storybook.recipe.export import export
from wordbrush.storybook.recipe.files import write_array, write_json
from wordbrush.storybook.recipe.joint_text_to_image import (
    JointTextToImage,
    noise_levels,
    signal_power,
)
from wordbrush.storybook.recipe.loop import FROZEN, Run
from wordbrush.storybook.recipe.recogniser import Recogniser

VOCABULARY = 40
STAGE = "joint_text_to_image"


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def stirred(model: JointTextToImage) -> JointTextToImage:
    """The model with something in the weights that begin as zeros."""
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            if not parameter.any():
                parameter += 0.05 * drawn(*parameter.shape, seed=number)
    return model.eval()


@torch.no_grad()
def test_one_token_stands_for_all_that_are_in_the_place_of_t5():
    model = stirred(JointTextToImage("small", VOCABULARY))
    noisy, levels = drawn(2, 8, 16, 16, seed=0), torch.tensor([100.0, 800.0])
    tokens = torch.randint(VOCABULARY, (2, 32), generator=torch.Generator().manual_seed(1))
    read = [encoder(tokens, output_hidden_states=True) for encoder in (model.text, model.text_2)]
    words = torch.cat([one.hidden_states[-2] for one in read], dim=-1)

    def predicted(zeros: int) -> Tensor:
        return model.transformer(
            noisy,
            encoder_hidden_states=F.pad(words, (0, 0, 0, zeros)),
            pooled_projections=torch.cat([one.text_embeds for one in read], dim=-1),
            timestep=levels,
        ).sample

    found = model(noisy, levels, tokens)
    torch.testing.assert_close(found, predicted(256), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found, predicted(1), atol=1e-2)


@torch.no_grad()
def test_words_reach_attention_alone_and_the_caption_as_a_summary():
    model = JointTextToImage("small", VOCABULARY)
    tokens = torch.tensor([[*range(20), *[VOCABULARY - 1] * 12]])  # it ends with end marks
    other = tokens.clone()
    other[0, 3] = 35
    mine, others = (model.text(ids, output_hidden_states=True) for ids in (tokens, other))
    changed = (mine.hidden_states[-2] != others.hidden_states[-2]).any(-1)[0]
    assert changed.nonzero().flatten().tolist() == [3]
    assert not torch.equal(mine.text_embeds, others.text_embeds)


@torch.no_grad()
def test_it_begins_by_predicting_nothing():
    model = JointTextToImage("small", VOCABULARY)
    tokens = torch.zeros(1, 32, dtype=torch.long)
    assert not model(drawn(1, 8, 16, 16, seed=2), torch.tensor([500.0]), tokens).any()


def test_it_learns_which_words_belong_to_which_picture():
    model = JointTextToImage("small", VOCABULARY)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    colour, noise = drawn(1, 8, 1, 1, seed=5), drawn(1, 8, 16, 16, seed=6).expand(2, -1, -1, -1)
    clean = torch.cat([colour, -colour])
    tokens = torch.full((2, 32), VOCABULARY - 1)
    tokens[1, 1] = 3

    def error(tokens: Tensor) -> Tensor:
        return (model(noise, torch.full((2,), 1000.0), tokens) - (noise - clean)).square().mean()

    for _ in range(40):
        optimizer.zero_grad()
        error(tokens).backward()
        optimizer.step()
    with torch.no_grad():
        assert error(tokens) < 0.5 * colour.square().mean(), "nothing but the words says which is which"
        assert error(tokens.flip(0)) > colour.square().mean()


def test_noise_levels_are_logit_normal():
    levels = noise_levels(torch.linspace(0, 1, 10_001))
    assert levels.isfinite().all()
    assert ((levels > 0) & (levels < 1)).all()
    logits = levels.logit()
    assert logits.mean().item() == pytest.approx(0, abs=1e-3)
    assert logits.std().item() == pytest.approx(1, abs=1e-2)
    assert signal_power(torch.tensor([0.0, 0.5, 1.0])).tolist() == [1.0, 0.5, 0.0]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe's folder after two steps of the stage, with what it needs made as small as it goes."""
    if not font.FONT_PATH.exists():
        pytest.skip("renders need Noto Color Emoji")
    out = tmp_path_factory.mktemp("recipe")
    with pytest.MonkeyPatch.context() as patched:
        for module in (renders, stage_of_latents):
            patched.setattr(module, "SHARD", 8)
        draw = denoiser.sample_latents
        patched.setattr(denoiser, "sample_latents", lambda *given, **how: draw(*given, **{**how, "steps": 1}))
        renders.make_renders(out / "renders", "train", 8, workers=1)
        write_array(out / "latents" / "00000.npy", drawn(8, 8, 16, 16, seed=3).half().numpy())
        write_json(out / "latents" / "statistics.json", {"std": 0.8})
        for stage, model in (("autoencoder", autoencoder.build()), ("recogniser", Recogniser())):
            (out / stage).mkdir()
            Run(model, FROZEN, out / stage).save()
        vocabulary.train(out / "tokenizer", captions=500)
        assert train(out)["finished"]
        whole = load_file(out / STAGE / "state.safetensors")
        (out / STAGE / "state.safetensors").unlink()
        spent = iter((False, True))  # after one step of two
        with pytest.MonkeyPatch.context() as stopped:
            stopped.setattr(Budget, "spent", property(lambda _: next(spent)))
            assert not train(out)["finished"]
        parts = load_file(out / STAGE / "state.safetensors")
        assert any(not torch.equal(value, whole[name]) for name, value in parts.items())
        assert train(out, resume=True)["finished"]
        resumed = load_file(out / STAGE / "state.safetensors")
        assert all(torch.equal(value, whole[name]) for name, value in resumed.items()), "the same bits"
    return out


def train(out: Path, *, resume: bool = False) -> dict[str, Any]:
    settings = {"total": "8", "decay": "4", "batch": "4"}
    return cli.train(STAGE, minutes=5, out=out, resume=resume, settings=settings)


@pytest.fixture(scope="module")
def exported(trained: Path) -> Path:
    """What is exported of a model that predicts more than two steps have taught."""
    model = stirred(JointTextToImage("small", len(vocabulary.load(trained / "tokenizer"))))
    Run(model, FROZEN, trained / STAGE).save()
    assert export(trained, trained / "weights") == [STAGE]
    return trained / "weights" / STAGE


def test_it_draws_samples_of_what_it_has_learned(trained: Path):
    assert (trained / STAGE / "sample_00000008.png").stat().st_size > 1000


def test_plain_diffusers_draws_the_same(exported: Path):
    from diffusers import StableDiffusion3Pipeline

    plain = StableDiffusion3Pipeline.from_pretrained(
        exported, text_encoder_3=None, tokenizer_3=None, dtype=torch.float32
    )
    plain.set_progress_bar_config(disable=True)
    noise = drawn(1, 8, 16, 16, seed=4)
    given: dict[str, Any] = {"latents": noise, "num_inference_steps": 3, "guidance_scale": 3.0}
    theirs = plain("a cat on a beach", output_type="latent", **given).images
    ours = wordbrush.generate(
        wordbrush.load(exported, device="cpu"), "a cat on a beach", latents=noise, steps=3, guidance=3.0
    )
    assert (theirs - noise).abs().max() > 0.1, "the network does something"
    torch.testing.assert_close(ours.latents, theirs, rtol=1e-5, atol=1e-5)
    picture = plain("a cat on a beach", output_type="pil", **given).images[0]
    assert picture.size == (128, 128)


def test_the_export_says_what_it_is(exported: Path):
    index = json.loads((exported / "model_index.json").read_text(encoding="utf-8"))
    assert index["_class_name"] == "StableDiffusion3Pipeline"
    assert index["text_encoder_3"] == [None, None]
    assert "text_encoder_3=None, tokenizer_3=None, dtype=" in (exported / "README.md").read_text()
    names = load_file(exported / "text_encoder" / "model.safetensors")
    assert {"text_projection.weight", "text_model.embeddings.token_embedding.weight"} <= names.keys()
    defaults = wordbrush.load(exported, device="cpu").defaults
    assert (defaults.steps, defaults.guidance, defaults.until) == (20, 4.0, 0.2)


def test_its_words_are_swapped(exported: Path):
    model = wordbrush.load(exported, device="cpu")
    result = wordbrush.edit(model, "a cat on a beach", to="a dog on a beach", seed=1, steps=5)
    assert result.images[0].size == (128, 128)
    assert not torch.equal(result.latents[0], result.latents[1])


def test_what_has_not_been_trained_is_named(tmp_path: Path):
    with pytest.raises(WordbrushError, match="run `wordbrush storybook train --stage joint_text_to_image`"):
        joint_text_to_image.STAGE.load(tmp_path, [], torch.device("cpu"))
