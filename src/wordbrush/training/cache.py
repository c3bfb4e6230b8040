"""What is computed once and read at random: latents or picture files, and the encoded instructions.

A cache is a folder of safetensors shards beside parquet tables of their rows. It knows what it was made with; where
that has changed, it is refused rather than used or overwritten. Shards that a killed run has finished are kept.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from wordbrush.errors import DataError
from wordbrush.files import locked, write_files

ROWS = 256
"""Rows of a shard."""

MADE_WITH = "made_with.json"
COMPLETE = "complete.json"

Row = tuple[Mapping[str, Any], Mapping[str, Tensor]]
"""The columns of a row, and its tensors by name."""


class Store:
    """A finished cache: ``columns`` of all rows, and the tensors of any row."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._paths = sorted(folder.glob("*.safetensors"))
        try:
            tables = [pq.read_table(path.with_suffix(".parquet")) for path in self._paths]
            self.columns: dict[str, list[Any]] = pa.concat_tables(tables).to_pydict()
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"the cache {folder} cannot be read: {error}; delete it to make it again"
            ) from error
        self._open = lru_cache(maxsize=None)(self._opened)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def tensor(self, row: int, name: str) -> Tensor:
        """Return a tensor of a row."""
        return self._open(row // ROWS).get_tensor(f"{row % ROWS}/{name}")

    def _opened(self, shard: int) -> Any:
        from safetensors import SafetensorError, safe_open

        path = self._paths[shard]
        try:
            return safe_open(path, "pt").__enter__()
        except (SafetensorError, OSError) as error:
            raise DataError(
                f"{path} cannot be read: {error}; delete {self.folder} to make it again"
            ) from error


def prepare(
    folder: Path,
    made_with: Mapping[str, Any],
    rows: Callable[[int], Iterable[Row]],
    *,
    progress: Callable[[int], None] | None = None,
) -> Store:
    """Return the cache at ``folder``, made or finished if need be.

    Args:
        made_with: what decides its content, as JSON values.
        rows: yields the rows from the one with this number on.
        progress: called with the rows that are there.

    Raises:
        DataError: the cache was made with something else (the message names what), there are no rows, or another run is
            making it.
        CannotWrite: the disk refuses.
    """
    if (folder / COMPLETE).exists():  # several processes may read it at once
        _check(folder, made_with)
        return Store(folder)
    with locked(folder):
        _check(folder, made_with)
        if not (folder / COMPLETE).exists():  # made by another run in between
            count = ROWS * sum(1 for _ in folder.glob("*.parquet"))
            left = iter(rows(count))
            while part := list(islice(left, ROWS)):
                _write(folder / f"{count // ROWS:06d}", part)
                count += len(part)
                if progress is not None:
                    progress(count)
            if not count:
                folder.joinpath(MADE_WITH).unlink()
                raise DataError("there are no pairs to train on: nothing was selected")
            write_files({folder / COMPLETE: json.dumps({"complete": True}).encode()})
        return Store(folder)


def _check(folder: Path, made_with: Mapping[str, Any]) -> None:
    path = folder / MADE_WITH
    wanted = json.loads(json.dumps(made_with))
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        other = [name for name in wanted if wanted[name] != before.get(name)]
        if other:
            raise DataError(
                f"the cache {folder} is stale: it was made with another {other[0].replace('_', ' ')}; delete it to "
                "make it again, or name another one with cache.folder"
            )
        return
    if any(folder.glob("*.parquet")):
        raise DataError(f"{folder} holds other files and is no cache: name another one with cache.folder")
    write_files({path: json.dumps(wanted, indent=1).encode()})


def _write(path: Path, rows: Sequence[Row]) -> None:
    from safetensors.torch import save

    table = pa.Table.from_pylist([dict(columns) for columns, _ in rows])
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    tensors = {
        f"{i}/{name}": one.contiguous() for i, (_, row) in enumerate(rows) for name, one in row.items()
    }
    # The table goes last: a shard counts when it has one.
    write_files(
        {path.with_suffix(".safetensors"): save(tensors), path.with_suffix(".parquet"): sink.getvalue()}
    )


def digest_of(module: Any) -> str:
    """Return a digest of a network's weights."""
    mix = blake2b(digest_size=16)
    for name, value in sorted(module.state_dict().items()):
        raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        mix.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        mix.update(raw.numpy())
    return mix.hexdigest()
