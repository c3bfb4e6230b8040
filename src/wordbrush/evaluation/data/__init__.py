"""Data sets as examples: the storybook, published benchmarks on disk, and what ``wordbrush data`` reads or makes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wordbrush.dataset import formats
from wordbrush.dataset.manifest import NAME as MANIFEST
from wordbrush.errors import DataError, InvalidInput, nearest
from wordbrush.evaluation.data import emu_edit, magicbrush, pairs, pie_bench, storybook
from wordbrush.evaluation.data.base import Data

__all__ = ["NAMES", "Data", "open_data"]

FOLDERS = {"pie-bench": pie_bench.read, "emu-edit": emu_edit.read, "magicbrush": magicbrush.read}
"""Benchmarks by name: (folder, split) → examples."""

NAMES = (*FOLDERS, pairs.RUN, *(name for name in formats.FORMATS if name not in FOLDERS))
"""What a folder's format can be called."""


def open_data(name: str, *, format: str | None = None, split: str | None = None) -> Data:
    """Return the data set that a user names; pictures are read as they are needed.

    Args:
        name: ``"storybook"`` or ``"storybook:COUNT"``; or a folder or file.
        format: of a folder, a name of ``NAMES``; None to tell it by the files: the benchmarks' own, those of a run of
            ``wordbrush data``, or the ``metadata.jsonl`` of an imagefolder.
        split: of parquet files, if there are several.

    Raises:
        InvalidInput: an unknown format, or a count that is none.
        DataError: there is nothing of that name, or its format cannot be told. Reading raises it too, for whatever is
            missing or damaged.
    """
    if name.partition(":")[0] == storybook.NAME:
        return storybook.open_storybook(name)
    if format is not None and format not in NAMES:
        raise InvalidInput(
            f"there is no format {format!r}{nearest(format, NAMES)}; it is one of {', '.join(NAMES)}"
        )
    folder = Path(name)
    if not folder.exists():
        raise DataError(f"there is no data set at {name!r}: give a folder, or 'storybook'")
    chosen = format or _told(folder)
    return Data(
        f"{chosen} {folder.resolve()}" + (f" {split}" if split else ""), lambda: _read(chosen, folder, split)
    )


def _read(format: str, folder: Path, split: str | None) -> Iterator:
    if format in FOLDERS:
        return FOLDERS[format](folder, split)
    return pairs.read(format, folder, split)


def _told(folder: Path) -> str:
    """Return the format that the files of a folder show."""
    marks = {
        pie_bench.INDEX: "pie-bench",
        magicbrush.TURNS: "magicbrush",
        "metadata.jsonl": "imagefolder",
        "seeds.json": "original",
        f"pairs/{MANIFEST}": pairs.RUN,
    }
    for file, format in marks.items():
        if (folder / file).is_file():
            return format
    if emu_edit.shows(folder):
        return "emu-edit"
    raise DataError(f"the format of {folder} cannot be told by its files: name it, one of {', '.join(NAMES)}")
