"""Word maps against explicit softmax maps, and what is made of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import pipelines
import wordbrush as wb
from oracle import Oracle

STEPS = 3
SIZE = (16, 24)
SOURCE, TARGET = "a cat on the beach", "a hippopotamus on the beach"


@pytest.fixture(scope="module")
def result() -> wb.EditResult:
    return wb.edit(
        pipelines.model(), SOURCE, to=TARGET, seed=1, size=SIZE, steps=STEPS, edits=[], self_attention=0.0
    )


@pytest.fixture(scope="module")
def sums() -> list[Tensor]:
    return explicit([SOURCE, TARGET], steps=STEPS)


def explicit(prompts: list[str], *, steps: int) -> list[Tensor]:
    """Explicit maps of the finest cross-attention layers, summed up to each step: (samples, pixels, tokens)."""
    seen: list[Tensor] = []

    def after_step(step: int, latents: Tensor, maps: Tensor) -> Tensor:
        seen.append(maps)
        return latents

    model = pipelines.model()
    run = Oracle(
        model,
        prompts,
        [lambda step, s, own: own] * (len(prompts) - 1),
        after_step=after_step,
        read_pixels=SIZE[0] * SIZE[1] // 4,
    )
    noise = torch.randn(1, 4, SIZE[0] // 2, SIZE[1] // 2, generator=torch.Generator().manual_seed(1)).double()
    run.run(noise, model.scheduler, steps=steps, guidance=7.5)
    return seen


def grid(maps: Tensor) -> np.ndarray:
    return (maps / maps.max()).unflatten(-1, (SIZE[0] // 2, SIZE[1] // 2)).numpy()


def test_average_map(result: wb.EditResult, sums: list[Tensor]):
    map = result.maps["hippopotamus"]
    assert map.shape == (8, 12)
    assert map.min() >= 0
    assert map.max() == 1
    assert map.std() > 1e-3
    np.testing.assert_allclose(map, grid(sums[-1][1, :, 2:6].sum(-1)), atol=1e-5)
    np.testing.assert_allclose(result.maps["cat"], grid(sums[-1][0, :, 2]), atol=1e-5)


def test_image_chooses_the_picture(result: wb.EditResult, sums: list[Tensor]):
    np.testing.assert_allclose(result.maps["beach"], grid(sums[-1][1, :, 8]), atol=1e-5)
    np.testing.assert_allclose(result.maps.of("beach", image=0), grid(sums[-1][0, :, 5]), atol=1e-5)
    with pytest.raises(wb.InvalidInput, match="no image 2"):
        result.maps.of("beach", image=2)


@pytest.mark.parametrize("image", [1.5, 2, -1, True, "0"])
def test_an_image_that_there_is_not_is_one_sentence(result: wb.EditResult, image: Any):
    for read in (
        result.maps.of,
        result.maps.steps,
        result.maps.by_layer,
        result.maps.raw,
        result.maps.overlay,
    ):
        with pytest.raises(
            wb.InvalidInput, match=f"^there is no image {image!r}: there are 2, counted from 0"
        ):
            read("beach", image=image)


def test_maps_of_steps(result: wb.EditResult, sums: list[Tensor]):
    steps = torch.stack([sums[0], sums[1] - sums[0], sums[2] - sums[1]])[:, 0, :, 2]
    np.testing.assert_allclose(result.maps.steps("cat"), grid(steps), atol=1e-5)


def test_layers_average_to_the_map(result: wb.EditResult):
    layers = result.maps.by_layer("cat")
    assert len(layers) == len(result.maps.layers) == 3
    assert layers.std(axis=0).max() > 1e-3
    mean = layers.mean(axis=0)
    np.testing.assert_allclose(mean / mean.max(), result.maps["cat"], atol=1e-5)


def test_read_along_the_way_or_by_replay_is_the_same(result: wb.EditResult):
    model = pipelines.model()
    eager = wb.edit(
        model, SOURCE, to=TARGET, seed=1, size=SIZE, steps=STEPS, edits=[], self_attention=0.0, maps=True
    )
    assert torch.equal(eager.latents, result.latents)
    np.testing.assert_array_equal(eager.maps["cat"], result.maps["cat"])


def test_edited_targets_show_their_own_attention():
    model = pipelines.model()
    edited = wb.edit(model, SOURCE, to="a dog on the beach", seed=1, size=SIZE, steps=STEPS, maps=True)
    assert not np.allclose(edited.maps["dog"], edited.maps["cat"], atol=1e-3)


def test_many_words_need_several_columns():
    """The prompt has more tokens than a head has channels, so its maps are read in several calls."""
    prompt = "a red cat and a red dog on the beach at the castle in the snow"
    made = wb.generate(pipelines.model(), prompt, seed=1, size=SIZE, steps=1)
    expected = explicit([prompt], steps=1)[-1][0] / len(made.maps.layers)
    assert len({grid(expected[:, token]).tobytes() for token in range(1, 17)}) == 16
    for position in range(16):
        map = made.maps.raw(position)[0].mean(axis=0)
        np.testing.assert_allclose(map.ravel(), expected[:, position + 1], atol=1e-6)


def test_overlay_and_grid(result: wb.EditResult):
    overlay = result.maps.overlay("hippopotamus")
    assert overlay.size == result.source.size == (24, 16)
    assert np.abs(np.asarray(overlay, dtype=int) - np.asarray(result.images[0], dtype=int)).mean() > 5
    captioned, bare = result.grid(), result.grid(caption=False)
    assert captioned.width == bare.width > 2 * 240
    assert captioned.height > bare.height


def test_unknown_word(result: wb.EditResult):
    with pytest.raises(wb.UnknownWord, match="'dog' is not in"):
        result.maps["dog"]
