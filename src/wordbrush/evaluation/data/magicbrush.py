"""MagicBrush (Zhang et al. 2023, arXiv:2306.10012): edits in turns, as ``dev`` and ``test`` folders or as parquet."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wordbrush.dataset.formats.lines import read_json, text
from wordbrush.dataset.formats.magicbrush import FORMAT, from_row
from wordbrush.dataset.formats.parquet import read_rows
from wordbrush.dataset.formats.picture import Picture
from wordbrush.errors import DataError
from wordbrush.evaluation.data.pairs import example_of, fitted
from wordbrush.evaluation.example import Example

TURNS = "edit_turns.json"
CAPTIONS = "global_descriptions.json"
PICTURES = "images"
MASK = "mask_img"


def read(folder: Path, split: str | None = None) -> Iterator[Example]:
    """Yield every turn, each from the picture that the turn before should have made.

    A folder with ``edit_turns.json`` and ``images/ID/ID-input.png`` has captions if ``global_descriptions.json`` is
    there. Parquet files have none.

    Raises:
        DataError: an index or a picture is missing or damaged.
    """
    if not (folder / TURNS).is_file():
        return _rows(folder, split)
    return _turns(folder)


def _rows(folder: Path, split: str | None) -> Iterator[Example]:
    for row in read_rows(folder, split, FORMAT.columns):
        example = example_of(from_row(row))
        stored = row.values.get(MASK)
        if stored:
            data = stored.get("bytes") or _content((row.folder or Path()) / stored["path"])
            example = replace(example, mask=_mask(data, f"{row.where}, {MASK}", example.image.size))
        yield example


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
        known = _captions(captions, session, {before, after}, str(folder / CAPTIONS))
        masking = place / turn["mask"] if isinstance(turn.get("mask"), str) else None
        yield Example(
            key=after.rpartition(".")[0],
            image=image,
            instruction=instruction,
            before=known.get(before),
            after=known.get(after),
            mask=_mask(_content(masking), str(masking), image.size) if masking else None,
            truth=truth if truth.size == image.size else None,
        )


def _captions(captions: Mapping[str, Any], session: str, names: set[str], where: str) -> dict[str, str]:
    """Return the captions of some pictures of a session, those that there are."""
    known = captions.get(session, {})
    if not isinstance(known, Mapping):
        raise DataError(f"{where}: {session!r} is no object of captions by picture")
    return {name: text(known, name, f"{where}, {session!r}") for name in names & known.keys()}


def _mask(data: bytes, where: str, size: tuple[int, int]) -> np.ndarray:
    """Return (h, w) bool, True where the mask is transparent, or where it is purely white if nothing is.

    Masks are the picture itself with the region cut out or painted over. Some released ones have another size than the
    picture; they are brought to it, as the authors say.
    """
    # Damaged files are refused here, and transparency becomes white.
    flat = np.asarray(Picture.decode(data, where).image)
    mask = (flat == 255).all(axis=-1)
    with Image.open(io.BytesIO(data)) as image:
        if image.has_transparency_data:
            cut = np.asarray(image.convert("RGBA"))[..., 3] < 128
            mask = cut if cut.any() else mask
    return fitted(mask, size)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
