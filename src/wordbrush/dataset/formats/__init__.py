"""Reading and writing the data sets that others exchange: a table of formats, and two verbs.

pairs = formats.read("magicbrush", folder, split="dev")
formats.write("diffusers", pairs, out)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wordbrush.dataset.formats import (
    clip_filtered,
    diffusers,
    imagefolder,
    magicbrush,
    original,
    ultraedit,
)
from wordbrush.dataset.formats.base import Format, Written
from wordbrush.dataset.formats.pair import EditPair
from wordbrush.dataset.formats.parquet import OtherColumns
from wordbrush.dataset.formats.picture import Picture
from wordbrush.errors import DataError, InvalidInput, nearest
from wordbrush.files import new_folder

__all__ = ["FORMATS", "EditPair", "Format", "Picture", "Written", "find", "read", "write"]

FORMATS = {
    one.name: one
    for one in (
        clip_filtered.FORMAT,
        diffusers.FORMAT,
        magicbrush.FORMAT,
        ultraedit.FORMAT,
        ultraedit.REGION,
        imagefolder.FORMAT,
        original.FORMAT,
    )
}


def find(name: str) -> Format:
    """Return a format by its name. Raises ``InvalidInput`` if there is none."""
    if name not in FORMATS:
        raise InvalidInput(f"there is no format {name!r}, only {', '.join(FORMATS)}{nearest(name, FORMATS)}")
    return FORMATS[name]


def read(format: str, source: Any, *, split: str | None = None) -> Iterator[EditPair]:
    """Yield the pairs of a data set in its order, one at a time.

    Args:
        format: its name.
        source: a folder or file; for parquet formats also a ``Dataset`` or ``IterableDataset`` of Hugging Face
            ``datasets``.
        split: for parquet formats a name or a pattern, needed if there are several; for ``imagefolder`` a folder in it.

    Raises:
        InvalidInput: an unknown format.
        DataError: files that are missing, damaged or of another format, or a picture that does not decode, named.
    """
    chosen = find(format)
    return _named(chosen.read(source, split))


def _named(pairs: Iterator[EditPair]) -> Iterator[EditPair]:
    """Pass pairs on; if the columns are those of another format, say so."""
    try:
        yield from pairs
    except OtherColumns as error:
        others = [
            name for name, one in FORMATS.items() if one.columns and set(one.columns) <= set(error.found)
        ]
        if not others:
            raise
        raise DataError(f"{error}; these are the columns of {' and '.join(others)}") from error


def write(
    format: str, pairs: Iterable[EditPair], out: Path, *, card: Callable[[Written], str] | None = None
) -> Written:
    """Write pairs into a new folder, which appears when it is complete.

    Args:
        format: its name.
        out: a folder that does not exist yet.
        card: makes the text of ``README.md`` from what was written.

    Raises:
        InvalidInput: an unknown format.
        DataError: ``out`` exists, there are no pairs, or a pair lacks what the format needs.
        CannotWrite: the disk refuses.
    """
    chosen = find(format)
    seen = Seen(chosen)
    with new_folder(Path(out)) as folder:
        content = chosen.write(seen.check(pairs), folder)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        written = Written(chosen, Path(out), content, tuple(sorted(seen.parts - chosen.carries)), size)
        if card is not None:
            (folder / "README.md").write_text(card(written), encoding="utf-8")
    return written


@dataclass
class Seen:
    """Which parts the pairs had that went by."""

    format: Format
    parts: set[str] = field(default_factory=set)

    def check(self, pairs: Iterable[EditPair]) -> Iterator[EditPair]:
        """Pass pairs on; raise ``DataError`` for one that lacks what the format needs."""
        for pair in pairs:
            missing = sorted(self.format.needs - pair.holds)
            if missing:
                others = [name for name, one in FORMATS.items() if not one.needs - pair.holds]
                raise DataError(
                    f"{pair.key!r} has no {missing[0]}, which {self.format.name} needs; {', '.join(others)} do not"
                )
            self.parts |= pair.holds
            yield pair
