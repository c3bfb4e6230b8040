"""JSON and JSON lines, with errors that say where."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wordbrush.dataset.readers import json_objects
from wordbrush.errors import DataError


def read_json(path: Path) -> Any:
    """Return what a JSON file holds. Raises ``DataError`` if it is missing or malformed."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}") from error


def read_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield where it stands and its value for every line of a file of JSON objects, as ``readers.json_objects``."""
    for number, values in json_objects(path):
        yield f"{path}, line {number}", values


def text(values: Any, name: str, where: str) -> str:
    """Return the text under a name of an object. Raises ``DataError`` if there is none."""
    value = values.get(name) if isinstance(values, Mapping) else None
    if not isinstance(value, str):
        raise DataError(f"{where}: {name} is {value!r}, not a text")
    return value


def number(value: Any, name: str, where: str) -> float:
    """Return a number as it is given. Raises ``DataError`` for what is none."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise DataError(f"{where}: {name} is {value!r}, not a number")


def whole(value: Any, name: str, where: str, *, bits: int) -> int:
    """Return a whole number of so many bits, sign included. Raises ``DataError`` for what is none."""
    try:
        found = int(value)
        fits = not isinstance(value, float) or found == value
    except (TypeError, ValueError, OverflowError):
        found, fits = 0, False
    if not fits or not -(2 ** (bits - 1)) <= found < 2 ** (bits - 1):
        raise DataError(f"{where}: {name} is {value!r}, not a whole number of {bits} bits")
    return found


def first(values: dict[str, Any], names: tuple[str, ...], where: str) -> str:
    """Return the text under the first of several names that is there. Raises ``DataError`` if there is none."""
    found = optional(values, names)
    if found is None:
        raise DataError(
            f"{where} has none of {', '.join(map(repr, names))}; it has {', '.join(map(repr, values))}"
        )
    return found


def optional(values: dict[str, Any], names: tuple[str, ...]) -> str | None:
    """Return the text under the first of several names that is there, or None."""
    return next((values[name] for name in names if isinstance(values.get(name), str)), None)
