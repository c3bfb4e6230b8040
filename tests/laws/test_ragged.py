"""Rows of unequal texts: laid out anew, attention gives every real position what it gave before."""

from __future__ import annotations

import pytest
import torch

from compare import distance
from wordbrush.backbones.base import AttentionCall
from wordbrush.backbones.ragged import levelled, real, unchanged, widened

PIXELS = 4
TEXTS = (3, 5, 1)


def call(texts: tuple[int, ...] = TEXTS) -> AttentionCall:
    """Rows of a text and then the picture, padded behind."""
    longest = max(texts) + PIXELS
    parts = torch.randn(3, len(texts), 2, longest, 8, generator=torch.Generator().manual_seed(0)).double()
    valid = torch.arange(longest) < torch.tensor(texts)[:, None] + PIXELS
    return AttentionCall(*parts, valid[:, None, None], {})


def test_levelling_moves_every_picture_behind_the_longest_text():
    ragged = call()
    level, restored = levelled(ragged, PIXELS)
    for row, text in enumerate(TEXTS):
        pictures = level.key[row, :, -PIXELS:], ragged.key[row, :, text : text + PIXELS]
        assert torch.equal(*pictures)
        assert torch.equal(level.value[row, :, :text], ragged.value[row, :, :text])
        assert real(level)[row].flatten().tolist() == [n < text or n >= 5 for n in range(9)]
    out, expected = restored(level()), ragged()
    for row, text in enumerate(TEXTS):
        assert distance(out[row, :, : text + PIXELS], expected[row, :, : text + PIXELS]) < 1e-14


def test_equal_texts_are_left_as_they_are():
    same = AttentionCall(call().query, call().key, call().value, None, {})
    level, restored = levelled(same, PIXELS)
    assert level is same
    assert restored is unchanged
    assert real(same).all()


@pytest.mark.parametrize("text_first", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_wider_texts_make_no_difference(text_first: bool, masked: bool):
    narrow = call((5, 5, 5))
    mask = real(narrow).clone()
    mask[1, ..., 2 if text_first else -2] = False
    narrow = AttentionCall(narrow.query, narrow.key, narrow.value, mask if masked else None, {})
    wide, restored = widened(narrow, 8, PIXELS, text_first=text_first)
    assert wide.key.shape[2] == 8 + PIXELS
    assert real(wide).sum() == mask.sum() if masked else 3 * 9
    assert distance(restored(wide()), narrow()) < 1e-14
    picture = slice(8, 12) if text_first else slice(0, 4)
    assert torch.equal(wide.key[:, :, picture], narrow.key[:, :, slice(5, 9) if text_first else picture])
