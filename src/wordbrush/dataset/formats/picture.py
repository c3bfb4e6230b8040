"""Pictures as they come in: decoded once, always 8-bit RGB, and with their file as long as it shows the same pixels.

What becomes of files that are something else:

- an EXIF orientation is applied, so that pixels stand as a viewer shows them;
- transparency is laid on white; in a mask, white is the region that may change;
- greyscale, palette and CMYK pictures become RGB, of 16 bits the upper 8 are taken; masks become greyscale;
- colour profiles are not applied;
- animations, 32-bit pictures and everything that does not decode to the last row are refused.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from wordbrush.errors import BadPicture, DataError
from wordbrush.pictures import ORIENTATION, UNREADABLE, normal, opened, reason

ENDINGS = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}
"""Kinds of files that are passed on as they are; others become PNG."""


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels, and the file they came from.

    Args:
        image: mode RGB, 8 bits; mode L for a mask. Not to be changed in place.
        encoded: a PNG, JPEG or WebP file that decodes to exactly these pixels; None if there is none.
    """

    image: Image.Image
    encoded: bytes | None = None

    @classmethod
    def of(cls, image: Image.Image, *, mask: bool = False) -> Picture:
        """Return a picture of ``image``, converted as the module says.

        Raises:
            DataError: a mode with 32 bits per channel, or several frames.
        """
        return cls(_normal(image, mask=mask))

    @classmethod
    def decode(cls, data: bytes, where: str, *, mask: bool = False) -> Picture:
        """Return the picture in a file.

        Args:
            where: how an error names it: the file, and the row and column if it has any.

        Raises:
            DataError: it does not decode, or is of a kind that is refused.
        """
        try:
            with opened(data) as image:
                image.load()
                kind, normal = image.format or "", _normal(image, mask=mask)
                same = kind in ENDINGS and not _turned(image) and _shows(image, normal)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
        except UNREADABLE as error:
            raise DataError(f"{where}: {reason(error)}") from error
        return cls(normal, data if same else None)

    @classmethod
    def read(cls, path: Path, *, mask: bool = False) -> Picture:
        """Return the picture in the file at ``path``.

        Raises:
            DataError: it is not there, or does not decode.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
        return cls.decode(data, str(path), mask=mask)

    def file(self) -> tuple[bytes, str]:
        """Return the picture as a file and its ending: the one it came from, else a PNG."""
        if self.encoded is not None:
            with Image.open(io.BytesIO(self.encoded)) as image:
                return self.encoded, ENDINGS[image.format or ""]
        buffer = io.BytesIO()
        self.image.save(buffer, format="PNG")
        return buffer.getvalue(), "png"

    def jpeg(self) -> bytes:
        """Return the picture as JPEG: the file it came from if it was one, else of quality 100."""
        data, ending = self.file() if self.encoded is not None else (b"", "")
        if ending == "jpg":
            return data
        buffer = io.BytesIO()
        self.image.convert("RGB").save(buffer, format="JPEG", quality=100)
        return buffer.getvalue()


def _turned(image: Image.Image) -> bool:
    return image.getexif().get(ORIENTATION, 1) not in (0, 1)


def _shows(image: Image.Image, normal: Image.Image) -> bool:
    """Say whether a reader that only converts to the mode of ``normal`` gets these pixels."""
    if image.mode == normal.mode:
        return True
    if normal.mode != "L" or image.mode != "RGB":
        return False
    pixels = np.asarray(image)
    return bool((pixels == pixels[..., :1]).all())


def _normal(image: Image.Image, *, mask: bool) -> Image.Image:
    try:
        return normal(image, mask=mask).image
    except BadPicture as error:
        raise DataError(str(error)) from error
