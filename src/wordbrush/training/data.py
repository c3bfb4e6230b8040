"""Where the pairs come from: a folder of ``wordbrush data``, or a data set of others."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any

from wordbrush.dataset import formats
from wordbrush.dataset.formats import EditPair
from wordbrush.dataset.hub import HUB, load_rows
from wordbrush.errors import DataError, InvalidInput, nearest
from wordbrush.training.config import Data

RUN = "run"
TAIL = 2**16
"""Bytes at the end of a table that stand for its content: parquet keeps sizes, places and extremes there."""


def pairs(data: Data) -> Iterator[EditPair]:
    """Yield the pairs in their order, source by source, one at a time.

    Raises:
        InvalidInput: an unknown format.
        DataError: nothing is there, columns are missing (the message names those found), or a picture does not decode.
    """
    known = [RUN, *formats.FORMATS]
    if data.format not in known:
        raise InvalidInput(
            f"there is no format {data.format!r}{nearest(data.format, known)}; data.format is one of {', '.join(known)}"
        )
    if data.selection is not None and data.format != RUN:
        raise InvalidInput(
            f"data.selection = {data.selection!r} is of folders of `wordbrush data`, so of data.format = {RUN!r}, not "
            f"{data.format!r}"
        )
    found = chain.from_iterable(_of_source(source, data) for source in data.source)
    return (pair for pair in found if _is_chosen(prompt_of(pair), data.share))


def _of_source(source: str, data: Data) -> Iterator[EditPair]:
    return _selected(Path(source), data.selection) if data.format == RUN else _read(source, data)


def _selected(folder: Path, name: str | None) -> Iterator[EditPair]:
    from wordbrush.dataset.export import read_selected
    from wordbrush.dataset.run import read_selection

    return read_selected(folder, read_selection(folder, name))


def _read(source: str, data: Data) -> Iterator[EditPair]:
    if source.startswith(HUB):
        return formats.read(data.format, _from_hub(source, data))
    if not Path(source).exists():
        raise DataError(f"there are no pairs at {source}: give a folder, a file, or 'hf:owner/name'")
    return formats.read(data.format, Path(source), split=data.split)


def _from_hub(source: str, data: Data) -> Any:
    return load_rows(source, data.split or "train")


def prompt_of(pair: EditPair) -> str:
    """Return what pairs of one prompt have in common; a pair of a format without prompts is its own."""
    return str(pair.settings.get("triplet_key") or pair.settings.get("folder") or pair.key)


def _is_chosen(prompt: str, share: float) -> bool:
    if share >= 1:
        return True
    return int.from_bytes(blake2b(prompt.encode(), digest_size=8).digest()) < share * 2**64


def digest(data: Data) -> str:
    """Return a digest of the files behind the pairs: names, sizes, and the ends of tables; no picture is read."""
    mix = blake2b(digest_size=16)
    for source in data.source:
        _digest(source, data, mix)
    return mix.hexdigest()


def _digest(source: str, data: Data, mix: blake2b) -> None:
    if source.startswith(HUB):
        mix.update(f"{source} {data.split} {_from_hub(source, data)._fingerprint}".encode())
        return
    folder = Path(source)
    for path in _files(folder, data):
        mix.update(
            f"{path.relative_to(folder) if path != folder else path.name} {path.stat().st_size}\n".encode()
        )
        if path.suffix in (".parquet", ".jsonl", ".json"):
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - TAIL))
                mix.update(file.read())


def _files(source: Path, data: Data) -> list[Path]:
    if source.is_file():
        return [source]
    if data.format == RUN:
        from wordbrush.dataset.query import shards
        from wordbrush.dataset.run import selection_path

        chosen = selection_path(source, data.selection)
        return [*shards(source, "pairs"), *sorted(source.glob(f"{chosen.name}.*"))]
    return sorted(path for path in source.rglob("*") if path.is_file() and not path.name.startswith("."))
