"""Pairs and pictures that tests select, report, read and write."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wordbrush.dataset.formats import EditPair, Picture
from wordbrush.dataset.keys import caption_key, pair_key, triplet_key
from wordbrush.dataset.records import PAIRS, Pair
from wordbrush.dataset.shards import encode


def picture(number: int, size: tuple[int, int] = (24, 16), mode: str = "RGB") -> Image.Image:
    """A picture of noise and a gradient that no other number has; ``size`` is (width, height)."""
    width, height = size
    channels = len(Image.new(mode, (1, 1)).getbands())
    rng = np.random.default_rng(number)
    ramp = np.linspace(0, 90, width)[None, :, None] + np.linspace(0, 90, height)[:, None, None]
    pixels = (ramp + rng.integers(0, 70, (height, width, channels))).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels, mode)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The picture as a file."""
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def pair(number: int, candidate: int = 0, **changes: Any) -> Pair:
    """A pair that the published filter takes, but for ``changes``."""
    before = f"a cat number {number} on a beach"
    triplet = triplet_key(caption_key(before), 0)
    values: dict[str, Any] = {
        "key": pair_key(triplet, candidate),
        "triplet_key": triplet,
        "before": before,
        "instruction": f"make it dog number {number}",
        "after": f"a dog number {number} on a beach",
        "candidate": candidate,
        "seed": 1000 * number + candidate,
        "share": 0.5,
        "guidance": 7.5,
        "control": "full",
        "steps": 20,
        "forward_samples": 80,
        "before_image": encoded(picture(100 * number)),
        "after_image": encoded(picture(100 * number + candidate + 1)),
        "clip_image": 0.9,
        "clip_before": 0.3,
        "clip_after": 0.3,
        "clip_direction": 0.25,
        "l1": 0.1,
        "ssim": 0.7,
    }
    return Pair(**values | changes)


def write_pairs(folder: Path, pairs: Iterable[Pair], per_shard: int = 3) -> Path:
    """Write pairs as the shards of a run at ``folder``, and return ``folder``."""
    rows = [one.to_row() for one in pairs]
    (folder / "pairs").mkdir(parents=True, exist_ok=True)
    for unit, start in enumerate(range(0, len(rows), per_shard)):
        content = encode(rows[start : start + per_shard], PAIRS, {"unit": unit})
        (folder / "pairs" / f"{unit:05d}.parquet").write_bytes(content)
    return folder


def edit(number: int, **changes: Any) -> EditPair:
    """An edit with captions, scores and settings, and pictures that are PNG files, but for ``changes``."""
    values: dict[str, Any] = {
        "key": f"pair-{number}",
        "before": f"a cat, number {number}",
        "instruction": f"make the cat “{number}” a dog",
        "after": f"a dog, number {number}",
        "before_picture": shown(picture(2 * number)),
        "after_picture": shown(picture(2 * number + 1)),
        "scores": {
            "clip_image": 0.8 + number / 100,
            "clip_direction": 0.25,
            "clip_before": 0.3,
            "clip_after": 0.3,
        },
        "settings": {"seed": 70 + number, "share": 0.4, "guidance": 7.5},
    }
    return EditPair(**values | changes)


def shown(image: Image.Image, kind: str = "PNG", *, mask: bool = False, **options: Any) -> Picture:
    """A picture as it is after reading a file."""
    return Picture.decode(encoded(image, kind, **options), "test", mask=mask)


def region(number: int, size: tuple[int, int] = (24, 16)) -> Picture:
    """A mask with a white rectangle."""
    mask = Image.new("L", size)
    mask.paste(255, (2, 3, 8 + number % 8, 12))
    return shown(mask, mask=True)
