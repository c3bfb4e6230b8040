"""CLIP similarities on a small random model: against the same written out, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import wordbrush as wb
from wordbrush.metrics.clip import Clip, load_clip

BEFORE, AFTER = ["a cat on a beach", "a red car"], ["a dog on a beach", "a blue car"]


def pictures(seed: int, side: int = 48) -> list[Image.Image]:
    levels = np.random.default_rng(seed).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    return [Image.fromarray(one) for one in levels]


def test_scores_are_the_cosines_of_the_embeddings(clip: Clip):
    found = clip.pairs(pictures(1), pictures(2), before=BEFORE, after=AFTER)
    old, new, said, meant = (
        part.double().numpy()
        for part in (
            clip.images(pictures(1)),
            clip.images(pictures(2)),
            clip.texts(BEFORE),
            clip.texts(AFTER),
        )
    )
    np.testing.assert_allclose(np.linalg.norm(old, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found.image, (old * new).sum(1), atol=1e-6)
    np.testing.assert_allclose(found.before, (old * said).sum(1), atol=1e-6)
    np.testing.assert_allclose(found.after, (new * meant).sum(1), atol=1e-6)
    moved, told = new - old, meant - said
    cosine = (moved * told).sum(1) / np.linalg.norm(moved, axis=1) / np.linalg.norm(told, axis=1)
    np.testing.assert_allclose(found.direction, cosine, atol=1e-5)


def test_each_row_is_independent_of_the_others(clip: Clip):
    both = clip.images([*pictures(1), *pictures(2, side=20)])
    torch.testing.assert_close(both[:2], clip.images(pictures(1)))
    assert not torch.allclose(both[0], both[1])
    texts = clip.texts([*BEFORE, *AFTER])
    torch.testing.assert_close(texts[2:], clip.texts(AFTER))


def test_long_captions_are_refused(clip: Clip):
    with pytest.raises(wb.PromptTooLong, match="reads 32"):
        clip.texts(["a cat on a beach " * 20])


def test_no_model(tmp_path: Path):
    with pytest.raises(wb.ModelError, match="cannot be loaded as a CLIP model"):
        load_clip(tmp_path)
