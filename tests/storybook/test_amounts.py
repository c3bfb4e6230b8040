"""The pixel measures of rain and colour, against renders, whose truth is known."""

import numpy as np
import pytest
from PIL import Image

from wordbrush.storybook import amounts
from wordbrush.storybook.scene import COLOURS, Scene
from wordbrush.storybook.world import mask, render
from wordbrush.storybook.world.glyphs import PAINTS


def picture(scene: Scene, seed: int) -> Image.Image:
    return Image.fromarray(render(scene, seed))


@pytest.mark.parametrize("place", ["beach", "forest", "city", "moon"])
def test_rain_reads_higher_than_the_same_scene_without(place: str):
    read = [
        [amounts.rain(picture(Scene("car", place, time), seed)) for time in ("rain", "noon", "sunset")]
        for seed in range(5)
    ]
    assert all(rain > max(others) for rain, *others in read)


def test_more_drops_read_higher():
    plain = Image.new("RGB", (128, 128), (90, 100, 110))
    read = []
    for drops in (0, 10, 20, 40):
        pixels = np.array(plain)
        for drop in range(drops):
            pixels[10:20, 3 * drop + 2] = 255
        read.append(amounts.rain(Image.fromarray(pixels)))
    assert read[0] == 0.0
    assert np.all(np.diff(read) > 0)


def test_a_colour_goes_from_0_for_grey_to_1_for_its_paint():
    everywhere = np.ones((128, 128), dtype=bool)
    grey = Image.new("RGB", (128, 128), (119, 119, 119))
    for name, paint in PAINTS.items():
        full = Image.new("RGB", (128, 128), paint)
        assert amounts.colour(full, name, everywhere) == pytest.approx(1.0, abs=1e-6)
        assert amounts.colour(grey, name, everywhere) == pytest.approx(0.0, abs=0.01)
        half = amounts.colour(Image.blend(grey, full, 0.5), name, everywhere)
        assert 0.2 < half < 0.8


def test_a_render_has_most_of_its_own_colour_and_only_the_region_counts():
    for name in COLOURS:
        scene = Scene("car", "lake", "noon", colour=name)
        where = mask(scene, 3) > 0
        read = {other: amounts.colour(picture(scene, 3), other, where) for other in ("blue", "red", "green")}
        if name in read:
            assert max(read, key=lambda other: read[other]) == name
    pixels = np.zeros((128, 128, 3), dtype=np.uint8)
    pixels[:, :64], pixels[:, 64:] = PAINTS["red"], PAINTS["blue"]
    left = np.zeros((128, 128), dtype=bool)
    left[:, :64] = True
    assert amounts.colour(Image.fromarray(pixels), "red", left) == pytest.approx(1.0, abs=1e-6)
