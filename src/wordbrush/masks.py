"""Masks that users draw: white where the picture may change, black where it must not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from wordbrush.errors import BadPicture
from wordbrush.fitting import resized
from wordbrush.pictures import PictureLike, read_picture

if TYPE_CHECKING:
    from wordbrush.inversion.picture import Fitted
    from wordbrush.inversion.start import Start

MaskLike = PictureLike


@dataclass(frozen=True, eq=False)
class Mask:
    """Where a picture may change.

    Args:
        image: mode "1", of the picture's size.
        factor: pixels per latent pixel.
    """

    image: Image.Image
    factor: int

    @classmethod
    def read(
        cls, mask: MaskLike, size: tuple[int, int], factor: int, start: Start | Fitted | None = None
    ) -> Mask:
        """Read a mask for a picture of (height, width) pixels; white is what is lighter than middle grey.

        Args:
            start: the inverted picture, or the one to be inverted; a mask drawn on it as it was given is cut and
                resized as it was.

        Raises:
            BadPicture: the mask cannot be read, has another size than the picture, or has no white.
        """
        image = read_picture(mask, mask=True).image
        image = image.point([0] * 128 + [255] * 128).convert("1")
        height, width = size
        given = start.given_size if start else None
        if image.size != (width, height) and (image.height, image.width) != given:
            raise BadPicture(
                f"the mask has {image.height} × {image.width} pixels and the picture {height} × {width}: draw it on "
                "the picture"
            )
        image = resized(image, size, crop=start is not None and start.cropped)
        if image.getbbox() is None:
            raise BadPicture("nothing in the mask is white: paint white what may change")
        return cls(image, factor)

    def hold(self, latents: Tensor) -> Tensor:
        """Return (samples, C, h, w) latents, source first, with the source's where no pixel may change."""
        free = torch.from_numpy(np.array(self.image)).to(latents)
        free = F.max_pool2d(free[None, None], self.factor) > 0
        return torch.cat([latents[:1], torch.where(free, latents[1:], latents[:1])])

    def paste(self, edited: Image.Image, original: Image.Image) -> Image.Image:
        """Return the edited picture with the original's own pixels where the mask is black."""
        return Image.composite(edited, original, self.image)
