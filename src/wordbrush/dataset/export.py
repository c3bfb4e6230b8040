"""From selected pairs, or from anybody's data set, to a data set in any format, with its card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from wordbrush.dataset import formats
from wordbrush.dataset.card import card
from wordbrush.dataset.formats import FORMATS, EditPair, Written
from wordbrush.dataset.formats.parquet import READ_ROWS, Row
from wordbrush.dataset.funnel import funnel
from wordbrush.dataset.manifest import NAME, Manifest
from wordbrush.dataset.query import shards
from wordbrush.dataset.records import SCORES
from wordbrush.dataset.selection import Selection
from wordbrush.errors import DataError, InvalidInput

SETTINGS = ("triplet_key", "candidate", "seed", "share", "guidance", "control", "steps")
"""Columns of the pairs that say how a pair was made."""

HOLDS = frozenset({"captions", "scores", "settings"})
"""The optional parts that the pairs of a run have: no mask."""


def check_format(name: str) -> None:
    """Raise ``InvalidInput`` for a format that there is not, or that needs what the pairs of a run have not."""
    missing = sorted(formats.find(name).needs - HOLDS)
    if missing:
        others = [other for other, one in FORMATS.items() if one.needs <= HOLDS]
        raise InvalidInput(
            f"the pairs of a run have no {missing[0]}, which {name} needs; {', '.join(others)} do not"
        )


def read_selected(folder: Path, selection: Selection) -> Iterator[EditPair]:
    """Yield the selected pairs of a run in the order of its shards; a row group without any is not read.

    The address that a caption came from is in the triplets, if the folder has them.

    Raises:
        DataError: a shard is damaged, a picture does not decode, or a selected pair is not there.
    """
    wanted = frozenset(selection.keys)
    urls = _urls(Path(folder), selection)
    found = 0
    for path in shards(Path(folder), "pairs"):
        try:
            file = pq.ParquetFile(path, page_checksum_verification=True)
            for group in range(file.num_row_groups):
                keys = file.read_row_group(group, columns=["key"])["key"].to_pylist()
                chosen = [key in wanted for key in keys]
                if any(chosen):
                    for row in _rows(file, group, chosen, path):
                        yield _pair(row, urls)
                        found += 1
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if found != len(wanted):
        raise DataError(
            f"{len(wanted) - found} of the {len(wanted)} selected pairs are not in {folder}: the pairs have been made "
            "again since, so select again"
        )


def _urls(folder: Path, selection: Selection) -> dict[str, str]:
    """Return triplet → address of the selected pairs, where there is one."""
    if not (folder / "triplets").is_dir():
        return {}
    kept = selection.verdicts.filter(selection.verdicts["kept"])
    wanted = frozenset(kept["triplet_key"].to_pylist())
    urls = {}
    for path in shards(folder, "triplets"):
        try:
            table = pq.read_table(path, columns=["key", "url"], page_checksum_verification=True)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
        for key, url in zip(table["key"].to_pylist(), table["url"].to_pylist(), strict=True):
            if url is not None and key in wanted:
                urls[key] = url
    return urls


def _rows(file: pq.ParquetFile, group: int, chosen: list[bool], path: Path) -> Iterator[Row]:
    start = 0
    for batch in file.iter_batches(READ_ROWS, row_groups=[group]):
        picked = pa.array(chosen[start : start + batch.num_rows])
        for values in batch.filter(picked).to_pylist():
            yield Row(values, f"{path}, pair {values['key']!r}", values["key"])
        start += batch.num_rows


def _pair(row: Row, urls: Mapping[str, str]) -> EditPair:
    settings = {name: row.values[name] for name in SETTINGS}
    url = urls.get(settings["triplet_key"])
    return EditPair(
        key=row.name,
        before=row.text("before"),
        instruction=row.text("instruction"),
        after=row.text("after"),
        before_picture=row.picture("before_image"),
        after_picture=row.picture("after_image"),
        scores=row.numbers({name: name for name in SCORES}),
        settings=settings if url is None else {**settings, "url": url},
    )


def export(
    folder: Path, *, selection: Selection, format: str, out: Path, licence: str | None = None
) -> Written:
    """Write the selected pairs of a run as a data set with a card.

    Args:
        format: a name of ``formats.FORMATS``.
        out: a folder that does not exist yet.
        licence: an identifier of the Hugging Face hub such as ``"cc-by-4.0"``; None leaves it unspecified.

    Raises:
        InvalidInput: an unknown format.
        DataError: ``out`` exists, nothing is selected, or a pair cannot be read.
    """
    steps = funnel(Path(folder), selection)
    return formats.write(
        format,
        read_selected(folder, selection),
        out,
        card=lambda written: card(
            written, licence=licence, selection=selection, steps=steps, settings=_settings(Path(folder))
        ),
    )


def _settings(folder: Path) -> dict[str, Any]:
    """Return what every stage was made with, by stage, as far as the run has manifests."""
    stages = [name for name in ("captions", "triplets", "pairs") if (folder / name / NAME).exists()]
    return {name: _made_with(Manifest.read(folder / name)) for name in stages}


def _made_with(manifest: Manifest) -> dict[str, Any]:
    """Return the settings of a stage, the filters of its source, threads and device, and the versions that ran."""
    filters = manifest.made_with["source"].get("filters")
    return {
        **manifest.made_with["settings"],
        **({"filters": filters} if filters is not None else {}),
        **manifest.computed,
        "versions": manifest.versions,
    }


def convert(
    source: Any, *, read_as: str, format: str, out: Path, split: str | None = None, licence: str | None = None
) -> Written:
    """Write a data set of one format as one of another, with a card.

    Raises:
        InvalidInput: an unknown format.
        DataError: the source is not of its format, ``out`` exists, or a pair lacks what the format needs.
    """
    made = f"Converted from a data set in the format `{read_as}`" + (f", split `{split}`." if split else ".")
    return formats.write(
        format,
        formats.read(read_as, source, split=split),
        out,
        card=lambda written: card(written, licence=licence, made=made),
    )
