"""The result of a selection: a verdict on every pair, and the counts of every gate."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from wordbrush.dataset.rules import Rule, from_json, to_json
from wordbrush.errors import DataError
from wordbrush.files import write_files
from wordbrush.version import __version__


@dataclass(frozen=True)
class GateCount:
    """What one gate rejected.

    Args:
        gate: its name.
        rejected: pairs for which it was the first to object.
        rule: the rule in words; None for a gate of an earlier stage.
        alone: judged pairs that it would reject as the only rule; None where that is not counted.
    """

    gate: str
    rejected: int
    rule: str | None = None
    alone: int | None = None


@dataclass(frozen=True, eq=False)
class Selection:
    """A verdict on every pair.

    Args:
        preset: the name of the rules.
        rules: what was applied, in order.
        counts: of the earlier stages' gates, then of every rule in order.
        verdicts: columns key, triplet_key, kept, gate, reason, a row for every pair, sorted by key; gate and reason are
            null where kept.
        content: the checksum of the pairs, ``Manifest.content``; None where they have no manifest.
    """

    preset: str
    rules: tuple[Rule, ...]
    counts: tuple[GateCount, ...]
    verdicts: pa.Table
    content: str | None = None

    @property
    def pairs(self) -> int:
        """How many pairs were judged or had been rejected before."""
        return self.verdicts.num_rows

    @property
    def keys(self) -> list[str]:
        """The keys of the selected pairs, sorted."""
        return self.verdicts.filter(self.verdicts["kept"])["key"].to_pylist()

    @property
    def selected(self) -> int:
        """How many pairs were selected."""
        return self.pairs - sum(count.rejected for count in self.counts)

    def to_json(self) -> dict[str, Any]:
        """Return everything but the verdicts."""
        return {
            "preset": self.preset,
            "rules": [to_json(rule) for rule in self.rules],
            "pairs": self.pairs,
            "selected": self.selected,
            "gates": [vars(count) for count in self.counts],
            "content": self.content,
            "wordbrush": __version__,
        }

    def write(self, path: Path) -> tuple[Path, Path]:
        """Write ``path`` with the endings .parquet (the verdicts) and .json (the rest); return both names.

        Both appear complete or not at all; an older selection of that name is replaced.
        """
        verdicts, about = _names(path)
        buffer = io.BytesIO()
        pq.write_table(self.verdicts, buffer, compression="zstd")
        text = json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n"
        write_files({verdicts: buffer.getvalue(), about: text.encode()})
        return verdicts, about

    @classmethod
    def read(cls, path: Path) -> Selection:
        """Return the selection that ``write`` wrote to ``path``.

        Raises:
            DataError: a file is missing or damaged, or the two do not belong together.
        """
        verdicts, about = _names(path)
        try:
            settings = json.loads(about.read_text(encoding="utf-8"))
            counts = tuple(GateCount(**count) for count in settings["gates"])
            rules = tuple(from_json(rule) for rule in settings["rules"])
            content = settings.get("content")
            read = cls(settings["preset"], rules, counts, pq.read_table(verdicts), content)
            same = read.pairs == settings["pairs"] and len(read.keys) == settings["selected"]
        except FileNotFoundError as error:
            raise DataError(f"there is no selection {path}: {error.filename} is missing") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"the selection {path} cannot be read: {error}") from error
        if not same:
            raise DataError(f"{verdicts.name} and {about.name} are not of one selection: select again")
        return read


def _names(path: Path) -> tuple[Path, Path]:
    stem = path.with_suffix("") if path.suffix in {".parquet", ".json"} else path
    return stem.with_name(stem.name + ".parquet"), stem.with_name(stem.name + ".json")
