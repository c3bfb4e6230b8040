"""Pictures of every kind come in as a viewer shows them, or are refused in a sentence."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

import editors
import wordbrush as wb
from wordbrush.pictures import read_picture

PICTURE = editors.picture(0, (20, 30))


def saved(place: Path, image: Image.Image, **options: Any) -> Path:
    image.save(place, **options)
    return place


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"), dtype=int)


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "webp"])
def test_plain_pictures_are_themselves(tmp_path: Path, ending: str):
    opened = read_picture(saved(tmp_path / f"a.{ending}", PICTURE, lossless=True))
    assert opened.image.mode == "RGB"
    assert opened.notes == ()
    np.testing.assert_array_equal(pixels(opened.image), pixels(PICTURE))
    np.testing.assert_array_equal(pixels(read_picture(PICTURE).image), pixels(PICTURE))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(tmp_path: Path, orientation: int):
    """The file holds the picture as the camera lay; what comes in is upright, at every of the eight orientations."""
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the Image.Transpose against what a viewer does
    lying = PICTURE.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else PICTURE
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = read_picture(saved(tmp_path / "a.png", lying, exif=exif))
    np.testing.assert_array_equal(pixels(opened.image), pixels(PICTURE))
    assert bool(opened.notes) == (orientation > 1)


def test_orientation_survives_a_colour_profile(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    opened = read_picture(saved(tmp_path / "a.png", PICTURE, exif=exif, icc_profile=swapped_primaries()))
    assert opened.image.size == PICTURE.size[::-1]
    assert (
        np.abs(pixels(opened.image) - pixels(PICTURE.transpose(Image.Transpose.ROTATE_270))[..., ::-1]).max()
        <= 1
    )
    assert len(opened.notes) == 2


def test_transparency_is_laid_on_white(tmp_path: Path):
    image = PICTURE.convert("RGBA")
    image.putalpha(Image.new("L", image.size, 255))
    assert read_picture(saved(tmp_path / "opaque.png", image)).notes == ()
    image.putpixel((3, 4), (255, 0, 0, 0))
    opened = read_picture(saved(tmp_path / "a.png", image))
    assert opened.image.getpixel((3, 4)) == (255, 255, 255)
    assert opened.notes == ("its transparency laid on white",)
    palette = PICTURE.quantize(16)
    palette.info["transparency"] = palette.getpixel((0, 0))
    held = read_picture(saved(tmp_path / "b.png", palette))
    assert held.image.getpixel((0, 0)) == (255, 255, 255)


def test_palette_greyscale_cmyk_and_bits(tmp_path: Path):
    palette = PICTURE.quantize(16)
    np.testing.assert_array_equal(
        pixels(read_picture(saved(tmp_path / "p.gif", palette)).image), pixels(palette)
    )
    grey = PICTURE.convert("L")
    np.testing.assert_array_equal(pixels(read_picture(saved(tmp_path / "g.png", grey)).image), pixels(grey))
    bits = PICTURE.convert("1")
    np.testing.assert_array_equal(pixels(read_picture(saved(tmp_path / "1.png", bits)).image), pixels(bits))
    inks = PICTURE.convert("CMYK")
    opened = read_picture(saved(tmp_path / "c.tif", inks))
    np.testing.assert_array_equal(pixels(opened.image), pixels(PICTURE))
    assert opened.notes == ("turned from CMYK into RGB",)


def test_sixteen_bits_are_reduced(tmp_path: Path):
    levels = np.arange(600, dtype=np.uint16).reshape(20, 30) * 109
    opened = read_picture(saved(tmp_path / "a.png", Image.fromarray(levels)))
    np.testing.assert_array_equal(pixels(opened.image)[..., 0], levels >> 8)
    assert opened.notes == ("reduced from 16 bits to 8",)


def swapped_primaries() -> bytes:
    """A profile like sRGB, but with red and blue exchanged."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = data.replace(b"rXYZ", b"xxxx").replace(b"bXYZ", b"rXYZ").replace(b"xxxx", b"bXYZ")
    return data.replace("sRGB".encode("utf-16-be"), "odd!".encode("utf-16-be"))


def test_profiles(tmp_path: Path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = read_picture(saved(tmp_path / "s.png", PICTURE, icc_profile=srgb))
    np.testing.assert_array_equal(pixels(same.image), pixels(PICTURE))
    assert same.notes == ()
    converted = read_picture(saved(tmp_path / "x.png", PICTURE, icc_profile=swapped_primaries()))
    assert np.abs(pixels(converted.image) - pixels(PICTURE)[..., ::-1]).max() <= 1
    assert converted.notes == ("its colours converted from odd! built-in to sRGB",)
    broken = read_picture(saved(tmp_path / "b.png", PICTURE, icc_profile=b"nothing"))
    np.testing.assert_array_equal(pixels(broken.image), pixels(PICTURE))
    assert broken.notes == ("its colour profile left out, as it cannot be applied",)


def animation(place: Path) -> None:
    frames = [editors.picture(seed) for seed in range(3)]
    frames[0].save(place, format="GIF", save_all=True, append_images=frames[1:])


def floats(place: Path) -> None:
    Image.fromarray(np.zeros((8, 8), dtype=np.float32)).save(place, format="TIFF")


def truncated(place: Path) -> None:
    buffer = io.BytesIO()
    editors.picture(0, (200, 200)).save(buffer, format="JPEG")
    place.write_bytes(buffer.getvalue()[:-400])


def without_a_width(place: Path) -> None:
    """A second frame whose tag for the width, 256, is another one."""
    buffer = io.BytesIO()
    editors.picture(0).save(buffer, format="TIFF", save_all=True, append_images=[editors.picture(1)])
    data = bytearray(buffer.getvalue())
    tag = (256).to_bytes(2, "little")
    first = int.from_bytes(data[4:8], "little") + 2
    assert data[first : first + 2] == tag
    second = data.index(tag + bytes(data[first + 2 : first + 8]), first + 2)
    data[second : second + 2] = (9999).to_bytes(2, "little")
    place.write_bytes(data)


def text(place: Path) -> None:
    place.write_text("no picture")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (animation, "an animation of 3 frames"),
        (floats, "32 bits .mode F"),
        (truncated, "does not decode: image file is truncated"),
        (without_a_width, "does not decode: Missing dimensions"),
        (text, "it is of no known format"),
        (lambda place: place.mkdir(), "cannot read .*directory"),
        (lambda place: None, "cannot read .*no such file"),
    ],
)
def test_what_is_refused(tmp_path: Path, make: Any, message: str):
    make(tmp_path / "file")
    with pytest.raises(wb.BadPicture, match=message) as caught:
        read_picture(tmp_path / "file")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "file") in str(caught.value)


@pytest.mark.parametrize("limit", [100, 400])  # Pillow raises beyond twice its limit, and only warns before
def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int):
    place = saved(tmp_path / "a.png", PICTURE)
    read_picture(place)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(wb.BadPicture, match=f"more than {limit} pixels"):
        read_picture(place)


def test_what_is_no_picture():
    for given in (3, np.zeros((8, 8, 3)), None):
        with pytest.raises(wb.InvalidInput, match="the path of a file or a PIL image"):
            read_picture(given)  # pyright: ignore[reportArgumentType]
