"""The decoder is drawn to where a critic, that knows the latent too, sees a picture; the encoder stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from wordbrush.errors import WordbrushError
from wordbrush.storybook import font
from wordbrush.storybook.recipe import autoencoder, cli, decoder, details, renders, text_to_image, vocabulary
from wordbrush.storybook.recipe import latents as stage_of_latents
from wordbrush.storybook.recipe.budget import Budget
from wordbrush.storybook.recipe.details import Critic, criticism, persuasion
from wordbrush.storybook.recipe.files import write_array, write_json
from wordbrush.storybook.recipe.loop import FROZEN, Run

CPU = torch.device("cpu")


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_pull_is_a_share_of_the_errors_and_reaches_the_pixels_alone():
    critic, codes = Critic(), drawn(2, 8, 16, 16, seed=0)
    output = drawn(2, 3, 128, 128, seed=1).requires_grad_()
    error = output.square().mean()
    term = persuasion(critic, output, codes, error, 0.25)
    assert term.item() == 0
    (pull,) = torch.autograd.grad(term, output, retain_graph=True)
    (other,) = torch.autograd.grad(error, output)
    torch.testing.assert_close(pull.norm(), 0.25 * other.norm())
    term.backward()
    assert all(parameter.grad is None for parameter in critic.parameters())
    with torch.no_grad():
        assert critic(output - 1e3 * pull, codes).mean() > critic(output, codes).mean()


def test_a_critic_that_is_not_believed_pulls_at_nothing():
    output = drawn(1, 3, 128, 128, seed=2).requires_grad_()
    term = persuasion(Critic(), output, drawn(1, 8, 16, 16, seed=3), output.square().mean(), 0.0)
    (pull,) = torch.autograd.grad(term, output)
    assert torch.equal(pull, torch.zeros_like(pull))


def test_a_critic_cannot_tell_equal_pictures_apart_and_learns_to_tell_soft_ones():
    critic, codes = Critic(), torch.zeros(2, 8, 16, 16)
    pixels = drawn(2, 3, 128, 128, seed=4)
    wrong, right = criticism(critic, pixels, pixels, pixels, codes)
    scores = critic(pixels, codes)
    torch.testing.assert_close(wrong, F.softplus(-scores).mean() + F.softplus(scores).mean())
    assert right == 0.5
    soft = F.avg_pool2d(pixels, 3, 1, 1)
    optimizer = torch.optim.Adam(critic.parameters(), 1e-3)
    for _ in range(30):
        wrong, right = criticism(critic, pixels, pixels, soft, codes)
        optimizer.zero_grad()
        wrong.backward()
        optimizer.step()
    assert right > 0.95


def test_the_critic_looks_at_the_latent_too():
    critic, pixels = Critic(), drawn(1, 3, 128, 128, seed=5)
    first, second = (critic(pixels, drawn(1, 8, 16, 16, seed=seed)) for seed in (6, 7))
    assert not torch.equal(first, second)


@pytest.mark.skipif(not font.FONT_PATH.exists(), reason="renders need Noto Color Emoji")
def test_it_changes_the_decoder_alone_and_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for module in (renders, stage_of_latents):
        monkeypatch.setattr(module, "SHARD", 8)
    renders.make_renders(tmp_path / "renders", "train", 8, workers=1)
    write_array(tmp_path / "latents" / "00000.npy", drawn(8, 8, 16, 16, seed=8).half().numpy())
    write_json(tmp_path / "latents" / "statistics.json", {"std": 1.0})
    Run(autoencoder.build(), FROZEN, tmp_path / "autoencoder").save()
    tokenizer = vocabulary.train(tmp_path / "tokenizer", captions=500)
    settings = {"total": "8", "batch": "4"}
    state = tmp_path / "details" / "state.safetensors"
    with pytest.raises(WordbrushError, match="run `wordbrush storybook train --stage text_to_image` first"):
        cli.train("details", minutes=1, out=tmp_path, settings=settings)
    Run(text_to_image.TextToImage("small", len(tokenizer)), FROZEN, tmp_path / "text_to_image").save()
    write_json(tmp_path / "text_to_image" / "settings.json", {"size": "small"})
    assert cli.train("details", minutes=5, out=tmp_path, settings=settings)["finished"]
    before, after = (stage.load(tmp_path, CPU).state_dict() for stage in (decoder, details))
    changed = {name.split(".")[0] for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == {"decoder", "post_quant_conv"}
    whole = load_file(state)
    state.unlink()
    spent = iter((False, True))  # after one step of two
    with monkeypatch.context() as patched:
        patched.setattr(Budget, "spent", property(lambda _: next(spent)))
        assert not cli.train("details", minutes=5, out=tmp_path, settings=settings)["finished"]
    assert any(not torch.equal(value, whole[name]) for name, value in load_file(state).items())
    assert cli.train("details", minutes=5, out=tmp_path, resume=True, settings=settings)["finished"]
    assert all(torch.equal(value, whole[name]) for name, value in load_file(state).items())
