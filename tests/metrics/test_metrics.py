"""Measures of pictures: known values, and what they must not react to."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import wordbrush as wb
from wordbrush.metrics.alignment import alignment_shift
from wordbrush.metrics.pixels import EQUAL_PSNR, l1, psnr, ssim

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (64, 80, 3), dtype=np.uint8)


def picture(levels: np.ndarray) -> Image.Image:
    return Image.fromarray(levels.astype(np.uint8))


def test_known_differences():
    black, grey = picture(np.zeros((8, 8, 3))), picture(np.full((8, 8, 3), 51))
    assert l1(black, grey) == pytest.approx(0.2)
    assert psnr(black, grey) == pytest.approx(10 * np.log10(1 / 0.04))
    assert psnr(black, black) == EQUAL_PSNR
    assert l1(black, black) == 0
    assert ssim(picture(NOISE), picture(NOISE)) == pytest.approx(1)
    assert ssim(picture(NOISE), picture(255 - NOISE)) < 0


def test_only_the_region_counts():
    changed = NOISE.copy()
    changed[:, 40:] = 255 - changed[:, 40:]
    left = np.zeros((64, 80), dtype=bool)
    left[:, :36] = True
    assert psnr(picture(NOISE), picture(changed), left) == EQUAL_PSNR
    assert psnr(picture(NOISE), picture(changed), ~left) < 10
    assert ssim(picture(NOISE), picture(changed), left) == pytest.approx(1)
    for measure in (psnr, ssim):
        for nowhere in (np.zeros((64, 80), dtype=bool), np.ones((80, 64), dtype=bool)):
            with pytest.raises(wb.InvalidInput, match="the region is"):
                measure(picture(NOISE), picture(changed), nowhere)


def test_ssim_needs_its_window():
    assert ssim(picture(NOISE[:7]), picture(NOISE[:7])) == pytest.approx(1)
    with pytest.raises(wb.InvalidInput, match="have 80 × 6 pixels, and SSIM compares windows of 7 × 7"):
        ssim(picture(NOISE[:6]), picture(NOISE[:6]))


def test_pictures_of_two_sizes_are_refused():
    for measure in (l1, psnr, ssim, alignment_shift):
        with pytest.raises(wb.InvalidInput, match="80 × 64 and 64 × 80"):
            measure(picture(NOISE), picture(NOISE.transpose(1, 0, 2)))


def test_a_slide_is_found_whatever_the_colours():
    shapes = np.zeros((96, 96, 3))
    shapes[30:50, 20:60] = (200, 40, 40)
    shapes[55:80, 50:70] = (40, 180, 90)
    slid = np.roll(shapes, (3, 4), axis=(0, 1))
    diagonal = np.hypot(96, 96)
    assert alignment_shift(picture(shapes), picture(slid)) == pytest.approx(5 / diagonal, abs=1 / diagonal)
    assert alignment_shift(picture(shapes), picture(shapes[..., ::-1])) < 0.5 / diagonal
    assert alignment_shift(picture(shapes), picture(np.zeros((96, 96, 3)))) == 0
