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


def config(model: Path, data: Path, /, **changes: Any) -> Config:
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
        "export": {"defaults": {"text_guidance": 6.0}},
    }
    for name, change in changes.items():
        values[name] = {**values.get(name, {}), **change} if isinstance(change, dict) else change
    return make_config(values, where="the test")


def train_in_child(
    model: Path, data: Path, out: Path, changes: dict[str, Any], most: int | None = None
) -> None:
    """Train as a process of its own; ``most`` limits the size of a file, as a full disk does.

    Ends with what the error said in ``OUT.error``.
    """
    import resource

    import torch

    from wordbrush.errors import WordbrushError
    from wordbrush.training.loop import train

    torch.set_num_threads(1)
    if most is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    try:
        train(config(model, data, **changes), out, device="cpu")
    except WordbrushError as error:
        out.with_suffix(".error").write_text(f"{type(error).__name__}: {error}")
