"""What the network is given: widening, the two kinds of latents, dropout from one draw."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

import editors
import families
import pipelines
from original_format import write_single_file
from wordbrush.errors import ModelError
from wordbrush.models import load
from wordbrush.training.conditioning import (
    Posterior,
    condition_latents,
    drop,
    dropped,
    posterior,
    target_latents,
)
from wordbrush.training.widen import load_base, widen


def predict(unet: torch.nn.Module, latents: Tensor) -> Tensor:
    text = torch.randn(len(latents), 5, 16, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return unet(latents, torch.tensor([300] * len(latents)), text, return_dict=False)[0]


def test_a_widened_network_says_what_it_said_before(tiny_folder: Path):
    narrow, wide = load(tiny_folder, device="cpu").unet, load_base(tiny_folder).unet
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    condition = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    assert wide.config.in_channels == wide.conv_in.in_channels == 8  # pyright: ignore
    before = predict(narrow, latents)
    assert torch.equal(predict(wide, torch.cat([latents, torch.zeros_like(latents)], 1)), before)
    assert torch.equal(predict(wide, torch.cat([latents, condition], 1)), before)
    with torch.no_grad():
        wide.conv_in.weight[:, 4:] += 0.1  # pyright: ignore
    assert not torch.equal(predict(wide, torch.cat([latents, condition], 1)), before)
    assert torch.equal(predict(wide, torch.cat([latents, torch.zeros_like(latents)], 1)), before)


def test_a_single_file_gives_the_weights_that_were_asked_for(tiny_folder: Path, tmp_path: Path):
    path, editor = tmp_path / "model.safetensors", editors.save(tmp_path / "editor")
    for folder, levels in ((editor, 2), (tiny_folder, 4)):
        write_single_file(folder, path, layers=1, levels=levels, averages=lambda tensor: tensor * 0.5)
        usual, trained, averaged = (
            load_base(path, config=folder, averaged=choice).unet.get_parameter("conv_out.weight")
            for choice in (None, False, True)
        )
        assert torch.equal(averaged, trained * 0.5)
        assert torch.equal(usual, averaged if folder == editor else trained)
    write_single_file(tiny_folder, path, layers=1, levels=4)
    with pytest.raises(ModelError, match=r"has no averaged \(EMA\) weights, only those last trained"):
        load_base(path, config=tiny_folder, averaged=True)


def test_the_bias_is_kept_and_the_new_channels_are_zero(tiny_folder: Path):
    unet = load(tiny_folder, device="cpu").unet
    old = unet.conv_in
    assert old.bias.abs().max() > 0  # pyright: ignore
    widen(unet)
    assert torch.equal(unet.conv_in.bias, old.bias)  # pyright: ignore
    assert torch.equal(unet.conv_in.weight[:, :4], old.weight)  # pyright: ignore
    assert not unet.conv_in.weight[:, 4:].any()  # pyright: ignore


def test_models_without_a_posterior_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("wordbrush.training.widen.load", lambda *a, **k: pipelines.model("ldm"))
    with pytest.raises(ModelError, match=r"has a VQModel as its autoencoder; .* with an AutoencoderKL"):
        load_base("anything")


@pytest.mark.parametrize("kind", ["sdxl", "sd3", "pixart-alpha"])
def test_families_that_no_editor_is_made_of_are_refused(kind: str, monkeypatch: pytest.MonkeyPatch):
    model = families.model(kind)
    monkeypatch.setattr("wordbrush.training.widen.load", lambda *a, **k: model)
    with pytest.raises(
        ModelError, match=r"is a model of the family .*; editors are made of Stable Diffusion 1 and 2"
    ):
        load_base("anything")


def test_networks_of_other_channels_are_refused(tiny_folder: Path, tmp_path: Path):
    other = Path(shutil.copytree(tiny_folder, tmp_path / "other"))
    config = load(tiny_folder, device="cpu").unet.config
    UNet2DConditionModel.from_config({**config, "in_channels": 9}).save_pretrained(other / "unet")  # pyright: ignore
    with pytest.raises(ModelError, match=r"of 9 input channels where .* makes 4.* an inpainting model"):
        load_base(other)


def test_what_is_nothing_is_told_as_load_tells_it(tmp_path: Path):
    with pytest.raises(ModelError, match="there is no model at"):
        load_base(tmp_path / "nothing")


def test_the_condition_is_the_unscaled_mode_and_the_target_a_scaled_sample(tiny_folder: Path):
    vae = load(tiny_folder, device="cpu").vae
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = posterior(vae, pixels)
    with torch.no_grad():
        theirs = vae.encode(pixels).latent_dist
    noise = torch.randn(found.mean.shape, generator=torch.Generator().manual_seed(4))
    factor = vae.config.scaling_factor
    assert factor != 1
    assert torch.equal(condition_latents(found), theirs.mode())
    sample = theirs.sample(torch.Generator().manual_seed(4))
    torch.testing.assert_close(target_latents(found, noise, scaling_factor=factor), sample * factor)
    assert not torch.allclose(
        target_latents(found, 0 * noise, scaling_factor=factor), condition_latents(found)
    )


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.2, 1 / 3])
def test_one_draw_decides_on_both_in_equal_shares(rate: float):
    uniform = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    text, picture = dropped(uniform, rate)
    for case in (text & ~picture, text & picture, ~text & picture):
        assert case.double().mean().item() == pytest.approx(rate, abs=2e-5)
    assert (~text & ~picture).double().mean().item() == pytest.approx(1 - 3 * rate, abs=3e-5)


def test_what_is_left_out_is_zero_or_the_empty_text():
    condition, text, empty = torch.ones(4, 2, 3, 3), torch.ones(4, 5, 6), torch.full((5, 6), 7.0)
    uniform = torch.tensor([0.01, 0.06, 0.12, 0.5])  # text only, both, picture only, neither
    kept, told = drop(condition, text, empty, uniform=uniform, rate=0.05)
    assert [bool(one.any()) for one in kept] == [True, False, False, True]
    assert [one[0, 0].item() for one in told] == [7.0, 7.0, 1.0, 1.0]
    assert torch.equal(kept[3], condition[3])


def test_a_posterior_without_spread_has_one_sample():
    one = Posterior(torch.full((1, 2, 2, 2), 3.0), torch.zeros(1, 2, 2, 2))
    assert target_latents(one, torch.randn(1, 2, 2, 2), scaling_factor=0.5).unique().tolist() == [1.5]
