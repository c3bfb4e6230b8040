"""The Emu Edit test set (Sheynin et al. 2023, arXiv:2311.10089): instructions of seven kinds, with both captions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wordbrush.dataset.formats.parquet import read_rows
from wordbrush.errors import DataError
from wordbrush.evaluation.example import Example

COLUMNS = ("instruction", "image", "task", "input_caption", "output_caption")


def read(folder: Path, split: str | None = None) -> Iterator[Example]:
    """Yield the rows of parquet files as the hub has them; there is no picture after the edit.

    Args:
        split: ``validation`` or ``test``, needed where there are both.

    Raises:
        DataError: no files, files that are damaged or lack a column, or a picture that does not decode.
    """
    for row in read_rows(folder, split, COLUMNS):
        yield Example(
            key=row.name,
            image=row.picture("image").image,
            instruction=row.text("instruction"),
            before=row.text("input_caption"),
            after=row.text("output_caption"),
            kind=row.text("task"),
        )


def shows(folder: Path) -> bool:
    """Whether a folder's parquet files have these columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = (
        sorted([*folder.glob("data/*.parquet"), *folder.glob("*.parquet")]) if folder.is_dir() else [folder]
    )
    if not found or found[0].suffix != ".parquet":
        return False
    try:
        return set(COLUMNS) <= set(pq.read_schema(found[0]).names)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{found[0]} cannot be read: {' '.join(str(error).split())}") from error
