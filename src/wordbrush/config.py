"""Settings as they stand in a TOML file: what is not known is refused, not ignored."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from wordbrush.errors import DataError, InvalidInput, nearest

T = TypeVar("T")

LIST, TABLE = 'a list, as ["a", "b"]', "a table, as {a = 1}"
WANTED = {"tuple_type": LIST, "list_type": LIST, "dict_type": TABLE, "mapping_type": TABLE}
"""What TOML calls that which pydantic names in Python's words."""


class Section(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def read_toml(path: Path, changes: Sequence[str] = ()) -> dict[str, Any]:
    """Read a TOML file.

    Args:
        changes: ``"section.name=value"``, with the value as in TOML or as plain text, in place of the file's.

    Raises:
        DataError: the file cannot be read, or is no TOML.
        InvalidInput: a change that is no setting.
    """
    try:
        read = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot read {path}: {getattr(error, 'strerror', None) or 'it is not UTF-8'}"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{path} is no TOML: {error}") from error
    except RecursionError as error:
        raise DataError(f"{path} is nested too deeply") from error
    for change in changes:
        name, value = read_setting(change)
        section, dot, key = name.rpartition(".")
        place = read.setdefault(section, {}) if dot else read
        if not isinstance(place, dict):
            raise InvalidInput(f"{change!r} is not a setting: {section} is {place!r} and not a section")
        place[key] = value
    return read


def read_setting(text: str) -> tuple[str, Any]:
    """Split ``"name=value"``; a value that is no TOML is plain text. Raises ``InvalidInput`` if there is no ``=``."""
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not name:
        raise InvalidInput(f"{text!r} is not a setting; expected NAME=VALUE")
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):  # the latter of brackets without end
        return name, value


def make(kind: type[T], values: Mapping[str, Any], *, where: str) -> T:
    """Return a section, or a dataclass, of these values.

    Args:
        where: what the message begins with: the file, or the command.

    Raises:
        InvalidInput: a setting that there is not, or a value of another type or out of range.
    """
    _check_names(kind, values, where)
    try:
        return TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            raise InvalidInput(f"{where} needs a setting {place}") from error
        wanted = WANTED.get(first["type"])
        reason = f"takes {wanted}" if wanted else first["msg"].removeprefix("Value error, ")
        given = "" if isinstance(first["input"], Mapping) else f", not {first['input']!r}"
        hint = _quotes(first["input"]) if wanted else ""
        raise InvalidInput(f"{where}: {f'{place}: ' if place else ''}{reason}{given}{hint}") from error


def _quotes(given: Any) -> str:
    """Return what to do about a list or table that came as text: a shell has most likely eaten its quotation marks."""
    if isinstance(given, str) and given.startswith(("[", "{")):
        return "; a shell takes quotation marks away unless the whole setting stands in others: --set 'NAME=VALUE'"
    return ""


def names_of(kind: Any) -> dict[str, Any]:
    """Return the settings of a section by name, with their types; a dataclass's seed is the whole run's."""
    if dataclasses.is_dataclass(kind):
        return {field.name: None for field in dataclasses.fields(kind) if field.name != "seed"}
    return {name: field.annotation for name, field in kind.model_fields.items()}


def _check_names(kind: Any, values: Mapping[str, Any], where: str, inside: str = "") -> None:
    known = names_of(kind)
    for name, value in values.items():
        if name not in known:
            what = f"[{inside}] has no setting" if inside else "has no setting"
            raise InvalidInput(f"{where} {what} {name!r}{nearest(name, known)}; there are {', '.join(known)}")
        inner = known[name]
        if isinstance(inner, type) and (dataclasses.is_dataclass(inner) or issubclass(inner, Section)):
            if not isinstance(value, Mapping):
                raise InvalidInput(f"{where}: {name} is a table, [{name}], not {value!r}")
            _check_names(inner, value, where, name)
