"""Bringing a picture to the size a model works at: only as far as the caller has said, and masks along with it."""

from __future__ import annotations

from PIL import Image, ImageOps

from wordbrush.errors import BadPicture


def fitted(image: Image.Image, size: tuple[int, int], *, grain: int, resize: bool, crop: bool) -> Image.Image:
    """Return a picture of (height, width) pixels: as it is, resized (Lanczos), or cut to the shape first.

    Args:
        grain: the pixels that sizes are multiples of; a resized picture may be stretched by less than that.
        resize: whether the size is one that was asked for; else the picture must have it.
        crop: whether to cut what is too long off both ends, and to resize the rest.

    Raises:
        BadPicture: the picture would be resized or stretched without having been asked for.
    """
    height, width = size
    if image.size == (width, height) or crop:
        return resized(image, size, crop=crop)
    near = (max(1, round(image.height * width / image.width / grain)) * grain, width)
    if not resize:
        had = f"{image.height} × {image.width}"
        told = f"the picture has {had} pixels and the model was trained for {height} × {width}:"
        raise BadPicture(
            f"{told} give size={near} to resize it, or crop=True to cut it to the model's shape",
            command=f"{told} give --size {near[0]}x{near[1]} to resize it, or --crop to cut it to the model's shape",
        )
    if abs(height - image.height * width / image.width) >= grain:
        told = f"a picture of {image.height} × {image.width} pixels would be stretched to {height} × {width}: give"
        raise BadPicture(
            f"{told} size={near}, which has its shape, or crop=True to cut it",
            command=f"{told} --size {near[0]}x{near[1]}, which has its shape, or --crop to cut it",
        )
    return resized(image, size)


def resized(image: Image.Image, size: tuple[int, int], *, crop: bool = False) -> Image.Image:
    """Return a picture of (height, width) pixels: as it is, stretched (Lanczos), or cut around its middle first."""
    height, width = size
    if image.size == (width, height):
        return image
    if crop:
        return ImageOps.fit(image, (width, height), _filter(image))
    return image.resize((width, height), _filter(image))


def _filter(image: Image.Image) -> Image.Resampling:
    """Masks stay black and white."""
    return Image.Resampling.NEAREST if image.mode == "1" else Image.Resampling.LANCZOS
