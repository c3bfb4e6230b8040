"""What a stage's folder holds and how it was made: ``manifest.json`` beside the shards."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from wordbrush.dataset.shards import Shard
from wordbrush.errors import DataError
from wordbrush.files import versions, write_files

NAME = "manifest.json"
CHECKSUMS = ("source.content",)
"""What differs whenever something else does, and tells a reader least."""

SHOWN = 60
"""Characters of a setting that a message repeats."""


def installed() -> dict[str, str]:
    """Return the versions of the packages that decide the bytes of shards, as they are here."""
    return versions("transformers", "pyarrow")


@dataclass
class Manifest:
    """The settings of a stage and the units that are done; it says the same however often the run was stopped.

    Args:
        stage: the name of the stage.
        made_with: everything the rows depend on, as JSON values: ``settings`` of the stage, ``source`` of its rows and
            ``rows_per_unit``.
        rows_in: rows of the source.
        shards: by unit, those that are done; ``add`` enters more.
        versions: of the packages that decide the bytes; by default those that are installed.
        computed: ``threads`` of torch in each worker and the kind of ``device``, which decide the bytes as well; empty
            for a stage that does not compute.

    Attributes:
        rows_done: source rows of the units that are done.
        rows: rows in their shards; ``kept`` of them are handed on to the next stage.
        reasons: rejected rows by the gate that rejected them.
    """

    stage: str
    made_with: dict[str, Any]
    rows_in: int
    shards: dict[int, Shard] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=installed)
    computed: dict[str, Any] = field(default_factory=dict)
    rows_done: int = field(init=False, default=0)
    rows: int = field(init=False, default=0)
    kept: int = field(init=False, default=0)
    reasons: Counter[str] = field(init=False, default_factory=Counter)

    def __post_init__(self) -> None:
        given, self.shards = self.shards, {}
        for shard in given.values():
            self.add(shard)

    def add(self, shard: Shard) -> None:
        """Enter a shard that is done; one that is there already changes nothing."""
        if shard.unit in self.shards:
            return
        self.shards[shard.unit] = shard
        self.rows_done += shard.rows_in
        self.rows += shard.rows
        self.kept += shard.kept
        self.reasons.update(shard.reasons)

    @property
    def units(self) -> int:
        """Number of units of the whole stage."""
        return -(-self.rows_in // self.made_with["rows_per_unit"])

    @property
    def complete(self) -> bool:
        """Whether every unit is done."""
        return len(self.shards) == self.units

    @property
    def config(self) -> str:
        """BLAKE2b of ``made_with``, ``versions`` and, where there is something in it, ``computed``; 128 bits in hex."""
        return _hash([self.made_with, self.versions, *([self.computed] if self.computed else [])])

    @property
    def ordered(self) -> list[Shard]:
        """The shards that are done, by unit."""
        return [self.shards[unit] for unit in sorted(self.shards)]

    @property
    def content(self) -> str:
        """A checksum of all shards together, by which the next stage knows its input."""
        return _hash([shard.digest for shard in self.ordered])

    def span(self, unit: int) -> tuple[int, int]:
        """Return the source rows [start, stop) of a unit."""
        start = unit * self.made_with["rows_per_unit"]
        return start, min(start + self.made_with["rows_per_unit"], self.rows_in)

    def write(self, folder: Path) -> None:
        """Write ``manifest.json``. Raises ``CannotWrite``."""
        described = {
            "stage": self.stage,
            "versions": self.versions,
            "computed": self.computed,
            "config": self.config,
            "made_with": self.made_with,
            "complete": self.complete,
            "units": self.units,
            "rows_in": self.rows_in,
            "rows": self.rows,
            "kept": self.kept,
            "reasons": dict(sorted(self.reasons.items())),
            "shards": [{"file": shard.file} | dataclasses.asdict(shard) for shard in self.ordered],
        }
        text = json.dumps(described, indent=1, ensure_ascii=False) + "\n"
        write_files({folder / NAME: text.encode()})

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest of a folder.

        Raises:
            DataError: there is none, or it cannot be understood.
        """
        path = folder / NAME
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
            names = [one.name for one in dataclasses.fields(Shard)]
            shards = [Shard(**{name: shard[name] for name in names}) for shard in read["shards"]]
            by_unit = {shard.unit: shard for shard in shards}
            versions, computed = read["versions"], read.get("computed", {})
            return cls(read["stage"], read["made_with"], read["rows_in"], by_unit, versions, computed)
        except FileNotFoundError as error:
            raise DataError(f"{folder} holds no rows of a stage: there is no {NAME} in it") from error
        except OSError as error:
            raise DataError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} cannot be understood; delete it, and the same command makes it again from the shards"
            ) from error

    def refuse_other(self, before: Manifest, folder: Path) -> None:
        """Raise ``DataError``, naming the setting, if ``before`` was made with others than this manifest."""
        if before.stage != self.stage:
            raise DataError(f"{folder} holds {before.stage}, not {self.stage}: choose another folder")
        found = sorted(differences(before.made_with, self.made_with), key=lambda one: one[0] in CHECKSUMS)
        for name, old, new in found:
            what = "from other rows, with" if name.startswith("source.") else "with"
            raise DataError(
                f"{folder} was made {what} {name.removeprefix('settings.')} = {_short(old)}, not {_short(new)}: "
                "go on with the same, or choose another folder"
            )

    def refuse_other_versions(self, versions: Mapping[str, str], what: str) -> None:
        """Raise ``DataError``, naming the package, if ``versions`` are others than this manifest's.

        Args:
            what: whose they are: ``"out/pairs, which is not finished, was made with"``.
        """
        for name, old, new in differences(versions, self.versions):
            raise DataError(
                f"{what} {name} {old}, not {new}, which may make other bytes: install the same, or choose another "
                "folder"
            )

    def refuse_other_computing(self, computed: Mapping[str, Any], what: str) -> None:
        """Raise ``DataError``, naming what differs, if threads or device are others than this manifest's.

        Args:
            what: whose they are: ``"out/pairs, which is not finished, was made with"``.
        """
        for name, old, new in differences(computed, self.computed):
            raise DataError(
                f"{what} {name} = {_short(old)}, not {_short(new)}, which rounds differently: go on with the same, or "
                "choose another folder"
            )


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield (dotted name, value before, value after) of what differs; a setting that is not there is None."""
    for name in [*before, *(name for name in after if name not in before)]:
        old, new = before.get(name), after.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            for inner, *values in differences(old, new):
                yield f"{name}.{inner}", values[0], values[1]
        elif old != new:
            yield name, old, new


def as_json(value: Any) -> Any:
    """Return ``value`` as it is after a way through JSON. Raises ``TypeError`` for what JSON cannot say."""
    return json.loads(json.dumps(value, ensure_ascii=False))


def _hash(value: Any) -> str:
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return blake2b(canonical.encode(), digest_size=16).hexdigest()


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
