"""What only a trained model can show: edits keep the layout and do what their words say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import wordbrush as wb
from wordbrush.models import EMBEDDED

SOURCE = "a cat on a beach at sunset"
SEEDS = (1, 2, 3)
STEPS = 12

pytestmark = pytest.mark.skipif(
    not EMBEDDED["storybook"].exists(), reason="the storybook weights are not part of this checkout"
)


@pytest.fixture(scope="module")
def model() -> wb.Model:
    return wb.load("storybook", device="cpu")


def moved(latents: Tensor) -> float:
    return float((latents[1] - latents[0]).square().mean().sqrt())


@pytest.mark.parametrize("target", ["a dog on a beach at sunset", "a cat on a beach at night"])
def test_edits_keep_more_than_the_same_noise_does(model: wb.Model, target: str):
    for seed in SEEDS:
        edited = wb.edit(model, SOURCE, to=target, seed=seed, steps=STEPS).latents
        same_noise = wb.generate(model, [SOURCE, target], seed=seed, steps=STEPS).latents
        assert torch.equal(edited[0], same_noise[0])
        assert 0.1 * moved(same_noise) < moved(edited) < moved(same_noise)


def test_a_blend_changes_less(model: wb.Model):
    target = "a dog on a beach at sunset"
    found = 0
    for seed in SEEDS:
        free, held, automatic = (
            wb.edit(model, SOURCE, to=target, seed=seed, steps=STEPS, blend=blend).latents
            for blend in ("none", wb.Blend("cat", "dog"), "auto")
        )
        assert 0 < moved(held) < moved(free)
        if not torch.equal(automatic, free):  # the words act in a region, and not all over the picture
            found += 1
            assert 0 < moved(automatic) < moved(free)
    assert found >= 2


def test_a_style_is_not_taken_for_a_region(model: wb.Model):
    source, target = "a watercolor of a fox in a forest", "an oil painting of a fox in a forest"
    free, automatic = (
        wb.edit(model, source, to=target, seed=4, steps=STEPS, blend=blend).latents
        for blend in ("none", "auto")
    )
    assert torch.equal(free, automatic)


def test_a_fader_moves_the_picture_further_the_more_it_is_turned(model: wb.Model):
    source = "a house in a forest in the snow"
    edits = [[wb.Reweight({"snow": strength})] for strength in (0.5, 0.0, -1.0)]
    for seed in SEEDS:
        latents = wb.edit(model, source, to=[source] * 3, edits=edits, seed=seed, steps=STEPS).latents
        distances = [moved(latents[[0, row]]) for row in (1, 2, 3)]
        assert distances == sorted(distances)
        assert distances[0] > 0


@pytest.mark.parametrize(
    "neutral",
    [
        wb.Reweight({"sunset": 1.0}),
        [[wb.Reweight({"dog": 1.0, "beach": 1.0})]],
        wb.Reweight({"sunset": 1.0}, until={"sunset": 0.5}, renormalise=False),
    ],
)
def test_strength_1_is_no_edit(model: wb.Model, neutral: Any):
    how: dict[str, Any] = {"to": "a dog on a beach at sunset", "seed": 3, "steps": 10}
    plain = wb.edit(model, SOURCE, **how).latents
    assert not torch.equal(plain, wb.edit(model, SOURCE, blend="none", **how).latents)
    assert not torch.equal(plain, wb.edit(model, SOURCE, edits=wb.Reweight({"sunset": 2.0}), **how).latents)
    assert torch.equal(plain, wb.edit(model, SOURCE, edits=neutral, **how).latents)


@pytest.mark.parametrize("ending", ["", ".", "!", ' "'])
def test_the_region_of_a_word_is_its_own_whatever_ends_the_prompt(model: wb.Model, ending: str):
    blend = wb.AutoBlend(stop=1.0)  # what is held is then so to the last bit
    target = f"a dog on a beach at sunset{ending}"
    source, edited = wb.edit(model, SOURCE, to=target, seed=3, steps=10, blend=blend).latents
    assert 0.5 < (source == edited).all(dim=0).double().mean() < 1


def test_a_word_that_is_turned_up_all_over_the_picture_frees_it(model: wb.Model):
    rule, held = wb.AutoBlend(stop=1.0), []
    for weighted in ((), (("fog",),)):
        blend = replace(rule, weighted=weighted)
        result = wb.edit(
            model,
            "a cat on a beach in the fog",
            to="a dog on a beach in the fog",
            edits=wb.Reweight({"fog": 3.0}),
            blend=blend,
            seed=5,
            steps=10,
        )
        held.append((result.latents[0] == result.latents[1]).all(dim=0).double().mean())
    assert held[1] == 0 < 0.5 < held[0] < 1


def test_words_attend_to_different_places(model: wb.Model):
    maps = wb.generate(model, "a cat on a beach at sunset", seed=1, steps=STEPS).maps
    cat, sunset = maps["cat"].ravel(), maps["sunset"].ravel()
    assert np.corrcoef(cat, sunset)[0, 1] < 0.9
