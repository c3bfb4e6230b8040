"""Drawn masks: what is black stays, in latents after every step and, if asked for, in pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import pipelines
import wordbrush as wb
from pipelines import drawn

SOURCE, TARGET = "a cat on the beach", "a dog on the beach"
STEPS = 3


def left_half(height: int = 32, width: int = 32) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    mask[:, : width // 2] = 255
    return mask


@pytest.fixture(scope="module")
def start() -> wb.Start:
    return wb.invert(pipelines.model(), drawn(), SOURCE, steps=STEPS, guidance=3.0)


def test_outside_the_mask_the_latents_are_the_source_s(start: wb.Start):
    model = pipelines.model()
    for source, settings in ((start, {}), (SOURCE, {"seed": 1, "steps": STEPS})):
        how: dict[str, Any] = {"to": [TARGET, "a red cat on the beach"], **settings}
        free = wb.edit(model, source, **how).latents
        held = wb.edit(model, source, mask=left_half(), **how).latents
        assert ((free[1:] - free[:1])[..., 8:].abs() > 0).any()
        assert torch.equal(held[1:, :, :, 8:], held[:1, :, :, 8:].expand(2, -1, -1, -1))
        assert ((held[1:] - held[:1])[..., :8].abs() > 0).any()
        everywhere = wb.edit(model, source, mask=np.full((32, 32), 255, np.uint8), **how).latents
        assert torch.equal(everywhere, free)


def test_pixels_are_kept_if_asked_for(start: wb.Start):
    model = pipelines.model()
    encoded = wb.edit(model, start, to=TARGET, mask=left_half())
    exact = wb.edit(model, start, to=TARGET, mask=left_half(), keep_pixels=True)
    a, b, original = (np.array(image) for image in (encoded.images[0], exact.images[0], drawn()))
    assert (a[:, 16:] != original[:, 16:]).any()  # the autoencoder's loss
    assert (b[:, 16:] == original[:, 16:]).all()
    assert (b[:, :16] == a[:, :16]).all()
    assert (np.array(exact.source) == np.array(encoded.source)).all()


def test_a_pixel_that_may_change_frees_its_latent_pixel():
    mask = np.zeros((32, 32), np.uint8)
    mask[5, 7] = 255
    held = wb.edit(pipelines.model(), SOURCE, to=TARGET, seed=1, steps=STEPS, mask=mask).latents
    changed = (held[1] != held[0]).any(dim=0).nonzero().tolist()
    assert changed == [[2, 3]]


def test_a_mask_drawn_on_the_picture_as_given_is_cut_as_it_was():
    model = pipelines.model()
    start = wb.invert(model, drawn(48, 64), SOURCE, crop=True, steps=STEPS, guidance=3.0)
    by_size = [
        wb.edit(model, start, to=TARGET, mask=left_half(*size)).latents for size in ((48, 64), (32, 32))
    ]
    assert torch.equal(*by_size)


def test_an_inverted_picture_keeps_its_size(start: wb.Start):
    model = pipelines.model()
    same = wb.edit(model, start, to=TARGET, size=32).latents
    assert torch.equal(same, wb.edit(model, start, to=TARGET).latents)
    with pytest.raises(
        wb.InvalidInput, match="inverted at 32 × 32 pixels, not at the size 48: leave size out"
    ):
        wb.edit(model, start, to=TARGET, size=48)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (left_half(30, 32), "the mask has 30 × 32 pixels and the picture 32 × 32"),
        (np.zeros((32, 32), np.uint8), "nothing in the mask is white"),
        (np.zeros((32, 32)), "uint8 of shape"),
        ("no/such.png", "no such file"),
        (Image.new("F", (32, 32)), "32 bits"),
    ],
)
def test_bad_masks(mask: Any, message: str):
    with pytest.raises(wb.InvalidInput, match=message):
        wb.edit(pipelines.model(), SOURCE, to=TARGET, seed=1, steps=STEPS, mask=mask)
    with pytest.raises(wb.InvalidInput, match="give mask as well"):
        wb.edit(pipelines.model(), SOURCE, to=TARGET, seed=1, steps=STEPS, keep_pixels=True)
