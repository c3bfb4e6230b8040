"""Random looks at a picture: crops, flips, turns, perspective and changed colours, all with gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
CORNERS = ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0))
SHARPNESS = (
    1.5  # pixels of a picture for one of a view, above which it is made smaller before it is looked at
)

# Of the internal data set: how the picture is scaled, and the smallest share of its sides that an example shows.
SCALES = (0.8, 1.2)
COVER = 0.85


@dataclass(frozen=True)
class Looks:
    """How views for a contrastive model differ from the picture; the numbers are those of Text2LIVE.

    Args:
        count: views of a picture; the first shows all of it.
        cover: the smallest share of the sides that a view shows.
        turn: the largest turn in degrees, and shift as a share of the sides, made in ``turned`` of the views.
        bend: how far the corners may move towards the middle, made in ``bent`` of the views.
        jitter: the largest change of brightness, contrast and saturation, made in ``jittered`` of the views.
        hue: the largest change of hue as a share of the circle, made in the same views.
        grey: the share of views without colour.
    """

    count: int = 16
    cover: float = 0.6
    turn: tuple[float, float] = (15.0, 0.1)
    turned: float = 0.8
    bend: float = 0.4
    bent: float = 0.5
    jitter: float = 0.1
    hue: float = 0.1
    jittered: float = 0.7
    grey: float = 0.15


@dataclass(frozen=True, eq=False)
class Views:
    """What was drawn for n views.

    Args:
        places: (n, 3, 3), from a place in the view to one in the picture, both in [-1, 1], (x, y, 1).
        colours: (n, 3, 4), affine maps of RGB in [0, 1].
    """

    places: Tensor
    colours: Tensor

    def __call__(self, pixels: Tensor, size: int) -> Tensor:
        """Look at a picture (1, 3, h, w) in [0, 1]: (n, 3, size, size); what lies beyond it is white."""
        most = round(SHARPNESS * size)
        if max(pixels.shape[-2:]) > most:
            sides = [min(side, most) for side in pixels.shape[-2:]]
            pixels = F.interpolate(pixels, size=sides, mode="bilinear", antialias=True)
        count = len(self.places)
        grid = _grid(size).to(pixels) @ self.places.to(pixels).mT[:, None]
        seen = F.grid_sample(
            pixels.expand(count, -1, -1, -1) - 1,
            grid[..., :2] / grid[..., 2:],
            mode="bilinear",
            padding_mode="zeros",
            align_corners=False,
        )
        return recoloured(seen + 1, self.colours)


def draw_views(looks: Looks, generator: torch.Generator) -> Views:
    """Draw views; as many, and the same ones, for the same state of the generator."""
    places, colours = [], []
    for number in range(looks.count):
        place = _crop(1.0 if number == 0 else _between(generator, looks.cover, 1.0), generator)
        if _chance(generator, 0.5):
            place = place @ torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
        if _chance(generator, looks.turned):
            place = place @ _turn(looks.turn, generator)
        if _chance(generator, looks.bent):
            place = place @ _bend(looks.bend, generator)
        places.append(place)
        colour = (
            colour_change(looks.jitter, looks.hue, generator) if _chance(generator, looks.jittered) else SAME
        )
        colours.append(_saturate(0.0) @ colour if _chance(generator, looks.grey) else colour)
    return Views(torch.stack(places), torch.stack(colours)[:, :3])


SAME = torch.eye(4)


def colour_change(jitter: float, hue: float, generator: torch.Generator) -> Tensor:
    """Draw an affine map of RGB, (4, 4): brightness, contrast, saturation and hue, each around no change."""
    brightness, contrast, saturation = (_between(generator, 1 - jitter, 1 + jitter) for _ in range(3))
    lighter = torch.diag(torch.tensor([brightness] * 3 + [1.0]))
    stronger = torch.diag(torch.tensor([contrast] * 3 + [1.0]))
    stronger[:3, 3] = (1 - contrast) / 2
    return _turn_hue(_between(generator, -hue, hue)) @ _saturate(saturation) @ stronger @ lighter


def recoloured(pixels: Tensor, colours: Tensor) -> Tensor:
    """Change the colours of pictures (n, 3, h, w) by affine maps (n, 3, 4); values stay in [0, 1]."""
    colours = colours.to(pixels)
    changed = torch.einsum("nab,nbhw->nahw", colours[:, :, :3], pixels) + colours[:, :, 3, None, None]
    return changed.clamp(0, 1)


def example(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one example of Text2LIVE's internal data set from a picture (1, 3, h, w): (1, 3, h', w').

    Published: colours changed in a tenth, a flip in half, scaled by 0.8 to 1.2, a crop of at least 0.85 of the sides.
    """
    if _chance(generator, 0.1):
        pixels = recoloured(pixels, colour_change(0.1, 0.1, generator)[None, :3])
    if _chance(generator, 0.5):
        pixels = pixels.flip(-1)
    scale, cover = _between(generator, *SCALES), _between(generator, COVER, 1.0)
    sides = [max(1, int(side * scale)) for side in pixels.shape[-2:]]
    pixels = F.interpolate(pixels, size=sides, mode="bilinear", antialias=True)
    height, width = (max(1, int(side * cover)) for side in sides)
    top, left = (
        _whole(generator, side - part + 1) for side, part in zip(sides, (height, width), strict=True)
    )
    return pixels[..., top : top + height, left : left + width]


