"""``wordbrush models``: what ``--model`` accepts and what of it is on this machine."""

from __future__ import annotations

import json as json_module
import math
import os
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wordbrush.cli import options
from wordbrush.cli.console import out, print_json, table

ACCEPTS = {
    "storybook": "the picture-book model that comes with wordbrush",
    "path/to/folder": "a diffusers folder (with model_index.json)",
    "owner/name": "a model of the Hugging Face hub, downloaded when it is first used",
    "path/to/file.safetensors": "a single file in the original layout of Stable Diffusion 1, 2 or XL",
}


@dataclass(frozen=True)
class Installed:
    """A model on this machine; every fact is read from its files, ``licence`` from the head of its card."""

    name: str
    kind: str
    path: str
    megabytes: float
    parameters: int
    pixels: int | None
    licence: str | None


def models(json: options.Json = False) -> None:
    """List what --model accepts and which models are installed."""
    found = list(installed())
    if json:
        print_json({"accepts": ACCEPTS, "installed": [asdict(one) for one in found]})
        return
    accepted = table("--model", "is", title="Accepted")
    for name, meaning in ACCEPTS.items():
        accepted.add_row(name, meaning)
    out.print(accepted, "")
    listed = table("name", "class", "pixels", "parameters", "MB", "licence", title="Installed")
    for one in found:
        pixels = f"{one.pixels}²" if one.pixels else "–"
        listed.add_row(
            one.name,
            one.kind,
            pixels,
            f"{one.parameters / 1e6:.1f} M",
            f"{one.megabytes:.1f}",
            one.licence or "–",
        )
    out.print(listed if found else "Installed: none")


def installed() -> Iterator[Installed]:
    """Yield storybook's models, then the diffusers models in the hub's cache."""
    weights = Path(__file__).parents[1] / "storybook" / "weights"
    for folder in sorted(weights.glob("*/")):
        name = "storybook" if folder.name == "text_to_image" else f"storybook/{folder.name}"
        if described := describe(name, folder, kind="Judges" if folder.name == "judge" else None):
            yield described
    for folder in sorted(hub_cache().glob("models--*--*")):
        revision = folder / "refs" / "main"
        if revision.is_file():
            name = folder.name.removeprefix("models--").replace("--", "/", 1)
            described = describe(name, folder / "snapshots" / revision.read_text().strip())
            if described and described.kind.endswith("Pipeline"):
                yield described


def hub_cache() -> Path:
    """Return the folder in which huggingface_hub keeps downloads, by its own environment variables."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def describe(name: str, folder: Path, *, kind: str | None = None) -> Installed | None:
    """Read the facts of one model folder; None if it holds no model or its files cannot be read.

    Args:
        kind: its class, where no file of it says so.
    """
    shards = sorted(folder.rglob("*.safetensors"))
    index, config = _read(folder / "model_index.json"), _read(folder / "config.json")
    kind = (
        kind
        or index.get("_class_name")
        or config.get("_class_name")
        or (config.get("architectures") or [None])[0]
    )
    if not shards or not kind:
        return None
    try:
        parameters = sum(count_parameters(shard) for shard in shards)
    except (OSError, ValueError, struct.error):
        return None
    return Installed(
        name=name,
        kind=kind,
        path=str(folder),
        megabytes=sum(shard.stat().st_size for shard in shards) / 1e6,
        parameters=parameters,
        pixels=native_pixels(folder),
        licence=card_licence(folder / "README.md"),
    )


def count_parameters(file: Path) -> int:
    """Count the numbers in a safetensors file from its header, without reading the tensors."""
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        header = json_module.loads(opened.read(length))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def native_pixels(folder: Path) -> int | None:
    """Return the side of the pictures that a pipeline was trained on: latent side × reduction of the autoencoder."""
    network = _read(folder / "unet" / "config.json") or _read(folder / "transformer" / "config.json")
    side = network.get("sample_size")
    levels = _read(folder / "vae" / "config.json").get("block_out_channels")
    return side * 2 ** (len(levels) - 1) if isinstance(side, int) and levels else None


def card_licence(card: Path) -> str | None:
    """Return the ``license:`` line at the head of a model card."""
    if not card.is_file():
        return None
    for line in card.read_text(encoding="utf-8").splitlines()[:40]:
        if line.startswith("license:"):
            return line.removeprefix("license:").strip() or None
    return None


def _read(file: Path) -> dict[str, Any]:
    try:
        return json_module.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
