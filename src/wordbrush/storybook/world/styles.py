"""The four drawing styles besides plain: filters on a finished (128, 128, 3) picture, values in [0, 255]."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from wordbrush.storybook.world.layout import SIZE, stream

_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
_SHEET = np.array([252, 249, 240], np.float32)
_GRAPHITE = np.array([3, 1, -6], np.float32)
_RELIEF = np.array([14, 13, 11], np.float32)


def apply_style(picture: np.ndarray, style: str, *, seed: int) -> np.ndarray:
    """Redraw a uint8 picture in a style; plain returns it as it is."""
    if style == "plain":
        return picture
    shift = stream(seed, "style").integers(0, SIZE, 2)
    drawn = _STYLES[style](picture.astype(np.float32), (int(shift[0]), int(shift[1])))
    return np.clip(drawn, 0, 255).round().astype(np.uint8)


def _field(seed: int, sigma: float | tuple[float, float]) -> np.ndarray:
    """A smooth periodic noise field of mean 0 and standard deviation 1."""
    noise = np.random.default_rng(seed).standard_normal((SIZE, SIZE))
    noise = ndimage.gaussian_filter(noise, sigma, mode="wrap")
    return ((noise - noise.mean()) / noise.std()).astype(np.float32)


_BLOTS = _field(1, 9.0)
_WOBBLE = (_field(2, 4.0), _field(3, 4.0))
_PAPER = _field(4, 2.0)
_STROKES = _field(5, (1.5, 6.0))
_ROWS, _COLUMNS = np.mgrid[0:SIZE, 0:SIZE]
_BORDER = np.minimum.reduce([_ROWS, SIZE - 1 - _ROWS, _COLUMNS, SIZE - 1 - _COLUMNS]).astype(np.float32)


def _watercolor(picture: np.ndarray, shift: tuple[int, int]) -> np.ndarray:
    wet = _dabs(_bend(picture, shift, 1.2), 3)
    pooled = wet + 0.55 * (wet - _blur(wet, 3.0))
    tinted = _saturate(pooled, 1.1)
    blots = np.roll(_BLOTS, shift, (0, 1))
    thin = 255 - (255 - tinted) * (0.70 + 0.07 * blots)[..., None]
    painted = np.clip((_BORDER + 2.2 * blots - 3.5) / 3.5, 0, 1)[..., None]
    return thin * painted + _SHEET * (1 - painted)


def _oil_painting(picture: np.ndarray, shift: tuple[int, int]) -> np.ndarray:
    dabs = _dabs(_bend(picture, shift, 0.6), 3)
    rich = (_saturate(dabs, 1.45) - 120) * 1.1 + 120
    strokes = np.roll(_STROKES, shift, (0, 1))
    return rich + strokes[..., None] * _RELIEF


def _pixel_art(picture: np.ndarray, shift: tuple[int, int]) -> np.ndarray:
    del shift
    blocks = picture.reshape(32, 4, 32, 4, 3).mean((1, 3))
    blocks = (_saturate(blocks, 1.15) - 128) * 1.08 + 128
    return (np.clip(blocks / 17, 0, 15).round() * 17).repeat(4, 0).repeat(4, 1)


def _pencil_sketch(picture: np.ndarray, shift: tuple[int, int]) -> np.ndarray:
    soft = _blur(picture, 0.7)
    light = soft @ _LUMINANCE
    around = ndimage.gaussian_filter(light, 2.6, mode="nearest", truncate=2.5)
    contour = np.clip((around - light - 3) * 2.4, 0, 95)
    graphite = 84 + 0.66 * light - contour + np.roll(_PAPER, shift, (0, 1)) * 2.5
    return graphite[..., None] + 0.30 * (soft - light[..., None]) + _GRAPHITE


def _bend(picture: np.ndarray, shift: tuple[int, int], pixels: float) -> np.ndarray:
    """Move every pixel by a smooth random displacement of about ``pixels``."""
    down, right = (np.roll(field, shift, (0, 1)) * pixels for field in _WOBBLE)
    where = np.stack([_ROWS + down, _COLUMNS + right])
    channels = [ndimage.map_coordinates(picture[..., c], where, order=1, mode="nearest") for c in range(3)]
    return np.stack(channels, -1)


def _dabs(picture: np.ndarray, side: int) -> np.ndarray:
    """Flatten a picture into dabs about ``side`` pixels wide.

    Kuwahara's filter with soft weights (Papari, Petkov and Campisi, 2007): the means of the four squares
    around a pixel, the calm ones counting most, so that areas become flat and edges stay.
    """
    light = picture @ _LUMINANCE
    mean = ndimage.uniform_filter1d(picture, side, axis=0, mode="nearest")
    mean = ndimage.uniform_filter1d(mean, side, axis=1, mode="nearest")
    square = ndimage.uniform_filter(light * light, side, mode="nearest")
    spread = np.maximum(square - ndimage.uniform_filter(light, side, mode="nearest") ** 2, 0) + 4.0
    weight = (spread**-1.5)[..., None]
    weighted = np.concatenate([mean * weight, weight], -1)
    reach = side // 2
    padded = np.pad(weighted, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    far = slice(2 * reach, None), slice(0, SIZE)
    total = np.sum([padded[rows, columns] for rows in far for columns in far], axis=0)
    return total[..., :3] / total[..., 3:]


def _blur(picture: np.ndarray, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(picture, (sigma, sigma, 0), mode="nearest", truncate=2.5)


def _saturate(picture: np.ndarray, factor: float) -> np.ndarray:
    light = (picture @ _LUMINANCE)[..., None]
    return light + (picture - light) * factor


_STYLES = {
    "watercolor": _watercolor,
    "oil painting": _oil_painting,
    "pixel art": _pixel_art,
    "pencil sketch": _pencil_sketch,
}
