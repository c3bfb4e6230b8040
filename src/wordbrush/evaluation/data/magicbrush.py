"""MagicBrush (Zhang et al. 2023, arXiv:2306.10012): edits in turns, as ``dev`` and ``test`` folders or as parquet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from wordbrush.dataset import formats
from wordbrush.dataset.formats.lines import read_json, text
from wordbrush.dataset.formats.picture import Picture
from wordbrush.errors import DataError
from wordbrush.evaluation.data.pairs import example_of
from wordbrush.evaluation.example import Example

TURNS = "edit_turns.json"
CAPTIONS = "global_descriptions.json"
PICTURES = "images"


def read(folder: Path, split: str | None = None) -> Iterator[Example]:
    """Yield every turn, each from the picture that the turn before should have made.

    A folder with ``edit_turns.json`` and ``images/ID/ID-input.png`` has captions if ``global_descriptions.json`` is
    there. Parquet files have none.

    Raises:
        DataError: an index or a picture is missing or damaged.
    """
    if not (folder / TURNS).is_file():
        return (example_of(pair) for pair in formats.read("magicbrush", folder, split=split))
    return _turns(folder)


def _turns(folder: Path) -> Iterator[Example]:
    turns = read_json(folder / TURNS)
    captions = read_json(folder / CAPTIONS) if (folder / CAPTIONS).is_file() else {}
    if not isinstance(turns, list) or not isinstance(captions, Mapping):
        raise DataError(
            f"{folder / TURNS} is no list of turns, or {CAPTIONS} no object of captions by picture"
        )
    for number, turn in enumerate(turns):
        where = f"{folder / TURNS}, turn {number}"
        before, after, instruction = (text(turn, name, where) for name in ("input", "output", "instruction"))
        session = before.partition("-")[0]
        place = folder / PICTURES / session
        image, truth = Picture.read(place / before).image, Picture.read(place / after).image
        known = captions.get(session, {})
        yield Example(
            key=after.rpartition(".")[0],
            image=image,
            instruction=instruction,
            before=known.get(before),
            after=known.get(after),
            mask=_mask(place / turn["mask"], image.size) if isinstance(turn.get("mask"), str) else None,
            truth=truth if truth.size == image.size else None,
        )


def _mask(path: Path, size: tuple[int, int]) -> np.ndarray | None:
    """Return (h, w) bool, True where the mask is transparent, or where it is purely white if nothing is.

    Masks are the picture itself with the region cut out or painted over. One of another size than the picture is None.
    """
    flat = np.asarray(
        Picture.read(path).image
    )  # transparency has become white; damaged files are refused here
    with Image.open(path) as image:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
    mask = alpha < 128 if (alpha < 128).any() else (flat == 255).all(axis=-1)
    return mask if mask.shape == size[::-1] else None
