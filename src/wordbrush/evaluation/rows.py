"""Results as they are kept: a line of JSON for every example and method, appended as soon as it is measured."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from wordbrush.dataset.readers import json_objects
from wordbrush.errors import DataError
from wordbrush.files import append_json, locked, mend_lines, write_files

ROWS = "rows.jsonl"
MADE_WITH = "settings.json"


@dataclass(frozen=True)
class Row:
    """What was measured of one edit.

    Args:
        method, along, settings: of the method.
        key, kind: of the example.
        seed: what the method was given.
        scores: by name; a measure that says nothing of this example is left out.
        forward_samples: rows of the denoising network's calls for this edit.
        seconds: what it took, an equal share of its batch.
        memory: bytes: on a GPU what tensors held at most during the edit, else what the process had held at most until
            then; None where the system does not say.
        failed: why there is no edit, if there is none.
        unmeasured: why scores of this edit are missing, if a measure could not be taken of it.
    """

    method: str
    along: str
    settings: Mapping[str, Any]
    key: str
    kind: str
    seed: int
    scores: Mapping[str, float] = field(default_factory=dict)
    forward_samples: float = 0
    seconds: float = 0.0
    memory: int | None = None
    failed: str | None = None
    unmeasured: str | None = None

    @property
    def name(self) -> str:
        """What distinguishes it from all other rows of a run."""
        return name_of(self.method, self.settings, self.key)


def name_of(method: str, settings: Mapping[str, Any], key: str) -> str:
    """Return the name of the row of a method and an example."""
    return json.dumps([method, settings, key], sort_keys=True, ensure_ascii=False)


class Rows:
    """The rows of one evaluation: in memory, and in a file if there is a folder.

    Use ``open_rows``, which keeps other runs out of the folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._path = None if folder is None else folder / ROWS
        self._rows = {row.name: row for row in _read(self._path)} if self._path else {}

    def __contains__(self, name: str) -> bool:
        """Whether there is an edit of that name; one that failed is tried again."""
        return name in self._rows and self._rows[name].failed is None

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, rows: Iterable[Row]) -> None:
        """Take rows, and append them to the file. Raises ``CannotWrite`` if the disk refuses."""
        new = list(rows)
        if self._path is not None:
            append_json(self._path, map(asdict, new))
        self._rows |= {row.name: row for row in new}


@contextmanager
def open_rows(folder: Path | None, made_with: Mapping[str, Any]) -> Iterator[Rows]:
    """Lend the rows of a folder, which is made if needed; of None, rows that are not kept.

    Args:
        made_with: what scores depend on beside a method's settings, as JSON values; ``models`` maps the names of
            models to checksums, and further ones may be added later.

    Raises:
        DataError: the folder has rows that were made otherwise, a damaged file, or another run is working in it.
        CannotWrite: the disk refuses.
    """
    if folder is None:
        yield Rows()
        return
    with locked(folder):
        _settle(folder / MADE_WITH, made_with)
        mend_lines(folder / ROWS)
        yield Rows(folder)


def read_rows(folder: Path) -> list[Row]:
    """Return the rows of an evaluation. Raises ``DataError`` if there are none, or a line is damaged."""
    if not (folder / ROWS).exists():
        raise DataError(f"{folder} holds no evaluation: it has no {ROWS}")
    return list({row.name: row for row in _read(folder / ROWS)}.values())


def _settle(path: Path, made_with: Mapping[str, Any]) -> None:
    """Write what the rows are made with, or refuse to mix them with others."""
    known: dict[str, Any] = {}
    if path.exists():
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read: {error}") from error
    models = {**known.get("models", {}), **made_with.get("models", {})}
    wanted = json.loads(json.dumps({**made_with, "models": models}, default=str))
    for name in {**known, **wanted} if known else {}:
        if name != "models" and name not in known:
            raise DataError(f"{path.parent} does not say with what {name} it was made: choose another folder")
        if name != "models" and known[name] != wanted.get(name):
            raise DataError(
                f"{path.parent} was made with {name} {known[name]!r}, not {wanted.get(name)!r}: choose another folder"
            )
    for name, digest in known.get("models", {}).items():
        if models[name] != digest:
            raise DataError(
                f"the model {name!r} has changed since the rows of {path.parent} were made: choose another folder"
            )
    if wanted != known:
        write_files({path: (json.dumps(wanted, indent=1, ensure_ascii=False) + "\n").encode()})


def _read(path: Path) -> Iterator[Row]:
    if not path.exists():
        return
    for number, values in json_objects(path):
        try:
            yield Row(**values)
        except TypeError as error:
            raise DataError(f"{path}, line {number}, is no result of this version: {error}") from error
