"""Background metrics against the formulas written out, in float64 and without any library's windows."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import wordbrush as wb
from wordbrush.metrics.background import background

RNG = np.random.default_rng(0)
BEFORE = RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)
AFTER = (BEFORE.astype(int) + RNG.integers(-40, 40, BEFORE.shape)).clip(0, 255).astype(np.uint8)
MASK = np.zeros((24, 32), dtype=bool)
MASK[6:14, 10:22] = MASK[[0, -1]] = MASK[:, [0, -1]] = True


def oracle(before: np.ndarray, after: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """What PIE-Bench's code computes: pictures times (1 - mask), the mean over all; SSIM window by window."""
    a, b = (levels / 255 * ~mask[..., None] for levels in (before, after))
    mse = ((a - b) ** 2).mean()
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(taps, taps) / np.outer(taps, taps).sum()
    height, width = mask.shape
    values = []
    for channel in range(3):
        for y in range(5, height - 5):
            for x in range(5, width - 5):
                p, q = (one[y - 5 : y + 6, x - 5 : x + 6, channel] for one in (a, b))
                mp, mq = (window * p).sum(), (window * q).sum()
                vp, vq = (window * p * p).sum() - mp**2, (window * q * q).sum() - mq**2
                covariance = (window * p * q).sum() - mp * mq
                values.append(
                    (2 * mp * mq + 0.01**2) * (2 * covariance + 0.03**2)
                    / ((mp**2 + mq**2 + 0.01**2) * (vp + vq + 0.03**2))
                )  # fmt: skip
    return {"mse": mse, "psnr": 10 * np.log10(1 / mse), "ssim": float(np.mean(values))}


def test_pie_is_what_the_published_code_computes():
    found = background(Image.fromarray(BEFORE), Image.fromarray(AFTER), MASK, mode="pie")
    assert found == pytest.approx(oracle(BEFORE, AFTER, MASK), rel=1e-9)


def test_pie_is_better_for_larger_masks_and_area_is_not():
    larger = MASK.copy()
    larger[4:20, 4:28] = True
    before, after = Image.fromarray(BEFORE), Image.fromarray(AFTER)
    pie = [background(before, after, mask, mode="pie")["psnr"] for mask in (MASK, larger)]
    area = [background(before, after, mask)["psnr"] for mask in (MASK, larger)]
    assert pie[1] > pie[0] + 1
    assert abs(area[1] - area[0]) < 0.3


def test_area_is_the_mean_over_the_background():
    found = background(Image.fromarray(BEFORE), Image.fromarray(AFTER), MASK)
    squares = ((BEFORE / 255 - AFTER / 255) ** 2)[~MASK]
    assert found["mse"] == pytest.approx(squares.mean())
    assert found["psnr"] == pytest.approx(-10 * np.log10(squares.mean()))


@pytest.mark.parametrize("mode", ["area", "pie"])
def test_what_is_inside_the_mask_does_not_count(mode):
    inside = BEFORE.copy()
    inside[MASK] = 255 - inside[MASK]
    found = background(Image.fromarray(BEFORE), Image.fromarray(inside), MASK, mode=mode)
    assert (found["mse"], found["psnr"]) == (0, 60)
    if mode == "pie":
        assert found["ssim"] == pytest.approx(1)


def test_there_is_no_ssim_of_pictures_smaller_than_its_window():
    for mode, side in (("area", 7), ("pie", 11)):
        for size, known in ((side, {"mse", "psnr", "ssim"}), (side - 1, {"mse", "psnr"})):
            before, after = (Image.fromarray(levels[:size]) for levels in (BEFORE, AFTER))
            assert set(background(before, after, MASK[:size], mode=mode)) == known


def test_what_cannot_be_measured_is_refused():
    before = Image.fromarray(BEFORE)
    with pytest.raises(wb.InvalidInput, match="no background"):
        background(before, before, np.ones_like(MASK))
    with pytest.raises(wb.InvalidInput, match=r"\(3, 3\)"):
        background(before, before, np.zeros((3, 3), dtype=bool))
    with pytest.raises(wb.InvalidInput, match="area or pie, not 'pi'"):
        background(before, before, MASK, mode="pi")  # pyright: ignore[reportArgumentType]
