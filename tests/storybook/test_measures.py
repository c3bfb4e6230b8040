"""The measures themselves: shares, means, what counts as rising, which edits are asked for."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from wordbrush.storybook.evaluate_edits import KINDS, _changed, _outside, _plain, _rises
from wordbrush.storybook.recipe.renders import scene_at
from wordbrush.storybook.scene import Scene
from wordbrush.storybook.statistics import mean, share


def test_share_has_the_wilson_interval() -> None:
    found = share([True] * 8 + [False] * 2)
    assert found["share"] == 0.8
    assert found["low"] == pytest.approx(0.4902, abs=1e-4)
    assert found["high"] == pytest.approx(0.9433, abs=1e-4)
    assert share([])["of"] == 0


def test_mean_has_an_interval_around_it_and_refuses_infinities() -> None:
    found = mean([1.0, 2.0, 3.0, 4.0])
    assert found["low"] < found["mean"] == 2.5 < found["high"]
    with pytest.raises(ValueError, match="not all finite"):
        mean([1.0, float("inf")])


def test_rising_allows_small_falls_only_within_the_tolerance() -> None:
    wavy = np.array([0.1, 0.3, 0.29, 0.6, 0.8])
    assert _rises(wavy, 0.02)
    assert not _rises(wavy, 0.0)
    assert not _rises(np.full(5, 0.5), 0.02)
    assert not _rises(wavy[::-1], 0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_an_edit_changes_one_attribute(kind: str) -> None:
    assert len(KINDS) == 7
    for index in range(20):
        before, after = _changed(_plain(scene_at("heldout", index)[0]), kind, index)
        names = [name for name in Scene.__dataclass_fields__ if getattr(before, name) != getattr(after, name)]
        assert names == [kind.split()[0]]
        assert _changed(_plain(scene_at("heldout", index)[0]), kind, index) == (before, after)


def test_what_lies_inside_the_silhouettes_does_not_count() -> None:
    source = Image.fromarray(np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8))
    inside, everywhere = np.array(source), np.array(source)
    inside[40:80, 40:80] = 255 - inside[40:80, 40:80]
    everywhere[:, ::2] = 255 - everywhere[:, ::2]
    outline = np.zeros((32, 32), dtype=bool)
    outline[9:21, 9:21] = True
    kept, lost = (_outside(source, Image.fromarray(pixels), outline) for pixels in (inside, everywhere))
    assert kept["psnr"] == 60.0
    assert kept["ssim"] > 0.97
    assert lost["psnr"] < 15
    assert lost["ssim"] < 0.5
