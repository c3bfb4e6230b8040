"""Formats that are one table with pictures in its columns: a way from rows to pairs and back is all they differ in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from wordbrush.dataset.formats.base import Content, Format
from wordbrush.dataset.formats.pair import EditPair
from wordbrush.dataset.formats.parquet import Row, read_rows, write_rows
from wordbrush.dataset.records import IMAGE, with_features

TEXT, PICTURE, NUMBER = pa.string(), IMAGE, pa.float64()


def table_format(
    name: str,
    about: str,
    *,
    columns: Sequence[tuple[str, pa.DataType]],
    split: str,
    from_row: Callable[[Row], EditPair],
    to_row: Callable[[EditPair, int], dict[str, Any]],
    required: tuple[str, ...],
    carries: Iterable[str] = (),
    needs: Iterable[str] = (),
) -> Format:
    """Return a format of parquet files.

    Args:
        columns: names and types, in the order they are written.
        split: what the written split is called.
        from_row: reads one row.
        to_row: gives the row of a pair and its number, from 0.
        required: columns that must be there to read it.
    """
    schema = with_features([pa.field(column, kind) for column, kind in columns])

    def read(source: Any, split: str | None) -> Iterator[EditPair]:
        return map(from_row, read_rows(source, split, required))

    def write(pairs: Iterable[EditPair], folder: Path) -> Content:
        rows = (to_row(pair, number) for number, pair in enumerate(pairs))
        return write_rows(rows, folder, schema=schema, split=split)

    return Format(name, about, frozenset(carries), read, write, frozenset(needs), required)
