"""Checkpoints in one ``.safetensors`` file, as Stable Diffusion 1 and 2 models are often passed around."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from wordbrush.errors import ModelError


def load_single_file(path: Path, *, dtype: torch.dtype, config: str | Path | None) -> dict[str, Any]:
    """Return the parts of a Stable Diffusion checkpoint.

    Such a file has no tokenizer and does not say how its layers are arranged; both come from ``config``, a diffusers
    directory or hub id of the same family. Without it they must be in the hub's cache already: nothing is downloaded.

    Raises:
        ModelError: the file or its configuration is missing, or it cannot be read.
    """
    if not path.is_file():
        raise ModelError(f"there is no file {path}")
    layout = _layout(config) if config is not None else None
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

    try:
        pipeline = StableDiffusionPipeline.from_single_file(
            str(path), config=layout, torch_dtype=dtype, local_files_only=True, use_safetensors=True
        )
    except Exception as error:  # the libraries raise almost anything for an unreadable file
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        hint = "" if config else "; it may need config=, a diffusers directory or hub id of the same family"
        raise ModelError(f"{path} cannot be read as a Stable Diffusion checkpoint: {reason}{hint}") from error
    return {
        part: getattr(pipeline, part) for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
    }


def _layout(config: str | Path) -> str:
    """Return a directory with the tokenizer and the configurations, without weights if it must be fetched."""
    if Path(config).is_dir():
        return str(config)
    from huggingface_hub import snapshot_download

    try:
        return snapshot_download(str(config), allow_patterns=["*.json", "*.txt"])
    except Exception as error:  # network, authentication and cache errors share no base class
        raise ModelError(
            f"the configuration {str(config)!r} is neither a directory nor on the hub"
        ) from error
