"""Subjects and companions: glyphs of the font Noto Color Emoji, given another colour where asked for."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from scipy import ndimage

from wordbrush.errors import WordbrushError
from wordbrush.storybook.font import FONT_NAME, FONT_REMEDY, font_path

BITMAP_SIZE = 109
"""The one size, in pixels, in which the font stores its bitmaps."""

RIM = 4
"""Pixels of air around a sprite, for its rim."""

CODEPOINTS: dict[str, int] = {
    "cat": 0x1F431, "dog": 0x1F436, "horse": 0x1F434, "rabbit": 0x1F430, "elephant": 0x1F418,
    "fox": 0x1F98A, "bear": 0x1F43B, "owl": 0x1F989, "penguin": 0x1F427, "duck": 0x1F986,
    "turtle": 0x1F422, "dinosaur": 0x1F995, "frog": 0x1F438, "fish": 0x1F41F, "crab": 0x1F980,
    "whale": 0x1F433, "snail": 0x1F40C, "sheep": 0x1F411, "lion": 0x1F981,
    "car": 0x1F697, "bus": 0x1F68C, "sailboat": 0x26F5, "rocket": 0x1F680, "tractor": 0x1F69C,
    "train": 0x1F682,
    "cake": 0x1F382, "pizza": 0x1F355, "apple": 0x1F34E, "pumpkin": 0x1F383, "sunflower": 0x1F33B,
    "rose": 0x1F339, "mushroom": 0x1F344, "cactus": 0x1F335, "tree": 0x1F333,
    "house": 0x1F3E0, "castle": 0x1F3F0, "snowman": 0x26C4, "robot": 0x1F916,
    "tent": 0x26FA, "teapot": 0x1FAD6,
    "balloon": 0x1F388, "umbrella": 0x2602, "kite": 0x1FA81, "gift": 0x1F381, "ball": 0x26BD,
    "butterfly": 0x1F98B, "flag": 0x1F6A9, "lantern": 0x1F3EE,
}  # fmt: skip

PAINTS: dict[str, tuple[int, int, int]] = {
    "red": (222, 36, 40),
    "orange": (255, 136, 18),
    "yellow": (255, 216, 32),
    "green": (48, 168, 66),
    "blue": (36, 98, 226),
    "purple": (136, 58, 190),
    "pink": (255, 132, 190),
}


@dataclass(frozen=True)
class Coat:
    """Which pixels of a glyph are its coat, the part that takes a colour.

    Hues lie within ``width`` degrees of ``hue`` (None: any), saturation in [0, 1] between ``dull`` and ``vivid``, and
    brightness in [0, 1] above ``dark``.
    """

    hue: float | None = None
    width: float = 180.0
    dull: float = 0.0
    vivid: float = 1.0
    dark: float = 0.0


COATS: dict[str, Coat] = {
    "cat": Coat(hue=40, width=32, dull=0.30, dark=0.5),
    "horse": Coat(hue=28, width=26, dull=0.12, dark=0.2),
    "rabbit": Coat(vivid=0.16, dark=0.4),
    "elephant": Coat(vivid=0.16, dark=0.3),
    "dinosaur": Coat(hue=130, width=60, dull=0.25, dark=0.2),
    "fish": Coat(hue=205, width=40, dull=0.12, dark=0.2),
    "car": Coat(hue=0, width=25, dull=0.45, dark=0.2),
    "bus": Coat(hue=205, width=50, dull=0.02, vivid=0.35, dark=0.45),
    "sailboat": Coat(hue=12, width=25, dull=0.35, dark=0.4),
    "rocket": Coat(vivid=0.32, dark=0.3),
    "tractor": Coat(hue=150, width=40, dull=0.3, dark=0.1),
    "apple": Coat(hue=5, width=28, dull=0.3, dark=0.2),
    "rose": Coat(hue=350, width=25, dull=0.4, dark=0.2),
    "mushroom": Coat(hue=12, width=25, dull=0.55, dark=0.4),
    "house": Coat(hue=40, width=40, dull=0.02, vivid=0.3, dark=0.6),
    "robot": Coat(hue=205, width=40, dull=0.08, vivid=0.4, dark=0.3),
    "tent": Coat(hue=25, width=25, dull=0.3, dark=0.2),
    "teapot": Coat(hue=8, width=25, dull=0.3, dark=0.2),
}


class MissingFont(WordbrushError, OSError):
    """Noto Color Emoji, from which the storybook's subjects are cut, is not installed."""


@dataclass(frozen=True)
class Sprite:
    """A glyph at its final size with ``RIM`` pixels of air around: colours, opacity, soft rim behind it."""

    picture: Image.Image
    alpha: Image.Image
    rim: Image.Image


