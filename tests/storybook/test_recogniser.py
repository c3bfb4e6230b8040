"""The recogniser reads latents, and finds in a prediction what the squared error overlooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from wordbrush.errors import WordbrushError
from wordbrush.storybook import font
from wordbrush.storybook.recipe import autoencoder, cli, recogniser, renders
from wordbrush.storybook.recipe import latents as stage_of_latents
from wordbrush.storybook.recipe.files import write_array, write_json
from wordbrush.storybook.recipe.loop import FROZEN, Run
from wordbrush.storybook.recipe.recogniser import NAMED, READ, Recogniser, disturb, shortfall


def latents(n: int, seed: int) -> Tensor:
    return torch.randn(n, 8, 16, 16, generator=torch.Generator().manual_seed(seed))


def named(n: int, at: int) -> dict[str, Tensor]:
    return {name: torch.full((n,), at) for name in NAMED}


def test_every_attribute_is_read_at_three_sizes():
    logits, features = Recogniser()(latents(2, 0))
    assert {name: tuple(value.shape) for name, value in logits.items()} == {
        name: (2, len(values)) for name, values in READ.items()
    }
    assert [tuple(one.shape[2:]) for one in features] == [(16, 16), (8, 8), (4, 4)]


def test_the_truth_falls_short_of_nothing_but_what_it_is_not_read_as():
    model, clean = Recogniser(), latents(3, 1)
    assert torch.equal(shortfall(model, clean, clean, named(3, -1)), torch.zeros(3))
    asked = shortfall(model, clean, clean, named(3, 0))
    logits, _ = model(clean)
    expected = -sum(logits[name].log_softmax(-1)[:, 0] for name in NAMED)
    torch.testing.assert_close(asked, recogniser.NAMED_WEIGHT * expected)


def test_a_prediction_is_drawn_to_the_truth_and_each_row_by_itself():
    model, clean = Recogniser().requires_grad_(False), latents(2, 2)
    guess = torch.stack([clean[0], latents(1, 3)[0]]).requires_grad_()
    before = shortfall(model, guess, clean, named(2, -1))
    assert before[0] == 0 < before[1]
    (slope,) = torch.autograd.grad(before[1], guess)
    assert torch.equal(slope[0], torch.zeros_like(slope[0]))
    nearer = guess - 0.5 * slope / slope.norm()
    assert shortfall(model, nearer, clean, named(2, -1))[1] < before[1]


def test_it_is_disturbed_by_the_generator_alone():
    def draw(seed: int) -> Tensor:
        return disturb(latents(4, 5), torch.Generator().manual_seed(seed))

    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))
    amounts = (draw(0) - latents(4, 5)).square().mean((1, 2, 3))
    assert len(set(amounts.tolist())) == 4


@pytest.mark.skipif(not font.FONT_PATH.exists(), reason="renders need Noto Color Emoji")
def test_text_to_image_learns_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for module in (renders, stage_of_latents):
        monkeypatch.setattr(module, "SHARD", 8)
    renders.make_renders(tmp_path / "renders", "train", 8, workers=1)
    with pytest.raises(WordbrushError, match="no latents under"):
        cli.train("recogniser", minutes=1, out=tmp_path)
    write_array(tmp_path / "latents" / "00000.npy", latents(8, 6).half().numpy())
    write_json(tmp_path / "latents" / "statistics.json", {"std": 1.0})
    Run(autoencoder.build(), FROZEN, tmp_path / "autoencoder").save()  # it draws the samples
    asked: list[Tensor] = []

    def watched(model: Recogniser, predicted: Tensor, *rest: Any) -> Tensor:
        assert not any(parameter.requires_grad for parameter in model.parameters())
        predicted.register_hook(lambda slope: asked.append(slope))
        return shortfall(model, predicted, *rest)

    monkeypatch.setattr(recogniser, "shortfall", watched)
    for stage, settings in (
        ("tokenizer", {}),
        ("recogniser", {"total": "128"}),
        ("text_to_image", {"total": "8", "decay": "4", "batch": "4"}),
    ):
        assert cli.train(stage, minutes=5, out=tmp_path, settings=settings)["finished"], stage
    assert [slope.shape for slope in asked] == [(4, 8, 16, 16)] * 2
    assert all(slope.abs().max() > 0 for slope in asked), "what it misses reaches the prediction"
