"""Pictures of any size in batches: the same crop and flip for both, buckets of about the same area."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from edit_data import picture
from wordbrush.errors import InvalidInput
from wordbrush.training.batches import to_pixels
from wordbrush.training.config import Data
from wordbrush.training.geometry import make_geometry
from wordbrush.training.order import draw


def geometry(**settings: object):
    return make_geometry(Data(source="x", **settings), native=32, multiple=16)  # pyright: ignore


def test_both_pictures_are_cropped_and_resized_alike():
    """Where every pixel says its place, the same draw shows the same places of both pictures."""
    across, down = np.meshgrid(np.linspace(0, 255, 80), np.linspace(0, 255, 60))
    places = np.stack([across, down, 0 * across], -1).astype(np.uint8)
    before, after = Image.fromarray(places), Image.fromarray(255 - places)
    placing = geometry(size=32, resize=(32, 48), crop="random")
    seen = set()
    for position in range(12):
        drawn = draw(0, 0, position)
        one, other = placing.place(before, 0, drawn), placing.place(after, 0, drawn)
        assert one.shape == other.shape == (32, 32, 3)
        assert np.abs(one.astype(int) + other[..., ::1].astype(int) - 255)[..., :2].max() <= 2
        seen.add(one[0, 0].tobytes())
    assert len(seen) > 6


def test_a_flip_mirrors_and_nothing_else():
    levels = np.asarray(picture(3, (6, 4)))
    plain, mirrored = to_pixels(levels, flip=False), to_pixels(levels, flip=True)
    assert plain.shape == (3, 4, 6)
    assert not torch.equal(plain, mirrored)
    assert torch.equal(plain.flip(-1), mirrored)
    assert -1 <= plain.min() <= plain.max() <= 1


def test_the_published_squash_ignores_the_aspect_and_its_crop_does_nothing():
    placing = geometry(size=32, fit="squash", crop="random")
    image = picture(1, (90, 40))
    assert placing.is_fixed
    whole = np.asarray(image.resize((32, 32), Image.Resampling.LANCZOS))
    assert (placing.place(image, 0, draw(0, 0, 1)) == whole).all()
    wide = geometry(size=32, fit="squash", crop="random", resize=(32, 36))
    assert not wide.is_fixed
    corners = {wide.place(image, 0, draw(0, 0, n)).tobytes() for n in range(30)}
    assert len(corners) > 10


def test_every_size_of_the_range_is_drawn_equally_often():
    sides: list[int] = []

    class Seen(Image.Image):
        """A picture that notes what it is resized to."""

        def resize(self, size, *args, **kwargs):
            sides.append(size[0])
            return picture(1, size)

    image = picture(1, (100, 100))
    image.__class__ = Seen
    placing = geometry(size=32, resize=(33, 36), crop="centre")
    for position in range(800):
        placing.place(image, 0, draw(0, 0, position))
    assert np.bincount(sides)[33:] == pytest.approx(np.full(4, 200), abs=50)


def test_the_aspect_is_kept_and_the_centre_taken():
    placing = geometry(size=32)
    image = picture(2, (64, 32))
    assert (placing.place(image, 0) == np.asarray(image)[:, 16:48]).all()


def test_buckets_have_about_the_area_and_take_what_is_nearest():
    placing = make_geometry(Data(source="x", size=512, buckets=True), native=512, multiple=64)
    assert (512, 512) in placing.shapes
    assert len(placing.shapes) == 5
    for height, width in placing.shapes:
        assert height % 64 == width % 64 == 0
        assert 0.75 * 512**2 < height * width <= 512**2
        assert max(height / width, width / height) <= 2
    for size in ((900, 900), (1000, 600), (600, 1000), (400, 100)):
        height, width = placing.shapes[placing.nearest(*size)]
        ratios = [abs(np.log(w / h * size[1] / size[0])) for h, w in placing.shapes]
        assert abs(np.log(width / height * size[1] / size[0])) == min(ratios)
    portrait = placing.shapes[placing.nearest(600, 1000)]
    assert portrait[0] > portrait[1]


@pytest.mark.parametrize(
    ("size", "multiple", "aspect"), [(64, 64, 4.0), (512, 64, 8.0), (512, 32, 3.0), (256, 16, 2.0)]
)
def test_buckets_lie_and_stand_alike_at_any_aspect(size: int, multiple: int, aspect: float):
    placing = make_geometry(
        Data(source="x", size=size, buckets=True, aspect=aspect), native=size, multiple=multiple
    )
    shapes = placing.shapes
    assert set(shapes) == {(width, height) for height, width in shapes}
    assert (size, size) in shapes
    assert len({height for height, _ in shapes}) == len({width for _, width in shapes}) == len(shapes)
    for height, width in shapes:
        assert height * width <= size**2 < min(height, width) * (max(height, width) + multiple)
        assert max(height / width, width / height) <= aspect


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"size": 40}, "data.size must be a multiple of 16 for this model, not 40: use"),
        ({"size": 32, "resize": (30, 40)}, "data.resize must be two sizes from 32"),
        ({"size": 32, "resize": (48, 40)}, "the smaller one first"),
        ({"buckets": True, "fit": "squash"}, "data.buckets keep the aspect"),
    ],
)
def test_sizes_that_cannot_be_are_refused(settings: dict, sentence: str):
    with pytest.raises(InvalidInput, match=sentence):
        geometry(**settings)
