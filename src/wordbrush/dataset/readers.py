"""Where captions are read from: text, JSON lines, parquet, Hugging Face data sets, and the storybook.

Every reader is an iterable of ``Found``; files are read from front to back, a piece at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from wordbrush.dataset.hub import HUB, load_rows
from wordbrush.errors import DataError, InvalidInput, nearest

TEXT_COLUMNS = ("caption", "text", "TEXT", "input", "before", "prompt", "original_prompt", "source_caption")
"""Names that captions go by, in the order they are looked for; ``TEXT`` is LAION's."""

URL_COLUMNS = ("url", "URL", "image_url")

STORYBOOK = "storybook:"


@dataclass(frozen=True, slots=True)
class Found:
    """A caption as it was found.

    Args:
        text: None where the file has null.
        source: the file's name and the line or row, counted from 1: ``"captions.jsonl:12"``.
    """

    text: str | None
    source: str
    url: str | None = None


class Reader(Protocol):
    """Captions in a fixed order."""

    def __iter__(self) -> Iterator[Found]: ...


@dataclass(frozen=True)
class TextFile:
    """One caption a line; empty lines are left out."""

    path: Path

    def __iter__(self) -> Iterator[Found]:
        for number, line in _lines(self.path):
            if line.strip():
                yield Found(line, f"{self.path.name}:{number}")


@dataclass(frozen=True)
class JsonLines:
    """One JSON object a line, with the caption under ``column`` (or the first of ``TEXT_COLUMNS`` that it has).

    Lines may lack an address, though not all of them where ``url_column`` names it.
    """

    path: Path
    column: str | None = None
    url_column: str | None = None

    def __iter__(self) -> Iterator[Found]:
        self._check_url_column()
        for number, row in json_objects(self.path):
            where = f"{self.path}, line {number}"
            text = row[_column(row, self.column, TEXT_COLUMNS, where=where)]
            url = row.get(self.url_column or _first(URL_COLUMNS, row) or "")
            if text is not None and not isinstance(text, str):
                raise DataError(f"{where}: a caption is text, not {text!r}")
            yield Found(text, f"{self.path.name}:{number}", None if url is None else str(url))

    def _check_url_column(self) -> None:
        """Read on to the first line that has the address that was named."""
        if self.url_column is None:
            return
        names: dict[str, None] = {}
        for _, row in json_objects(self.path):
            if self.url_column in row:
                return
            names |= dict.fromkeys(row)
        if names:
            _column(names, self.url_column, (), where=str(self.path))


@dataclass(frozen=True)
class Parquet:
    """A parquet file, with LAION's columns ``TEXT`` and ``URL`` or others."""

    path: Path
    column: str | None = None
    url_column: str | None = None

    def __iter__(self) -> Iterator[Found]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self.path) as file:
                names = file.schema_arrow.names
                text, url = _columns(names, self.column, self.url_column, where=str(self.path))
                row = 0
                for batch in file.iter_batches(columns=[text, *([url] if url else [])]):
                    for one in batch.to_pylist():
                        row += 1
                        yield _found(one, text, url, f"{self.path.name}:{row}")
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise DataError(f"{self.path} cannot be read as parquet: {_sentence(error)}") from error


@dataclass(frozen=True)
class HuggingFace:
    """A data set that ``datasets`` reads: a local folder or file, or, where the name is given so, one of the hub.

    Args:
        name: a path, or ``"hf:owner/name"``: the only case in which anything is downloaded.
    """

    name: str
    column: str | None = None
    url_column: str | None = None
    split: str = "train"

    def __iter__(self) -> Iterator[Found]:
        rows = load_rows(self.name, self.split)
        where = f"{self.name} ({self.split})"
        text, url = _columns(rows.column_names, self.column, self.url_column, where=where)
        chosen = rows.select_columns([text, *([url] if url else [])])
        short = Path(self.name).name
        for number, row in enumerate(chosen, start=1):
            yield _found(row, text, url, f"{short}:{number}")


@dataclass(frozen=True)
class Storybook:
    """Captions of the storybook's training scenes, number 0 to ``count`` − 1, each a pure function of its number."""

    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InvalidInput(f"{STORYBOOK}COUNT takes a count of at least 1, not {self.count}")

    def __iter__(self) -> Iterator[Found]:
        from wordbrush.storybook.recipe.renders import scene_at
        from wordbrush.storybook.scene import caption

        for index in range(self.count):
            yield Found(caption(scene_at("train", index)[0], index), f"{STORYBOOK}{index}")


