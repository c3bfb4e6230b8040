"""A tiny training: pairs on disk, and settings that take a fraction of a second a step."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edit_data import edit
from wordbrush.dataset import formats
from wordbrush.dataset.formats import EditPair
from wordbrush.training.config import Config, make_config

SIZE = 32


def write_data(folder: Path, pairs: Iterable[EditPair] | None = None) -> Path:
    """Write pairs in diffusers' columns, a dozen by default, and return the folder."""
    short = (edit(number, instruction=f"make it {number}") for number in range(12))
    formats.write("diffusers", pairs if pairs is not None else short, folder)
    return folder


def config(model: Path, data: Path, **changes: Any) -> Config:
    """Settings of a training of six steps of four pairs; ``changes`` are sections, or settings of none."""
    values: dict[str, Any] = {
        "seed": 3,
        "steps": 6,
        "model": {"base": str(model)},
        "data": {"source": str(data), "format": "diffusers", "size": SIZE, "fit": "squash"},
        "batch": {"size": 4},
        "optimizer": {"rate": 1e-3},
        "speed": {"workers": 0},
        "save": {"every": 2, "log_every": 1},
    }
    for name, change in changes.items():
        values[name] = {**values.get(name, {}), **change} if isinstance(change, dict) else change
    return make_config(values, where="the test")
