"""What a format is: a name, how it is read, how it is written, and what it has room for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from wordbrush.dataset.formats.pair import EditPair

if TYPE_CHECKING:
    import pyarrow as pa


class Reader(Protocol):
    """Reads a data set, pair by pair."""

    def __call__(self, source: Any, split: str | None) -> Iterator[EditPair]:
        """Yield the pairs of one split in order; None is the only one, or the one that the format is known for."""
        ...


@dataclass(frozen=True)
class Split:
    """A split that was written: its pairs, and the bytes of its columns before compression."""

    pairs: int
    size: int


@dataclass(frozen=True)
class Content:
    """What a writer put into a folder; ``schema`` is None where the files are not parquet."""

    splits: Mapping[str, Split]
    schema: pa.Schema | None = None


@dataclass(frozen=True)
class Format:
    """One way to store edits.

    Args:
        name: how it is asked for.
        about: one line.
        carries: which of ``captions``, ``mask``, ``scores`` and ``settings`` have a place in it.
        needs: which of them every pair must have.
        read: yields pairs.
        write: fills an empty folder, one pair in memory at a time.
        columns: those by which a parquet file of the format is known.
    """

    name: str
    about: str
    carries: frozenset[str]
    read: Reader
    write: Callable[[Iterable[EditPair], Path], Content]
    needs: frozenset[str] = frozenset()
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Written:
    """A finished export.

    Args:
        left_out: parts that pairs had and the format has no place for.
        size: bytes of all its files but the card.
    """

    format: Format
    folder: Path
    content: Content
    left_out: tuple[str, ...] = field(default=())
    size: int = 0

    @property
    def pairs(self) -> int:
        """Number of pairs in all splits."""
        return sum(split.pairs for split in self.content.splits.values())
