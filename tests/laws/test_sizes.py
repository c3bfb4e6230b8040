"""The sizes at which pictures are edited: the published rule, exactly, and the one that loses nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pipelines
import wordbrush as wb
from wordbrush.run import latent_size
from wordbrush.sizes import MOST_PIXELS, Size, check_multiples, edited_size

sides = st.integers(1, 4000)


def size(height: int, width: int, *, crop: bool) -> tuple[int, int]:
    return edited_size(height, width, side=512, grain=64, crop=crop)


@pytest.mark.parametrize(
    ("given_size", "published"),
    [((512, 512), (512, 512)), ((200, 300), (384, 576)), ((300, 2000), (128, 832)), ((97, 113), (448, 512))],
)
def test_published_sizes(given_size: tuple[int, int], published: tuple[int, int]):
    """Known results of the published program; the last as it would be without its loss of 64 pixels."""
    assert size(*given_size, crop=True) == published


@given(sides, sides, st.booleans())
def test_multiples_that_keep_the_shape(height: int, width: int, crop: bool):
    shorter, longer = sorted((height, width))
    if longer > 16 * shorter:
        with pytest.raises(wb.BadPicture, match="too long and narrow"):
            size(height, width, crop=crop)
        return
    high, wide = size(height, width, crop=crop)
    assert high % 64 == wide % 64 == 0
    assert min(high, wide) == 64 * math.ceil(shorter * 512 / longer / 64 - 1e-12)
    assert max(high, wide) <= 1024
    assert (high - wide) * (height - width) >= 0
    exact = longer * min(high, wide) / shorter
    assert (0 <= exact - max(high, wide) < 64) if crop else abs(exact - max(high, wide)) <= 32
    assert size(width, height, crop=crop) == (wide, high)


def test_nothing_of_a_photograph_is_lost():
    assert size(667, 1000, crop=True) == (384, 512)
    assert size(667, 1000, crop=False) == (384, 576)


def test_the_nearest_size_is_named():
    check_multiples(64, 72, 8)
    with pytest.raises(wb.InvalidInput, match="multiples of 8 pixels: 64 × 80, not 66 × 77"):
        check_multiples(66, 77, 8)


@pytest.mark.parametrize("size", [100_000, (8192, 8194), (2, 2**26)])
def test_sizes_beyond_all_memory_are_refused(size: Size):
    """Asked of the size alone: pictures of that size are not to be tried."""
    with pytest.raises(wb.InvalidInput, match="too large: at most 67,108,864 pixels in all"):
        latent_size(pipelines.model("sd1"), size)


def test_the_largest_size_is_taken():
    assert latent_size(pipelines.model("sd1"), 8192) == (4096, 4096)
    assert latent_size(pipelines.model("sd1"), (2, MOST_PIXELS // 2)) == (1, MOST_PIXELS // 4)
