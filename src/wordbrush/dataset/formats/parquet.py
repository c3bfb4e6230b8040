"""Parquet files with pictures, row by row; written as Hugging Face has them: ``data/SPLIT-00000-of-00003.parquet``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from wordbrush.dataset.formats.base import Content, Split
from wordbrush.dataset.formats.lines import number, text
from wordbrush.dataset.formats.picture import Picture
from wordbrush.dataset.records import IMAGE
from wordbrush.errors import DataError, nearest

SHARD = re.compile(r"(?P<split>.+?)-\d+(-of-\d+)?(-[0-9a-f]+)?\.parquet")
GROUP_ROWS = 100
GROUP_BYTES = 64 * 2**20
SHARD_BYTES = 400 * 2**20
READ_ROWS = 16


class OtherColumns(DataError):
    """A table without the columns of the format it was read as; ``found`` are those it has."""

    def __init__(self, message: str, found: list[str]) -> None:
        super().__init__(message)
        self.found = found


@dataclass(frozen=True)
class Row:
    """A row of a table, and how errors name it.

    Args:
        values: by column; a picture is ``{"bytes": …, "path": …}``.
        where: the file and the row, from 0.
        name: the split and the row within it, unique within a data set.
        folder: what a picture's relative path refers to.
    """

    values: Mapping[str, Any]
    where: str
    name: str
    folder: Path | None = None

    def text(self, column: str) -> str:
        """Return a text. Raises ``DataError`` if there is none."""
        return text(self.values, column, self.where)

    def picture(self, column: str, *, mask: bool = False) -> Picture:
        """Return a picture. Raises ``DataError`` if there is none, or it does not decode."""
        value = self.values.get(column) or {}
        where = f"{self.where}, {column}"
        if value.get("bytes") is not None:
            return Picture.decode(value["bytes"], where, mask=mask)
        if value.get("path"):
            return Picture.read((self.folder or Path()) / value["path"], mask=mask)
        raise DataError(f"{where}: there is no picture")

    def optional_picture(self, column: str) -> Picture | None:
        """Return the mask in a column that may be empty or missing."""
        return self.picture(column, mask=True) if self.values.get(column) else None

    def numbers(self, columns: Mapping[str, str]) -> dict[str, float]:
        """Return the finite numbers among ``columns``, which maps columns to the names they get.

        Raises:
            DataError: one holds something else.
        """
        read = {
            name: number(self.values[column], column, self.where)
            for column, name in columns.items()
            if self.values.get(column) is not None
        }
        return {name: value for name, value in read.items() if abs(value) < float("inf")}


def read_rows(source: Any, split: str | None, needed: tuple[str, ...]) -> Iterator[Row]:
    """Yield the rows of a parquet file, of a folder of them, or of a data set of Hugging Face ``datasets``.

    Args:
        split: a name or a pattern such as ``"FreeForm_*"``; None if there is only one.
        needed: columns that must be there.

    Raises:
        DataError: no files, a file that is damaged or lacks a column, no such split, or several where none was named.
    """
    if hasattr(source, "cast_column"):
        yield from _rows_of_dataset(source, needed)
        return
    numbers: dict[str, int] = {}
    for name, path in _files(Path(source), split):
        try:
            file = pq.ParquetFile(path)
            _check_columns(file.schema_arrow.names, needed, str(path))
            start = 0
            for batch in file.iter_batches(READ_ROWS):
                for place, values in enumerate(batch.to_pylist(), start):
                    row = numbers[name] = numbers.get(name, -1) + 1
                    yield Row(values, f"{path}, row {place}", f"{name}-{row:08d}", path.parent)
                start += batch.num_rows
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path} cannot be read: {' '.join(str(error).split())}") from error


def _rows_of_dataset(source: Any, needed: tuple[str, ...]) -> Iterator[Row]:
    import datasets

    if isinstance(source, Mapping):
        raise DataError(
            f"the data set has splits: give one of {', '.join(map(repr, source))}, as in dataset['train']"
        )
    features = source.features or {}
    name = str(source.split or "dataset")
    _check_columns(list(features), needed, f"the data set {name!r}")
    for column, feature in features.items():
        if isinstance(feature, datasets.Image):
            source = source.cast_column(column, datasets.Image(decode=False))
    for row, values in enumerate(source):
        yield Row(values, f"{name}, row {row}", f"{name}-{row:08d}")


def _check_columns(found: list[str], needed: tuple[str, ...], where: str) -> None:
    missing = [column for column in needed if column not in found]
    if missing:
        raise OtherColumns(f"{where} has no column {missing[0]!r}, only {', '.join(found)}", found)


def _files(source: Path, split: str | None) -> list[tuple[str, Path]]:
    """Return (split, file) in order."""
    if source.is_file():
        return [(_split(source), source)]
    places = [source / "data", source]
    found = next((paths for place in places if (paths := sorted(place.glob("*.parquet")))), [])
    if not found:
        raise DataError(f"{source} has no parquet files: expected them in it, or in its folder data")
    files = [(_split(path), path) for path in found]
    names = sorted({name for name, _ in files})
    if split is None and len(names) > 1:
        raise DataError(
            f"{source} has the splits {', '.join(names)}: name one of them, or a pattern such as '*'"
        )
    chosen = [(name, path) for name, path in files if split is None or fnmatchcase(name, split)]
    if not chosen:
        raise DataError(
            f"{source} has no split {split!r}{nearest(split or '', names)}; it has {', '.join(names)}"
        )
    return chosen


def _split(path: Path) -> str:
    match = SHARD.fullmatch(path.name)
    return match["split"] if match else "train"


def write_rows(rows: Iterable[Mapping[str, Any]], folder: Path, *, schema: pa.Schema, split: str) -> Content:
    """Write rows as the shards of one split into ``folder/data``; at most a row group is held in memory.

    ``schema`` carries the features for Hugging Face. Raises ``DataError`` if there are no rows.
    """
    place = folder / "data"
    place.mkdir()
    groups = _groups(rows)
    shards: list[tuple[int, int]] = []
    while (first := next(groups, None)) is not None:
        shards.append(_write_shard(place / f"{len(shards):05d}", chain([first], groups), schema))
    if not shards:
        raise DataError("there are no pairs to write: nothing was selected")
    for shard in range(len(shards)):
        name = f"{split}-{shard:05d}-of-{len(shards):05d}.parquet"
        (place / f"{shard:05d}").rename(place / name)
    pairs, size = (sum(column) for column in zip(*shards, strict=True))
    return Content({split: Split(pairs, size)}, schema)


def _write_shard(path: Path, groups: Iterable[list[Mapping[str, Any]]], schema: pa.Schema) -> tuple[int, int]:
    """Write row groups until the shard is large enough; return its rows and their bytes."""
    rows = size = 0
    with _writer(path, schema) as writer:
        for group in groups:
            batch = pa.RecordBatch.from_pylist(group, schema=schema)
            writer.write_batch(batch, row_group_size=len(group))
            rows, size = rows + len(group), size + batch.nbytes
            if size >= SHARD_BYTES:
                break
    return rows, size


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    pictures = {field.name for field in schema if field.type == IMAGE}
    leaves = [leaf for name in schema.names for leaf in _leaves(name, name in pictures)]
    return pq.ParquetWriter(
        path,
        schema,
        compression={leaf: "none" if leaf.endswith(".bytes") else "zstd" for leaf in leaves},
        use_dictionary=[name for name in schema.names if name not in pictures],
    )


def _leaves(name: str, picture: bool) -> list[str]:
    return [f"{name}.bytes", f"{name}.path"] if picture else [name]


def _groups(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    group: list[Mapping[str, Any]] = []
    size = 0
    for row in rows:
        group.append(row)
        size += sum(len(value["bytes"]) for value in row.values() if isinstance(value, Mapping))
        if len(group) >= GROUP_ROWS or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def stored(picture: Picture | None, name: str) -> dict[str, Any] | None:
    """Return a picture as it is stored in a column; ``name`` without an ending."""
    if picture is None:
        return None
    data, ending = picture.file()
    return {"bytes": data, "path": f"{name}.{ending}"}