def smallest_example(side: int) -> int:
    """Return the shortest side in pixels that an example of a picture with such a side can have."""
    return int(int(side * SCALES[0]) * COVER)


def _grid(size: int) -> Tensor:
    """Return the middles of the pixels of a view as (size, size, 3), (x, y, 1)."""
    middles = (torch.arange(size) + 0.5) * 2 / size - 1
    y, x = torch.meshgrid(middles, middles, indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)], dim=-1)


def _crop(share: float, generator: torch.Generator) -> Tensor:
    left, top = (_between(generator, -(1 - share), 1 - share) for _ in range(2))
    return torch.tensor([[share, 0, left], [0, share, top], [0, 0, 1.0]])


def _turn(most: tuple[float, float], generator: torch.Generator) -> Tensor:
    degrees, shift = most
    angle = math.radians(_between(generator, -degrees, degrees))
    across, down = (2 * _between(generator, -shift, shift) for _ in range(2))
    cosine, sine = math.cos(angle), math.sin(angle)
    return torch.tensor([[cosine, -sine, across], [sine, cosine, down], [0, 0, 1.0]])


def _bend(most: float, generator: torch.Generator) -> Tensor:
    moved = [
        (x * (1 - _between(generator, 0, most)), y * (1 - _between(generator, 0, most))) for x, y in CORNERS
    ]
    return homography(moved, CORNERS)


def homography(places: Sequence[tuple[float, float]], to: Sequence[tuple[float, float]]) -> Tensor:
    """Return the (3, 3) projective map that takes four places (x, y) to four others."""
    rows, values = [], []
    for (x, y), (u, v) in zip(places, to, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    solved = torch.linalg.solve(
        torch.tensor(rows, dtype=torch.float64), torch.tensor(values, dtype=torch.float64)
    )
    return torch.cat([solved, torch.ones(1, dtype=torch.float64)]).view(3, 3).float()


def _saturate(amount: float) -> Tensor:
    grey = torch.tensor(LUMA).expand(3, 3)
    change = torch.eye(4)
    change[:3, :3] = amount * torch.eye(3) + (1 - amount) * grey
    return change


def _turn_hue(share: float) -> Tensor:
    """Return the turn of RGB about its grey axis by a share of the circle (Rodrigues' formula)."""
    angle = 2 * math.pi * share
    about = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    change = torch.eye(4)
    change[:3, :3] += math.sin(angle) * about + (1 - math.cos(angle)) * (about @ about)
    return change


def _between(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _chance(generator: torch.Generator, share: float) -> bool:
    return float(torch.rand((), generator=generator)) < share


def _whole(generator: torch.Generator, below: int) -> int:
    return int(torch.randint(below, (), generator=generator))
