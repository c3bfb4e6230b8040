"""PIE-Bench (Ju et al. 2023, arXiv:2310.01506): 700 pictures with two prompts, an instruction and a mask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wordbrush.dataset.formats.lines import read_json, text
from wordbrush.dataset.formats.picture import Picture
from wordbrush.errors import DataError
from wordbrush.evaluation.example import Example

INDEX = "mapping_file.json"
PICTURES = "annotation_images"
TYPES = {
    "0": "random",
    "1": "change object",
    "2": "add object",
    "3": "delete object",
    "4": "change content",
    "5": "change pose",
    "6": "change colour",
    "7": "change material",
    "8": "change background",
    "9": "change style",
}
"""``editing_type_id`` in words."""


def read(folder: Path, split: str | None = None) -> Iterator[Example]:
    """Yield the examples in the order of the index; there are no splits.

    The brackets around edited words are taken out of the prompts, as the published evaluation does.

    Raises:
        DataError: the index or a picture is missing or damaged.
    """
    index = read_json(folder / INDEX)
    if not isinstance(index, Mapping):
        raise DataError(
            f"{folder / INDEX} is no PIE-Bench index: expected an object with one entry for each picture"
        )
    for key, entry in index.items():
        where = f"{folder / INDEX}, entry {key!r}"
        picture = Picture.read(folder / PICTURES / text(entry, "image_path", where))
        width, height = picture.image.size
        yield Example(
            key=str(key),
            image=picture.image,
            instruction=text(entry, "editing_instruction", where),
            before=_plain(text(entry, "original_prompt", where)),
            after=_plain(text(entry, "editing_prompt", where)),
            mask=decode_mask(entry.get("mask"), (height, width), where),
            kind=TYPES.get(str(entry.get("editing_type_id")), ""),
        )


def decode_mask(runs: Any, size: tuple[int, int], where: str) -> np.ndarray:
    """Return (h, w) bool from start, length, start, length, … in rows; its outermost pixels are always True.

    The published code sets these against errors of annotation, and cuts off a run that is too long.

    Raises:
        DataError: not pairs of whole numbers, or a run that starts outside.
    """
    height, width = size
    given: list[Any] = runs if isinstance(runs, list) else [None]
    whole = all(isinstance(number, int) for number in given) and len(given) % 2 == 0
    if not whole or any(not 0 <= start < height * width for start in given[::2]):
        raise DataError(
            f"{where}: the mask is no list of starts and lengths in a picture of {height} × {width}"
        )
    mask = np.zeros(height * width, dtype=bool)
    for start, length in zip(given[::2], given[1::2], strict=True):
        mask[start : start + length] = True
    mask = mask.reshape(height, width)
    mask[[0, -1]] = True
    mask[:, [0, -1]] = True
    return mask


def _plain(prompt: str) -> str:
    return prompt.replace("[", "").replace("]", "")
