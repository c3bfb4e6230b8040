"""A picture on its way through an editor: put to a size the network works at, and back, with a mask kept exactly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from wordbrush.errors import BadPicture, InvalidInput, nearest
from wordbrush.fitting import resized
from wordbrush.pictures import PictureLike, read_picture
from wordbrush.sizes import Size, check_multiples, edited_size, read_size

SIZES = ("whole", "native", "published")


@dataclass(frozen=True)
class Fitting:
    """The sizes, in pixels, of pictures that a network can work at.

    Args:
        factor: both sides must be multiples of it: the pixels of a latent pixel.
        grain: both sides should be: the pixels of a pixel at the network's coarsest level, published 64.
        side: the longer side of the pictures that it knows, published 512.
    """

    factor: int
    grain: int
    side: int


@dataclass(frozen=True, eq=False)
class Canvas:
    """One picture to be edited.

    Args:
        before: the picture at the size of the result, mode RGB.
        worked: the same at the size that the network works at.
        mask: mode L, of the result's size: 255 where it may change; None for everywhere.
        notes: what was done to picture and mask when they were read.
    """

    before: Image.Image
    worked: Image.Image
    mask: Image.Image | None
    notes: tuple[str, ...]

    def finish(self, edited: Image.Image, mask: Image.Image | None = None) -> Image.Image:
        """Return what the network made at the size of the result, with the pixels of ``before`` where masked.

        Args:
            edited: of the size of ``worked``.
            mask: mode L, of the same size, in place of the canvas's own.
        """
        size = (self.before.height, self.before.width)
        after = resized(edited, size)
        found = self.mask if mask is None else resized(mask, size)
        return after if found is None else Image.composite(after, self.before, found)


def place(
    picture: PictureLike,
    mask: PictureLike | None,
    size: str | Size,
    fitting: Fitting,
) -> Canvas:
    """Read a picture and its mask and put them to the size asked for: a name of ``SIZES``, or pixels.

    Raises:
        BadPicture: either cannot be read, they differ in size, the mask lets nothing change, or the network cannot work
            at the picture's size.
        InvalidInput: the network can work at no such size.
    """
    opened = read_picture(picture)
    image, notes = opened.image, opened.notes
    region = None
    if mask is not None:
        masking = read_picture(mask, mask=True)
        region, notes = masking.image, (*notes, *(f"mask: {note}" for note in masking.notes))
        if region.size != image.size:
            raise BadPicture(
                f"the mask is {_shown(region)} pixels and {_name(picture)} {_shown(image)}: they must be of one size"
            )
        if region.getextrema() == (0, 0):
            raise BadPicture(
                "the mask is black everywhere, so nothing may change: make it white where it may"
            )
    try:
        target = _target(image, size, fitting)
    except BadPicture as error:
        raise BadPicture(f"{_name(picture)}: {error}") from error
    crop = size == "published"
    worked = resized(image, target, crop=crop)
    if size == "whole":
        return Canvas(image, worked, region, notes)
    return Canvas(worked, worked, region and resized(region, target, crop=crop), notes)


def _target(image: Image.Image, size: str | Size, fitting: Fitting) -> tuple[int, int]:
    """Return the (height, width) at which the network works."""
    if isinstance(size, str) and size not in SIZES:
        raise InvalidInput(
            f"size is one of {', '.join(SIZES)}, or pixels, not {size!r}{nearest(size, SIZES)}"
        )
    if size in ("whole", "published"):
        crop = size == "published"
        return edited_size(image.height, image.width, side=fitting.side, grain=fitting.grain, crop=crop)
    if isinstance(size, str):
        check_multiples(image.height, image.width, fitting.factor, error=BadPicture)
        return image.height, image.width
    height, width = read_size(size)
    check_multiples(height, width, fitting.factor)
    return height, width


def _name(picture: PictureLike) -> str:
    return str(picture) if isinstance(picture, str | Path) else "the picture"


def _shown(image: Image.Image) -> str:
    return f"{image.height} × {image.width}"