@functools.lru_cache(maxsize=1024)
def sprite(name: str, colour: str | None, width: int, height: int) -> Sprite:
    """The glyph of ``name`` scaled to ``width`` x ``height`` pixels."""
    picture = glyph(name, colour).resize((width, height), Image.Resampling.LANCZOS)
    framed = Image.new("RGBA", (width + 2 * RIM, height + 2 * RIM))
    framed.paste(picture, (RIM, RIM))
    alpha = framed.getchannel("A")
    rim = alpha.filter(ImageFilter.MaxFilter(3)).filter(ImageFilter.GaussianBlur(0.8))
    return Sprite(framed.convert("RGB"), alpha, rim)


@functools.cache
def aspect(name: str) -> float:
    """Width over height of a glyph."""
    picture = glyph(name, None)
    return picture.width / picture.height


@functools.cache
def glyph(name: str, colour: str | None) -> Image.Image:
    """A glyph's RGBA bitmap in the font's own size: cropped, cleaned, and repainted if ``colour`` is given."""
    picture = Image.new("RGBA", (BITMAP_SIZE * 3 // 2, BITMAP_SIZE * 3 // 2))
    ImageDraw.Draw(picture).text((10, 10), chr(CODEPOINTS[name]), font=_font(), embedded_color=True)
    pixels = np.asarray(picture).copy()
    pixels[..., 3] = _main_parts(pixels[..., 3])
    if colour is not None:
        pixels[..., :3] = _repaint(pixels, COATS[name], PAINTS[colour])
    cleaned = Image.fromarray(_bleed(pixels))
    return cleaned.crop(cleaned.getchannel("A").getbbox())


@functools.cache
def _font() -> ImageFont.FreeTypeFont:
    path = font_path()
    try:
        font = ImageFont.truetype(str(path), BITMAP_SIZE)
    except OSError as error:
        raise MissingFont(_missing(f"cannot read {path}")) from error
    if font.getname()[0] != FONT_NAME:
        raise MissingFont(_missing(f"{path} is the font {font.getname()[0]}"))
    return font


def _missing(what: str) -> str:
    return f"{what}, but the storybook's pictures are drawn with {FONT_NAME}: {FONT_REMEDY}"


def _main_parts(alpha: np.ndarray) -> np.ndarray:
    """Drop faint glows and specks (the stars around a rocket) from an opacity channel."""
    firm = np.clip(alpha.astype(np.int32) * 2 - 255, 0, 255)
    labels = np.empty(firm.shape, np.int32)
    ndimage.label(firm > 0, output=labels)
    areas = np.bincount(labels.ravel())
    speck = areas < 0.02 * areas[1:].sum()
    return np.where(speck[labels], 0, firm).astype(np.uint8)


def _bleed(pixels: np.ndarray) -> np.ndarray:
    """Continue the colours into transparent pixels, so that scaling does not mix black into the edges."""
    transparent = pixels[..., 3] < 128
    rows, columns = indices = np.empty((2, *transparent.shape), np.int32)
    ndimage.distance_transform_edt(transparent, return_distances=False, return_indices=True, indices=indices)
    return np.dstack([pixels[rows, columns, :3], pixels[..., 3]])


def _repaint(pixels: np.ndarray, coat: Coat, paint: tuple[int, int, int]) -> np.ndarray:
    """Give a glyph's coat another colour, keep its light and shade: uint8 (h, w, 4) -> uint8 (h, w, 3)."""
    colours = pixels[..., :3].astype(np.float32)
    hsv = np.asarray(Image.fromarray(pixels[..., :3]).convert("HSV"), np.float32) / 255
    hue, saturation, value = np.moveaxis(hsv, -1, 0)
    weight = _ramp(saturation, coat.dull - 0.02) * _ramp(coat.vivid + 0.02 - saturation, 0)
    weight = weight * _ramp(value, coat.dark)
    if coat.hue is not None:
        distance = np.abs((hue * 360 - coat.hue + 180) % 360 - 180)
        weight = weight * np.clip((coat.width - distance) / 8 + 0.5, 0, 1)
    luminance = colours @ np.array([0.299, 0.587, 0.114], np.float32)
    inside = (weight > 0.5) & (pixels[..., 3] > 128)
    light = (luminance / np.median(luminance[inside]))[..., None]
    shade = np.array(paint, np.float32) * np.minimum(light, 1) ** 0.8
    painted = shade + (255 - shade) * np.clip((light - 1) * 0.6, 0, 0.7)
    return (colours + (painted - colours) * weight[..., None]).round().astype(np.uint8)


def _ramp(values: np.ndarray, start: float) -> np.ndarray:
    return np.clip((values - start) / 0.06 + 0.5, 0, 1)