KINDS = {".txt": TextFile, ".jsonl": JsonLines, ".ndjson": JsonLines, ".parquet": Parquet}
TABLES = (".csv", ".json", ".arrow")


def reader(
    name: str, *, column: str | None = None, url_column: str | None = None, split: str = "train"
) -> Reader:
    """Return the reader of what a user names.

    Args:
        name: a ``.txt``, ``.jsonl`` or ``.parquet`` file; a file or folder that Hugging Face ``datasets`` reads;
            ``"hf:owner/name"`` for a data set of the hub; or ``"storybook:COUNT"``.
        column, url_column: the columns of the caption and the address; by default those that are known.

    Raises:
        DataError: there is nothing of that name. Reading raises it too, for a column that is missing and for whatever
            cannot be read, with the file and the line.
        InvalidInput: a count that is none.
    """
    if name.startswith(STORYBOOK):
        count = name.removeprefix(STORYBOOK)
        if not count.isdecimal():
            raise InvalidInput(
                f"{STORYBOOK}COUNT takes a whole number, as in 'storybook:1000', not {count!r}"
            )
        return Storybook(int(count))
    if name.startswith(HUB):
        return HuggingFace(name, column, url_column, split)
    path = Path(name)
    if not path.exists():
        beside = (other.name for other in path.parent.glob("*")) if path.parent.is_dir() else ()
        raise DataError(
            f"there are no captions at {name!r}{nearest(path.name, beside)}; give a .txt, .jsonl or .parquet file, a "
            f"data set's folder, 'hf:owner/name' or 'storybook:COUNT'"
        )
    if path.is_dir() or path.suffix in TABLES:
        return HuggingFace(name, column, url_column, split)
    kind = KINDS.get(path.suffix)
    if kind is None:
        raise DataError(
            f"{name} is of no kind that captions are read from: {', '.join([*KINDS, *TABLES])} or a folder"
        )
    return TextFile(path) if kind is TextFile else kind(path, column, url_column)


def json_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, object) of a file of JSON lines; empty lines are left out.

    Raises:
        DataError: a line that is not a JSON object, named by file and line.
    """
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number}: not JSON ({error}): {_short(line)}") from error
        if "\\ud" in line.lower() and _has_half_characters(row):
            raise DataError(f"{path}, line {number}: holds half of a surrogate pair, which is no character")
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: expected a JSON object, got {_short(line)}")
        yield number, row


def _has_half_characters(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                yield number, line.rstrip("\r\n")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 somewhere after line {number}: {error.reason}") from error


def _columns(
    names: Sequence[str], column: str | None, url_column: str | None, *, where: str
) -> tuple[str, str | None]:
    """Return the columns of text and address; the address is optional unless it is asked for by name."""
    url = (
        _column(names, url_column, (), where=where) if url_column is not None else _first(URL_COLUMNS, names)
    )
    return _column(names, column, TEXT_COLUMNS, where=where), url


def _column(names: Iterable[str], wanted: str | None, known: Sequence[str], *, where: str) -> str:
    existing = list(names)
    if wanted is not None:
        if wanted in existing:
            return wanted
        raise DataError(
            f"{where} has no column {wanted!r}{nearest(wanted, existing)}; it has {', '.join(existing)}"
        )
    found = _first(known, existing)
    if found is None:
        raise DataError(
            f"{where} has none of the columns {', '.join(known)}; it has {', '.join(existing) or 'none'}: "
            "say which one holds the captions"
        )
    return found


def _first(known: Sequence[str], names: Iterable[str]) -> str | None:
    existing = set(names)
    return next((name for name in known if name in existing), None)


def _found(row: Mapping[str, Any], text: str, url: str | None, source: str) -> Found:
    address = row[url] if url else None
    value = row[text]
    if value is not None and not isinstance(value, str):
        raise DataError(f"{source}: column {text!r} holds {value!r}, which is no text")
    return Found(value, source, None if address is None else str(address))


def _short(line: str) -> str:
    return repr(line if len(line) <= 60 else line[:57] + "…")


def _sentence(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
