"""Data sets that Hugging Face ``datasets`` reads, of the hub or on this disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wordbrush.errors import DataError
from wordbrush.optional import optional

HUB = "hf:"
"""What a name of the hub begins with, as in ``"hf:owner/name"``: the only case in which anything is downloaded."""


def load_rows(name: str, split: str) -> Any:
    """Return a split as a ``datasets.Dataset``.

    Args:
        name: ``"hf:owner/name"``, or a folder or file.

    Raises:
        InvalidInput: the package is not installed.
        DataError: there is no such data set or split, or it cannot be read.
    """
    datasets = optional("datasets", extra="hub", why=f"reading {name}")
    hub, path = name.startswith(HUB), Path(name)
    try:
        if hub:
            return datasets.load_dataset(name.removeprefix(HUB), split=split)
        if (path / "state.json").exists() or (path / "dataset_dict.json").exists():
            saved = datasets.load_from_disk(str(path))
            return saved[split] if isinstance(saved, Mapping) else saved
        if path.is_dir():
            return datasets.load_dataset(str(path), split=split)
        kind = path.suffix.removeprefix(".")
        return datasets.load_dataset(kind, data_files={split: str(path)}, split=split)
    except Exception as error:  # the library raises almost anything for what it cannot read
        hint = ": check the spelling and the network" if hub else ""
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise DataError(
            f"{name} cannot be read as a data set with a split {split!r}{hint} ({reason})"
        ) from error
