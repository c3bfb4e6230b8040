"""Pairs as examples: a run of ``wordbrush data``, or a data set in any of its formats."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from wordbrush.dataset import formats
from wordbrush.dataset.export import read_selected
from wordbrush.dataset.formats import EditPair
from wordbrush.dataset.run import read_selection
from wordbrush.evaluation.example import Example

RUN = "run"


def read(format: str, source: Path, split: str | None) -> Iterator[Example]:
    """Yield the pairs of a data set, or for the format ``run`` those selected last, as examples.

    Raises:
        DataError: files that are missing or damaged, or nothing was selected yet.
    """
    found = (
        read_selected(source, read_selection(source))
        if format == RUN
        else formats.read(format, source, split=split)
    )
    return (example_of(pair) for pair in found)


def example_of(pair: EditPair) -> Example:
    """Return a pair as an example; the picture after the edit is its truth if it has the size of the one before."""
    mask, after = pair.mask, pair.after_image
    return Example(
        key=pair.key,
        image=pair.before_image,
        instruction=pair.instruction,
        before=pair.before,
        after=pair.after,
        mask=None if mask is None else fitted(np.asarray(mask) > 127, pair.before_image.size),
        truth=after if after.size == pair.before_image.size else None,
    )


def fitted(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a mask, bool (h, w), at the (width, height) of its picture, by the nearest pixels if it has another."""
    if mask.shape == size[::-1]:
        return mask
    levels = Image.fromarray(mask.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    return np.asarray(levels).astype(bool)
