"""Contact sheets and heat: every picture in its place, one colour for one value."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from wordbrush.contact import CELL, HEAT, MARGIN, contact_sheet, heat_colours, overlay
from wordbrush.figures.heat import heat


@pytest.mark.parametrize(
    ("count", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (6, 6, 1), (7, 6, 2), (24, 7, 4)]
)
def test_pictures_fill_rows(count: int, columns: int, rows: int):
    shades = [10 * number for number in range(count)]
    sheet = contact_sheet([Image.new("RGB", (CELL, CELL // 2), (shade, 0, 0)) for shade in shades])
    across, down = CELL + MARGIN, CELL // 2 + MARGIN
    assert sheet.size == (MARGIN + columns * across, MARGIN + rows * down)
    for number, shade in enumerate(shades):
        middle = (number % columns * across + across // 2, number // columns * down + down // 2)
        assert sheet.getpixel(middle) == (shade, 0, 0)


def test_captions_stand_under_their_own_row():
    images = [Image.new("RGB", (CELL, CELL), "red")] * 8
    pixels = np.asarray(contact_sheet(images, [""] * 7 + ["a caption"]), dtype=int)
    assert len(pixels) > 2 * (CELL + MARGIN) + MARGIN
    y, x = np.nonzero(pixels.max(axis=2) < 128)
    assert len(y)
    assert y.min() > 2 * CELL
    assert CELL < x.min() < x.max() < 2 * (CELL + MARGIN)


def test_one_value_has_one_colour():
    for value, colour in zip(np.linspace(0, 1, len(HEAT)), HEAT, strict=True):
        weights = np.full((2, 2), value)
        np.testing.assert_allclose(heat_colours(weights, (6, 4)), np.broadcast_to(colour, (4, 6, 3)), atol=3)
        shown = np.asarray(heat(weights, 4, top=1.0), dtype=float)
        over = np.asarray(overlay(Image.new("RGB", (4, 4)), weights, strength=1.0), dtype=float)
        np.testing.assert_array_equal(shown, over)
