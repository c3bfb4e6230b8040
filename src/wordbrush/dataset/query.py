"""SQL over parquet shards with DuckDB: one connection, one way to name what is wrong."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from wordbrush.dataset.records import DRAFT
from wordbrush.dataset.shards import in_order
from wordbrush.errors import DataError

if TYPE_CHECKING:
    import duckdb

PICTURES = ("before_image", "after_image")
"""Columns that no query reads: they hold nearly all the bytes."""


@contextmanager
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an in-memory database that spills to the system's temporary folder and leaves nothing behind.

    Raises:
        DataError: a shard that cannot be read, in one sentence.
    """
    import duckdb

    with (
        tempfile.TemporaryDirectory(prefix="wordbrush-") as spill,
        duckdb.connect(config={"temp_directory": spill}) as database,
    ):
        try:
            yield database
        except (duckdb.IOException, duckdb.InvalidInputException) as error:
            raise DataError(f"the shards cannot be read: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """Return DuckDB's message without its kind and the quoted query."""
    line = str(error).partition("\n")[0]
    return line.partition("Error: ")[2] or line


def shards(folder: Path, stage: str) -> list[Path]:
    """Return the parquet files of a stage by their numbers: those in ``folder/<stage>``, else in ``folder`` itself.

    Raises:
        DataError: there are none.
    """
    for place in (folder / stage, folder):
        if found := in_order(path for path in place.glob("*.parquet") if not path.name.startswith(".")):
            return found
    raise DataError(
        f"{folder} has no {stage}: expected parquet files in {folder / stage}, or in the folder itself"
    )


def columns(database: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> dict[str, str]:
    """Return the columns of the shards and their SQL types."""
    rows = database.execute(
        "DESCRIBE SELECT * FROM read_parquet($files, union_by_name = true)", {"files": names(files)}
    ).fetchall()
    return {row[0]: row[1] for row in rows}


def names(files: Sequence[Path]) -> list[str]:
    """Return file names for ``read_parquet``."""
    return [str(path) for path in files]


def drafted(known: Iterable[str]) -> str:
    """Return the condition, never null, that a row's scores are a draft's: asking for the pictures would read them all.

    Args:
        known: the columns of the shards.
    """
    return f"coalesce(starts_with(reason, '{DRAFT}'), false)" if "reason" in known else "false"


def quoted(column: str) -> str:
    """Return a column's name as an SQL identifier."""
    return '"' + column.replace('"', '""') + '"'
