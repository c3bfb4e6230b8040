"""One part of a diffusers directory, read whole or refused with a sentence that says what is missing of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wordbrush.errors import ModelError, counted
from wordbrush.quiet import quiet

# Weights as diffusers and transformers name them: a variant such as fp16 comes before the number of the shard.
WEIGHTS = re.compile(r"(?:diffusion_pytorch_)?model(?:\.(\w+))?(?:-\d+-of-\d+)?\.safetensors")


def read_part(folder: Path, part: str, index: Mapping[str, Any], dtype: torch.dtype) -> Any:
    """Return a part of a pipeline, networks in ``dtype``.

    Args:
        folder: of the pipeline.
        part: its name in the pipeline, which is its folder in ``folder``.
        index: the content of ``model_index.json``.

    Raises:
        ModelError: it is missing, incomplete or unreadable, or its class is not one that is known.
    """
    match index.get(part):
        case [str(library), str(kind)]:
            pass
        case None | [None, None]:
            raise ModelError(f"{folder} is incomplete: it has no {part}")
        case other:
            raise ModelError(
                f"{folder / 'model_index.json'} describes the {part} as {other!r}, not as [library, class]"
            )
    if not (folder / part).is_dir():
        raise ModelError(f"{folder} is incomplete: it has no {part}")
    reader = _class(library, kind)
    if reader is None:
        raise ModelError(
            f"{folder / 'model_index.json'} describes the {part} as the class {kind!r} of {library!r}, which is none "
            "of the installed diffusers and transformers"
        )
    try:
        if issubclass(reader, nn.Module):
            return _read_weights(reader, folder / part, dtype)
        _check_files(reader, folder, part)
        return reader.from_pretrained(folder / part)
    except ModelError:
        raise
    except Exception as error:  # the libraries raise almost anything for an unreadable file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"the {part} of {folder} cannot be read: {_damage(folder / part) or reason}"
        ) from error


def _damage(folder: Path) -> str:
    """Return which file of weights is too short or has a broken header; nothing if none has."""
    from safetensors import SafetensorError, safe_open

    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt"):
                pass
        except SafetensorError:  # it compares the file's size with that in its header, too
            return f"{path.name} is truncated or damaged: get the file again"
    return ""


def _class(library: str, kind: str) -> Any:
    """Return a class that a part can be of, or None."""
    import diffusers
    import transformers

    if kind == "LDMBertModel":
        from diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion import LDMBertModel

        return LDMBertModel
    home = {"diffusers": diffusers, "transformers": transformers}.get(library)
    # Only the fast tokenizers know which characters a token covers.
    return getattr(home, f"{kind}Fast", None) or getattr(home, kind, None)


def _check_files(kind: Any, folder: Path, part: str) -> None:
    """Refuse a tokenizer without vocabulary, of which transformers makes one that knows no words, and the like."""
    names = getattr(kind, "vocab_files_names", None)
    if names is None:
        needed = getattr(kind, "config_name", None)
        if needed and not (folder / part / needed).is_file():
            raise ModelError(f"{folder} is incomplete: {part} has no {needed}")
        return
    known = {role: name for role, name in names.items() if role != "tokenizer_file"}
    present = {path.name for path in (folder / part).iterdir()}
    pieces = any(name.endswith(".model") for name in present)  # of sentencepiece, which transformers converts
    if "tokenizer.json" in present or pieces or (known and present.issuperset(known.values())):
        return
    ways = " or ".join(["tokenizer.json", *([" and ".join(known.values())] if known else [])])
    raise ModelError(
        f"{folder} is incomplete: {part} has no vocabulary, which is {ways}; get the folder again"
    )


def _read_weights(kind: Any, folder: Path, dtype: torch.dtype) -> nn.Module:
    """Read a network; weights only from safetensors, and all of them."""
    names = [path.name for path in folder.glob("*.safetensors")]
    if not names:
        others = sorted(path.name for path in folder.glob("*.bin"))
        pickled = f", only {others[0]}, which may run code" if others else ""
        raise ModelError(f"{folder} has no safetensors weights{pickled}")
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder.parent} is incomplete: {folder.name} has no config.json")
    precision = "dtype" if _class("transformers", "PreTrainedModel") in kind.__mro__ else "torch_dtype"
    with quiet():
        part, info = kind.from_pretrained(
            folder,
            use_safetensors=True,
            output_loading_info=True,
            variant=_variant(folder, names),
            **{precision: dtype},
        )
    if missing := sorted(info["missing_keys"]):
        raise ModelError(
            f"the weights in {folder} lack {counted(len(missing), 'tensor')}, first {missing[0]}"
        )
    return part


def _variant(folder: Path, names: list[str]) -> str | None:
    """Return the variant of the weights to read: the plain ones, which None is, or the only one that is there."""
    found = {match[1] for name in names if (match := WEIGHTS.fullmatch(name))}
    if None in found or not found:
        return None
    if len(found) > 1:
        raise ModelError(
            f"{folder} has its weights in the variants {' and '.join(sorted(found))} only: keep the files of one"
        )
    return found.pop()
