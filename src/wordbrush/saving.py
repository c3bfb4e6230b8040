"""Pipelines on disk in the form that published checkpoints have, which every version of the libraries reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wordbrush.quiet import quiet


def save_pipeline(pipeline: Any, folder: Path) -> None:
    """Write a diffusers pipeline: safetensors, prefixed text keys, and the vocabulary also as files of its own."""
    with quiet():
        pipeline.save_pretrained(folder, safe_serialization=True)
    prefix_text_keys(folder / "text_encoder" / "model.safetensors")
    for tokenizer in folder.glob("tokenizer*"):
        _write_vocabulary(tokenizer)
    for path in folder.rglob("*.json"):
        _forget_origin(path)


def prefix_text_keys(path: Path) -> None:
    """Name the weights ``text_model.…``, as every published checkpoint does; transformers 5 reads both forms."""
    from safetensors.torch import load_file, save_file

    weights = load_file(path)
    kept = ("text_model.", "text_projection.")
    renamed = {k if k.startswith(kept) else f"text_model.{k}": v for k, v in weights.items()}
    save_file(renamed, path, {"format": "pt"})


def _forget_origin(path: Path) -> None:
    """Take out the folder that a part was loaded from, which diffusers writes into its configuration."""
    values = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(values, dict) and values.pop("_name_or_path", None) is not None:
        path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _write_vocabulary(folder: Path) -> None:
    """Add ``vocab.json`` and ``merges.txt``, which transformers 5 leaves out and older versions need."""
    source = folder / "tokenizer.json"
    if (folder / "vocab.json").exists() or not source.exists():
        return
    model = json.loads(source.read_text(encoding="utf-8"))["model"]
    if model.get("type") != "BPE":
        return
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
