"""One unit's rows as a parquet file: written so that the same rows give the same bytes, read so that damage is seen."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from wordbrush.dataset.records import IMAGE, gate
from wordbrush.errors import DataError, nearest

TAG = b"wordbrush"
"""Key of the file's metadata that says which unit of which run it is."""

PICTURES_PER_GROUP = 256
"""Rows of a row group where rows hold pictures, so that readers who stream need not hold a whole shard."""

NARROW = 5
"""The fewest digits of a shard's name, and all that the names of long runs had before they were made to sort."""

Tag = Mapping[str, Any]


class DamagedShard(DataError):
    """A shard that is truncated or whose bytes have changed since it was written."""


@dataclass(frozen=True)
class Shard:
    """What the manifest knows of one file.

    Args:
        unit: number of the unit, from 0, after which the file is named.
        rows_in: input rows of the unit.
        rows: output rows; ``kept`` of them are handed on.
        reasons: number of rejected rows by the gate that rejected them.
        size: bytes of the file.
        digest: BLAKE2b of the file, 128 bits, in hex.
        file: its name in the stage's folder.
    """

    unit: int
    rows_in: int
    rows: int
    kept: int
    reasons: dict[str, int]
    size: int
    digest: str
    file: str


def shard_name(unit: int, units: int) -> str:
    """Return the file name of one of ``units`` units: five digits, or as many as sort the names as the numbers."""
    return f"{unit:0{max(NARROW, len(str(units - 1)))}d}.parquet"


def number_of(path: Path) -> int:
    """Return the number that a shard is named after; -1 for another file."""
    return int(path.stem) if path.stem.isdecimal() else -1


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Return shards by their numbers, however many digits those are written with, after files with other names."""
    return sorted(paths, key=lambda path: (number_of(path), path.name))


def encode(rows: Sequence[Mapping[str, Any]], schema: pa.Schema, tag: Tag) -> bytes:
    """Return ``rows`` as a parquet file that depends on nothing but the arguments and the version of pyarrow.

    ``tag`` goes into the file's metadata, beside those of ``schema``. Pages carry checksums.

    Raises:
        DataError: rows that do not have exactly the columns of ``schema``, with its types; a key that occurs twice; a
            rejected row without a reason, or a kept one with one.
    """
    for row in rows:
        _check_row(row, schema)
    twice = [key for key, count in Counter(row["key"] for row in rows).items() if count > 1]
    if twice:
        raise DataError(f"key {twice[0]!r} occurs twice in one unit; every row needs a key of its own")
    table = _table(rows, schema)
    plain = [field.name for field in schema if field.type != IMAGE]
    metadata = {**(schema.metadata or {}), TAG: json.dumps(dict(tag), sort_keys=True).encode()}
    sink = pa.BufferOutputStream()
    pq.write_table(
        table.replace_schema_metadata(metadata),
        sink,
        version="2.6",
        compression="zstd",
        use_dictionary=plain,
        write_statistics=plain,  # the least of some PNG files tells nobody anything
        row_group_size=None if plain == schema.names else PICTURES_PER_GROUP,
        write_page_checksum=True,
    )
    return sink.getvalue().to_pybytes()


def _check_row(row: Mapping[str, Any], schema: pa.Schema) -> None:
    missing = [name for name in schema.names if name not in row]
    if missing:
        raise DataError(f"a row has no column {missing[0]!r}{nearest(missing[0], row)}")
    unknown = [name for name in row if name not in schema.names]
    if unknown:
        raise DataError(f"a row has an unknown column {unknown[0]!r}{nearest(unknown[0], schema.names)}")
    if row["kept"] is not (row["reason"] is None):
        raise DataError(
            f"row {row['key']!r} has kept = {row['kept']} and reason = {row['reason']!r}: "
            "a row has a reason if it was rejected, and only then"
        )


def _table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    columns = []
    for field in schema:
        values = [row[field.name] for row in rows]
        if not field.nullable and None in values:
            raise DataError(f"column {field.name!r} may not be empty, and is in a row")
        try:
            columns.append(pa.array(values, field.type))
        except (pa.ArrowException, OverflowError, TypeError) as error:
            raise DataError(f"column {field.name!r} takes {field.type}: {error}") from error
    return pa.Table.from_arrays(columns, schema=schema)


def describe(
    unit: int, rows_in: int, verdicts: Iterable[tuple[bool, str | None]], content: bytes, file: str
) -> Shard:
    """Return what the manifest says of a file of that name with these (kept, reason) rows."""
    reasons = Counter(gate(reason) if reason else "" for _, reason in verdicts)
    kept = reasons.pop("", 0)
    counted = dict(sorted(reasons.items()))
    return Shard(unit, rows_in, kept + reasons.total(), kept, counted, len(content), digest(content), file)


def digest(content: bytes) -> str:
    """Return the BLAKE2b checksum, 128 bits in hex."""
    return blake2b(content, digest_size=16).hexdigest()


def check_shard(path: Path, tag: Tag, rows_in: int, known: Shard | None = None) -> Shard:
    """Read the file of a unit and return what it holds.

    A file that the manifest knows is compared with its checksum; another one is decoded, every page of it.

    Raises:
        DamagedShard: it is truncated, or not what was written.
        DataError: it is whole, but belongs to another run; or it cannot be read.
    """
    content = _content(path)
    if known is not None:
        if (len(content), digest(content)) != (known.size, known.digest):
            raise DamagedShard(f"{path} is damaged: it is not the file that was written")
        return replace(known, file=path.name)
    table = _decode(path, content)
    made_with = json.loads((table.schema.metadata or {}).get(TAG, b"{}"))
    if made_with != dict(tag):
        raise DataError(
            f"{path} is not of this run: it was made with other settings or versions, from other rows, "
            "or by another program; choose another folder, or move the file away"
        )
    verdicts = zip(table["kept"].to_pylist(), table["reason"].to_pylist(), strict=True)
    return describe(int(tag["unit"]), rows_in, verdicts, content, path.name)


def read_shard(path: Path) -> pa.Table:
    """Return all rows of a shard, with the checksum of every page compared.

    Raises:
        DamagedShard: the file is truncated or has changed.
        DataError: it cannot be read.
    """
    return _decode(path, _content(path))


def set_aside(path: Path) -> Path:
    """Rename a damaged file to ``NAME.parquet.corrupt``, in place of an earlier one, and return that path."""
    return path.replace(path.with_name(f"{path.name}.corrupt"))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error


def _decode(path: Path, content: bytes) -> pa.Table:
    try:
        return pq.read_table(pa.BufferReader(content), page_checksum_verification=True)
    except (
        pa.ArrowException,
        OSError,
        UnicodeDecodeError,
    ) as error:  # the bytes are in memory: they are wrong
        raise DamagedShard(f"{path} is damaged: {' '.join(str(error).split())}") from error
