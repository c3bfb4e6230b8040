"""Where a stage's rows come from: anything with a length, rows by number, and a fingerprint."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from wordbrush.dataset.manifest import Manifest
from wordbrush.dataset.shards import DamagedShard, Shard, read_shard
from wordbrush.errors import DataError


class Source(Protocol):
    """Rows that can be asked for by number; picklable, since workers read for themselves."""

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def rows(self, start: int, stop: int) -> list[dict[str, Any]]:
        """Return the rows [start, stop), always the same ones."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """Return what the rows depend on, as JSON values."""
        ...


class ShardSource:
    """The rows of a finished stage, in order; memory is bounded by one shard.

    Args:
        folder: the stage's folder, for example ``OUT/captions``.
        rejected: also give the rows that the stage rejected; without it, only those that it kept.

    Raises:
        DataError: the folder holds no finished stage.
    """

    def __init__(self, folder: Path, *, rejected: bool = False) -> None:
        manifest = Manifest.read(folder)
        if not manifest.complete:
            raise DataError(
                f"{folder} is not finished ({len(manifest.shards)} of {manifest.units} units): "
                "run the command that makes it again, and it goes on"
            )
        self.folder = folder
        self.rejected = rejected
        self.stage = manifest.stage
        self.shards = manifest.ordered
        self.ends = list(accumulate(map(self._given, self.shards)))
        self.content = manifest.content

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def fingerprint(self) -> dict[str, Any]:
        """Name the stage before, and the checksum of all its shards."""
        return {"stage": self.stage, "content": self.content, "rejected": self.rejected}

    def rows(self, start: int, stop: int) -> list[dict[str, Any]]:
        """Return the rows [start, stop).

        Raises:
            DataError: a shard is damaged or missing.
        """
        found: list[dict[str, Any]] = []
        for number in range(bisect_right(self.ends, start), len(self.shards)):
            shard = self.shards[number]
            first = self.ends[number] - self._given(shard)
            if first >= stop:
                break
            table = _table(self.folder / shard.file, shard.digest, self.rejected)
            found += table.slice(max(0, start - first), stop - max(start, first)).to_pylist()
        return found

    def _given(self, shard: Shard) -> int:
        return shard.rows if self.rejected else shard.kept


@lru_cache(maxsize=1)  # units are made in order, and several of them may lie in one shard
def _table(path: Path, digest: str, rejected: bool) -> pa.Table:
    """Return the rows of a shard; ``digest`` distinguishes it from another one of that name."""
    try:
        table = read_shard(path)
    except DamagedShard as error:
        raise DataError(f"{error}; run the command that made it again, and it is made again") from error
    return table if rejected else table.filter(table["kept"])
