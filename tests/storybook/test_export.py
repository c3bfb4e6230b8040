"""Exported weights are ordinary directories: plain diffusers draws the same, and training goes on from them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import wordbrush
from wordbrush.errors import WordbrushError
from wordbrush.storybook.recipe import autoencoder, decoder, judge, text_to_image, vocabulary, writer
from wordbrush.storybook.recipe.adopt import adopt
from wordbrush.storybook.recipe.export import WEIGHTS, export
from wordbrush.storybook.recipe.files import write_json
from wordbrush.storybook.recipe.loop import FROZEN, Run
from wordbrush.storybook.recipe.paraphrases import instruction_words


def save_state(model: nn.Module, folder: Path, seen: int) -> None:
    run = Run(model, FROZEN, folder)
    run.before = seen
    folder.mkdir(parents=True)
    run.save()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained models, exported as trained ones are."""
    out = tmp_path_factory.mktemp("recipe")
    tokenizer = vocabulary.train(out / "tokenizer", captions=500)
    save_state(autoencoder.build(), out / "autoencoder", 40)
    save_state(text_to_image.TextToImage("small", len(tokenizer)), out / "text_to_image", 70)
    write_json(out / "text_to_image" / "settings.json", {"size": "small"})
    write_json(out / "latents" / "statistics.json", {"std": 0.8})
    write_json(
        out / "measured" / "text_to_image.json",
        {"right": {"subject": {"share": 0.5, "low": 0.4, "high": 0.6, "of": 9}}},
    )
    assert export(out, out / "weights") == ["text_to_image"]
    return out / "weights" / "text_to_image"


def test_plain_diffusers_draws_the_same_picture(exported: Path) -> None:
    from diffusers import StableDiffusionPipeline

    model = wordbrush.load(exported)
    ours = wordbrush.generate(model, "a cat on a beach", seed=2, steps=3, guidance=3.0)
    plain = StableDiffusionPipeline.from_pretrained(exported, dtype=torch.float32)
    plain.set_progress_bar_config(disable=True)
    noise = torch.randn(1, 8, 16, 16, generator=torch.Generator().manual_seed(2))
    theirs = plain("a cat on a beach", latents=noise, num_inference_steps=3, guidance_scale=3.0).images[0]
    assert plain.vae.config.scaling_factor == 1 / 0.8
    difference = np.abs(np.asarray(ours.images[0], float) - np.asarray(theirs, float))
    assert np.asarray(theirs).std() > 1
    assert difference.max() <= 1


def test_shards_are_half_precision_with_published_names_and_a_card(exported: Path) -> None:
    shards = sorted(exported.rglob("*.safetensors"))
    assert len(shards) == 3
    for shard in shards:
        assert shard.stat().st_size < 16 * 2**20
        assert {tensor.dtype for tensor in load_file(shard).values()} == {torch.float16}
    names = load_file(exported / "text_encoder" / "model.safetensors")
    assert "text_model.embeddings.token_embedding.weight" in names
    card = (exported / "README.md").read_text(encoding="utf-8")
    assert "70 samples seen" in card
    assert "from_pretrained(folder, dtype=torch.float32)" in card
    assert "| right subject | 50.0% (40.0% to 60.0%, n = 9) |" in card


def test_a_decoder_that_was_trained_on_replaces_that_of_the_autoencoder(
    tmp_path: Path, exported: Path
) -> None:
    out = tmp_path / "recipe"
    shutil.copytree(exported.parents[1], out, ignore=shutil.ignore_patterns("weights"))
    trained = decoder.Decoder(autoencoder.build())
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter += 0.125
    save_state(trained, out / "decoder", 90)
    export(out, out / "weights")
    before, after = (
        load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
        for folder in (exported, out / "weights" / "text_to_image")
    )
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoder", "post_quant_conv"}
    record = json.loads((out / "weights" / "text_to_image" / "training.json").read_text(encoding="utf-8"))
    assert record["samples_seen"] == {"text_to_image": 70, "autoencoder": 40, "decoder": 90}


def an_editor(out: Path, exported: Path) -> Path:
    """What ``wordbrush train`` leaves, as far as the export looks at it; returns its autoencoder's weights."""
    editor = out / "editor" / "editor"
    shutil.copytree(exported, editor)
    (editor / "README.md").write_text("# Instruction editor\n\n## Limits\n", encoding="utf-8")
    return editor / "vae" / "diffusion_pytorch_model.safetensors"


