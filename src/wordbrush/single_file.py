"""Checkpoints in one ``.safetensors`` file, as Stable Diffusion 1, 2 and XL models are often passed around."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from wordbrush.backbones.families import Family, family_of
from wordbrush.errors import ModelError, OtherKind, counted
from wordbrush.models import pipeline_class, settings_of
from wordbrush.quiet import quiet

NETWORK = "model.diffusion_model."
AVERAGES = "model_ema."


def load_single_file(
    path: Path,
    *,
    dtype: torch.dtype,
    config: str | Path | None,
    families: Sequence[Family],
    averaged: bool | None,
) -> tuple[dict[str, Any], Family]:
    """Return the parts of a Stable Diffusion checkpoint, and its family.

    Such a file has no tokenizer and does not say how its layers are arranged. Both come from ``config``, a diffusers
    directory or hub id of the same family; without it, from the hub's cache on this machine: nothing is downloaded.

    Args:
        families: those it may be of.
        averaged: whether to take the network's averaged (EMA) weights, which some files have beside those last
            trained; None for the averaged ones if there are any.

    Raises:
        ModelError: the file or its configuration is missing, it cannot be read, or lacks the averaged weights.
    """
    if not path.is_file():
        raise ModelError(f"there is no file {path}")
    network = _averaged_weights(path) if averaged is not False else {}
    if averaged and not network:
        raise ModelError(
            f"{path} has no averaged (EMA) weights, only those last trained: leave averaged out to use these"
        )
    layout = str(config) if config is not None and Path(config).is_dir() else _fetch(path, config)
    kind = pipeline_class(Path(layout))
    family = family_of(kind, families)
    if family is None or family.network != "unet":
        taken = " or ".join(one.name for one in families if one.network == "unet")
        raise OtherKind(
            f"{path} would be a {kind} by its configuration: single files are read for {taken}, so give the diffusers "
            "directory of such a model as config"
        )
    import diffusers

    settings: dict[str, Any] = {"config": layout, "torch_dtype": dtype, "local_files_only": True}
    try:
        with quiet(), _in_lower_case(path) as file:
            given = {}
            if network:
                from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

                weights: Any = network  # a dictionary is taken too, though not declared
                given["unet"] = UNet2DConditionModel.from_single_file(weights, subfolder="unet", **settings)
            pipeline = getattr(diffusers, kind).from_single_file(
                file, use_safetensors=True, **settings, **given
            )
    except Exception as error:  # the libraries raise almost anything for an unreadable file
        raise ModelError(_unreadable(path, error)) from error
    names = ("unet", "vae", "text_encoder", "tokenizer", "scheduler", *family.more)
    parts = {part: getattr(pipeline, part) for part in names}
    return {**parts, **settings_of(Path(layout), family, parts["scheduler"])}, family


@contextmanager
def _in_lower_case(path: Path) -> Iterator[str]:
    """Lend a name of the file that ends in ``.safetensors``: what ends otherwise, diffusers takes for a pickle."""
    if path.suffix == ".safetensors":
        yield str(path)
        return
    with TemporaryDirectory() as folder:
        link = Path(folder) / "model.safetensors"
        link.symlink_to(path.resolve())
        yield str(link)


def _averaged_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return the network's averaged weights under the names of the others; empty if the file has none.

    Averages lie under the name of the tensor without its dots: ``model_ema.diffusion_modelout2weight``.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            kept = set(file.keys())
            names = [name for name in kept if name.startswith(NETWORK)]
            averages = {name: AVERAGES + name.removeprefix("model.").replace(".", "") for name in names}
            present = kept.intersection(averages.values())
            if not present:
                return {}
            if missing := sorted(set(averages.values()) - present):
                raise ModelError(
                    f"the averaged weights in {path} lack {counted(len(missing), 'tensor')}, first {missing[0]}"
                )
            return {name: file.get_tensor(average) for name, average in averages.items()}
    except (SafetensorError, OSError) as error:
        raise ModelError(_unreadable(path, error)) from error


def _fetch(path: Path, config: str | Path | None) -> str:
    """Return a directory with tokenizer and configurations from the hub, or from its cache if none was named."""
    from huggingface_hub import snapshot_download

    family = str(config) if config is not None else _family(path)
    try:
        return snapshot_download(family, allow_patterns=["*.json", "*.txt"], local_files_only=config is None)
    except Exception as error:  # network, authentication and cache errors share no base class
        if config is None:
            raise ModelError(
                f"{path} has neither tokenizer nor layout, and those of {family} are not on this machine: give "
                f"config=, a diffusers directory of the same family, or {family!r} to download them"
            ) from error
        raise ModelError(f"the configuration {family!r} is neither a directory nor on the hub") from error


def _family(path: Path) -> str:
    """Return the hub id of the model that a checkpoint is a variant of."""
    from diffusers.loaders.single_file_utils import fetch_diffusers_config
    from safetensors.torch import load_file

    try:
        return fetch_diffusers_config(load_file(path))["pretrained_model_name_or_path"]
    except Exception as error:  # as above
        raise ModelError(_unreadable(path, error)) from error


def _unreadable(path: Path, error: Exception) -> str:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return f"{path} cannot be read as a Stable Diffusion checkpoint: {reason}"
