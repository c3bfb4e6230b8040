"""Pictures from files and from other programs, as 8-bit RGB; what cannot be that without a guess is refused.

What becomes of pictures that are something else:

- an EXIF orientation is applied, so that pixels stand as a viewer shows them;
- transparency is laid on white; in a mask, white is the region that may change;
- greyscale, palette and CMYK pictures become RGB, of 16 bits the upper 8 are taken; masks become greyscale;
- colours of a profile other than sRGB are converted to sRGB, in ``read_picture``;
- animations, pictures of 32 bits per channel, pictures of more pixels than Pillow's limit
  (``Image.MAX_IMAGE_PIXELS``), and everything that does not decode to the last row are refused.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps

from wordbrush.errors import BadPicture, InvalidInput

ORIENTATION = 0x0112
UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    LookupError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
"""What Pillow raises for damaged files."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A picture as it is used.

    Args:
        image: mode RGB, 8 bits; mode L for a mask. Not to be changed in place.
        notes: what was done to it, in words, if its pixels are not simply those of the file.
    """

    image: Image.Image
    notes: tuple[str, ...] = ()


PictureLike = str | Path | Image.Image | np.ndarray

TAKEN = "a picture is the path of a file or a PIL image, or an array, uint8 of shape (h, w, 3) or (h, w)"


def read_picture(source: PictureLike, *, mask: bool = False) -> Opened:
    """Return a picture, or a mask, from a file or from one in memory, converted as the module says.

    Args:
        source: a path, a PIL image, or an array: uint8 of (h, w, 3) or (h, w); bool of (h, w), too, for a mask.

    Raises:
        BadPicture: it is not there, does not decode, or is of a kind that is refused.
        InvalidInput: it is neither a path nor a picture.
    """
    if isinstance(source, np.ndarray):
        source = _of_array(source, mask=mask)
    if isinstance(source, Image.Image):
        return _decoded(source, "the picture", mask=mask)
    if not isinstance(source, str | Path):
        raise InvalidInput(f"{TAKEN}, not {type(source).__name__}")
    try:
        data = Path(source).read_bytes()
    except OSError as error:
        raise BadPicture(f"cannot read {source}: {(error.strerror or str(error)).lower()}") from error
    try:
        with opened(data) as image:
            return _decoded(image, str(source), mask=mask)
    except BadPicture:
        raise
    except UNREADABLE as error:
        raise BadPicture(f"{source}: {reason(error)}") from error


@contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
    """Open a file; one of more pixels than Pillow's limit raises where Pillow only warns. Raises ``UNREADABLE``."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(data)) as image:
            yield image


def normal(image: Image.Image, *, mask: bool = False, profile: bool = False) -> Opened:
    """Return a picture converted as the module says; its colour profile is looked at only if asked for.

    Raises:
        BadPicture: 32 bits per channel, or several frames.
    """
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":  # cameras put a preview behind a JPEG
        raise BadPicture(f"an animation of {image.n_frames} frames is not a picture")  # pyright: ignore[reportAttributeAccessIssue]
    if image.mode in {"I", "F"}:
        raise BadPicture(
            f"pictures of 32 bits (mode {image.mode}) have no agreed range: save it with 8 or 16 bits"
        )
    notes: list[str] = []
    if image.getexif().get(ORIENTATION, 1) not in (0, 1):
        notes.append("turned as its EXIF orientation says")
    image = ImageOps.exif_transpose(image)
    if profile:
        image, note = _in_srgb(image)
        notes += note
    if image.mode.startswith("I;16"):
        notes.append("reduced from 16 bits to 8")
        image = _upper_bits(image)
    if image.has_transparency_data:
        covered = image.convert("RGBA")
        if covered.getchannel("A").getextrema() != (255, 255):
            notes.append("its transparency laid on white")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), covered)
    elif image.mode == "CMYK":
        notes.append("turned from CMYK into RGB")
    return Opened(image.convert("L" if mask else "RGB"), tuple(notes))


def reason(error: BaseException) -> str:
    """Say in a few words why Pillow could not decode a picture."""
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"the picture has more than {Image.MAX_IMAGE_PIXELS:,} pixels: make it smaller"
    told = "it is of no known format" if isinstance(error, Image.UnidentifiedImageError) else str(error)
    return f"the picture does not decode: {told}"


def _of_array(pixels: np.ndarray, *, mask: bool) -> Image.Image:
    shaped = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    if mask and pixels.dtype == bool and pixels.ndim == 2 and pixels.size:
        return Image.fromarray(pixels.astype(np.uint8) * np.uint8(255))
    if pixels.dtype != np.uint8 or not shaped or not pixels.size:
        raise BadPicture(f"{TAKEN}, not {pixels.dtype} of shape {pixels.shape}")
    return Image.fromarray(pixels)


def _decoded(image: Image.Image, where: str, *, mask: bool) -> Opened:
    try:
        image.load()
        return normal(image, mask=mask, profile=not mask)
    except BadPicture as error:
        raise BadPicture(f"{where}: {error}") from error
    except UNREADABLE as error:
        raise BadPicture(f"{where}: {reason(error)}") from error


def _upper_bits(image: Image.Image) -> Image.Image:
    """Return a 16-bit greyscale picture with 8 bits, a transparent level laid on white."""
    levels = np.asarray(image).astype(np.uint16)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        levels = np.where(levels == transparent, np.uint16(0xFFFF), levels)
    return Image.fromarray((levels >> 8).astype(np.uint8))


def _in_srgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Convert the colours of a picture with a profile to sRGB, and say so."""
    profile = image.info.get("icc_profile")
    if image.mode in {"P", "PA"} or (image.mode == "RGB" and image.has_transparency_data):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if not profile or image.mode not in {"L", "RGB", "RGBA", "CMYK"}:
        return image, ()
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = ImageCms.getProfileDescription(own).strip()
        if "srgb" in name.lower():
            return image, ()
        mode = "RGBA" if image.mode == "RGBA" else "RGB"
        converted = ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"), outputMode=mode)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image, ("its colour profile left out, as it cannot be applied",)
    assert converted is not None
    return converted, (f"its colours converted from {name} to sRGB",)