def test_an_editor_gets_the_decoder_of_now(tmp_path: Path, exported: Path) -> None:
    out = tmp_path / "recipe"
    shutil.copytree(exported.parents[1], out, ignore=shutil.ignore_patterns("weights"))
    before = load_file(an_editor(out, exported))
    trained = decoder.Decoder(autoencoder.build())
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter += 0.125
    save_state(trained, out / "decoder", 90)
    assert export(out, out / "weights") == ["text_to_image", "editor"]
    drawn, edited = (
        load_file(out / "weights" / name / "vae" / "diffusion_pytorch_model.safetensors")
        for name in ("text_to_image", "editor")
    )
    assert all(torch.equal(drawn[name], edited[name]) for name in drawn)
    assert any(not torch.equal(before[name], edited[name]) for name in before)


def test_an_editor_of_another_encoder_is_refused(tmp_path: Path, exported: Path) -> None:
    out = tmp_path / "recipe"
    shutil.copytree(exported.parents[1], out, ignore=shutil.ignore_patterns("weights"))
    weights = an_editor(out, exported)
    other = load_file(weights)
    other["encoder.conv_in.bias"] += 1
    save_file(other, weights)
    with pytest.raises(
        WordbrushError, match="has another encoder than the recipe has now: train the editor anew"
    ):
        export(out, out / "weights")
    assert not (out / "weights" / "editor").exists()


def test_training_goes_on_from_exported_weights(exported: Path, tmp_path: Path) -> None:
    assert adopt(tmp_path, source=exported) == ["autoencoder", "text_to_image"]
    state = load_file(tmp_path / "text_to_image" / "state.safetensors")
    shipped = load_file(exported / "unet" / "diffusion_pytorch_model.safetensors")
    assert torch.equal(state["weight/unet.conv_in.weight"], shipped["conv_in.weight"].float())
    run = Run(
        text_to_image.TextToImage("small", len(vocabulary.load(tmp_path / "tokenizer"))),
        FROZEN,
        tmp_path / "text_to_image",
    )
    run.load()
    assert (run.before, run.step) == (70, 0)
    assert json.loads((tmp_path / "text_to_image" / "settings.json").read_text())["size"] == "small"
    with pytest.raises(WordbrushError, match="holds a saved run already"):
        adopt(tmp_path, source=exported)


def test_nothing_to_adopt_and_nothing_to_export_are_errors(tmp_path: Path) -> None:
    with pytest.raises(WordbrushError, match="no weights to begin from"):
        adopt(tmp_path, source=tmp_path / "nowhere")
    with pytest.raises(WordbrushError, match="nothing to export"):
        export(tmp_path, tmp_path / "weights")
    assert not (tmp_path / "weights").exists()


def test_a_trained_editor_is_taken_as_it_is_with_its_measures(tmp_path: Path) -> None:
    trained = tmp_path / "editor" / "editor"
    (trained / "unet").mkdir(parents=True)
    (trained / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"weights")
    (trained / "README.md").write_text("# Instruction editor\n\n## Limits\n\nMany.\n", encoding="utf-8")
    write_json(trained / "wordbrush.json", {"text_guidance": 3.0})
    write_json(tmp_path / "measured" / "editor.json", {"success": {"night": 0.75}})
    assert export(tmp_path, tmp_path / "weights") == ["editor"]
    shipped = tmp_path / "weights" / "editor"
    assert (shipped / "unet" / "diffusion_pytorch_model.safetensors").read_bytes() == b"weights"
    card = (shipped / "README.md").read_text(encoding="utf-8")
    assert "| success night | 0.750 |" in card
    assert card.index("## Measured") < card.index("## Limits")
    defaults = json.loads((shipped / "wordbrush.json").read_text(encoding="utf-8"))
    assert defaults == {"text_guidance": 3.0, "words": instruction_words()}


def test_training_of_the_readers_goes_on_too(exported: Path, tmp_path: Path) -> None:
    world = tmp_path / "world"
    shutil.copytree(exported, world / "text_to_image")
    (world / "judge").mkdir()
    weights = judge.build("shape").half().state_dict()
    save_file(weights, world / "judge" / "shape.safetensors")
    write_json(world / "judge" / "training.json", {"samples_seen": {"judge_shape": 30}})
    shutil.copytree(WEIGHTS / "writer", world / "writer")
    assert adopt(tmp_path / "out", source=world / "text_to_image") == [
        "autoencoder",
        "text_to_image",
        "judge_shape",
        "writer",
    ]
    run = Run(judge.build("shape"), FROZEN, tmp_path / "out" / "judge_shape")
    run.load()
    assert (run.before, run.step) == (30, 0)
    assert torch.equal(run.module.get_parameter("stem.weight"), weights["stem.weight"].float())
    own = load_file(world / "writer" / "model.safetensors")
    begun = writer.averaged_model(tmp_path / "out" / "writer", torch.device("cpu")).state_dict()
    assert all(torch.equal(begun[name], value.float()) for name, value in own.items())
    tokens = [
        writer.load_tokenizer(at)("a cat ##").input_ids
        for at in (world / "writer", tmp_path / "out/writer/tokenizer")
    ]
    assert tokens[0] == tokens[1]
