"""Models: the parts of a text-to-image pipeline, and loading them from where people have them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from wordbrush.backbones.base import Backbone
from wordbrush.backbones.unet import UNetBackbone
from wordbrush.errors import InvalidInput, ModelError, nearest
from wordbrush.quiet import quiet

if TYPE_CHECKING:
    from PIL.Image import Image

WEIGHTS = Path(__file__).parent / "storybook" / "weights"
EMBEDDED = {"storybook": WEIGHTS / "text_to_image"}
EMBEDDED_EDITORS = {"storybook": WEIGHTS / "editor"}
DEFAULTS_FILE = "wordbrush.json"

# Pipelines that can be edited, and the names of our parts in theirs.
PIPELINES: dict[str, dict[str, str]] = {
    "StableDiffusionPipeline": {},
    "StableDiffusionImg2ImgPipeline": {},
    "LDMTextToImagePipeline": {"vae": "vqvae", "text_encoder": "bert"},
}
EDITORS: dict[str, dict[str, str]] = {"StableDiffusionInstructPix2PixPipeline": {}}
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


@dataclass(frozen=True)
class Kind:
    """What a model is loaded as.

    Args:
        embedded: the names of those that come with wordbrush, and where they are.
        pipelines: class names of diffusers pipelines, and the names of our parts in them.
        single_file: the one of them that reads single files.
        refusal: what is said of any other pipeline.
        instead: class name → what is said of some of those.
    """

    embedded: Mapping[str, Path]
    pipelines: Mapping[str, Mapping[str, str]]
    single_file: str
    refusal: str
    instead: Mapping[str, str]


TEXT_TO_IMAGE = Kind(
    EMBEDDED,
    PIPELINES,
    "StableDiffusionPipeline",
    "which cannot be edited by its words: load a text-to-image model such as a StableDiffusionPipeline",
    dict.fromkeys(EDITORS, "which cannot be edited by its words: it follows instructions; use load_editor"),
)
EDITOR = Kind(
    EMBEDDED_EDITORS,
    EDITORS,
    "StableDiffusionInstructPix2PixPipeline",
    "which is no instruction editor: give a StableDiffusionInstructPix2PixPipeline",
    {
        **dict.fromkeys(
            PIPELINES, "a text-to-image model, which takes no instructions: use load, and edit its words"
        ),
        "StableDiffusionXLInstructPix2PixPipeline": "which has two text encoders: only editors with one, in the "
        "manner of Stable Diffusion 1 and 2, can be used here",
    },
)


@dataclass(frozen=True)
class Defaults:
    """What None means in ``generate`` and ``edit``; ``wordbrush.json`` beside ``model_index.json`` overrides it."""

    steps: int = 50
    guidance: float = 7.5
    scheduler: str = "ddim"
    until: float = 0.8
    self_attention: float = 0.4
    blend: Literal["auto", "none"] = "none"

    @classmethod
    def read(cls, folder: Path) -> Defaults:
        """Read the defaults of a model directory."""
        given = read_defaults(folder, {field.name for field in fields(cls)})
        if given.get("blend", "none") not in ("auto", "none"):
            raise ModelError(
                f"{folder / DEFAULTS_FILE} sets blend to {given['blend']!r}; it is 'auto' or 'none'"
            )
        return cls(**given)


@dataclass(eq=False)
class Model:
    """The parts of a text-to-image pipeline, on one device and in one dtype, ready for inference.

    Args:
        name: what it was loaded as.
        unet: the denoising network, a ``UNet2DConditionModel``.
        vae: the autoencoder.
        text_encoder: the text network.
        tokenizer: its tokenizer, one that knows character offsets.
        scheduler: the model's own scheduler; named schedulers take its noise schedule over.
        defaults: the settings used where a caller gives None.
    """

    name: str
    unet: nn.Module
    vae: Any
    text_encoder: nn.Module
    tokenizer: Any
    scheduler: Any
    defaults: Defaults = Defaults()

    @cached_property
    def factor(self) -> int:
        """Pixels per latent pixel along each side."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def backbone(self) -> Backbone:
        """The network as attention control sees it."""
        return UNetBackbone(self.unet, self.text_encoder, self.tokenizer)

    @property
    def image_size(self) -> tuple[int, int]:
        """The (height, width) of the pictures the model was trained for."""
        height, width = self.backbone.native_latent_size
        return height * self.factor, width * self.factor

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What the network computes in."""
        return next(self.unet.parameters()).dtype

    @torch.no_grad()
    def decode(self, latents: Tensor) -> list[Image]:
        """Turn clean (n, C, h, w) latents into pictures."""
        from PIL import Image

        images = [self.vae.decode(one[None] / self.vae.config.scaling_factor).sample[0] for one in latents]
        levels = [((image.float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8) for image in images]
        return [Image.fromarray(level.permute(1, 2, 0).cpu().numpy()) for level in levels]

    @torch.no_grad()
    def condition(self, images: Sequence[Image]) -> Tensor:
        """Encode RGB pictures of one size as an instruction editor sees them, (n, C, h, w).

        That is the mode of the autoencoder's posterior, and it is not multiplied by the scaling factor that latents
        to be denoised have: so the published editors were trained.
        """
        # Always from float32, as published: autoencoders make thirty times as much of a rounding of pixels.
        pixels = [torch.from_numpy(2 * np.asarray(image, dtype=np.float32) / 255 - 1) for image in images]
        inputs = [
            one.permute(2, 0, 1).contiguous()[None].to(device=self.device, dtype=self.dtype) for one in pixels
        ]
        return torch.cat([self.vae.encode(one).latent_dist.mode() for one in inputs])


def load(
    name: str | Path,
    *,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    config: str | Path | None = None,
) -> Model:
    """Load a model for editing.

    Args:
        name: ``"storybook"``; a diffusers directory; a single ``.safetensors`` file; or the id of a model on the
            Hugging Face hub, the only case in which anything is downloaded.
        dtype: float32 unless given; a torch dtype or its name.
        device: a GPU if there is one unless given.
        config: for a single file, the diffusers directory or hub id of a model of the same family, which has the
            tokenizer and the layout that such files lack.

    Raises:
        ModelError: the model is missing, unreadable, incomplete, or not one whose words can be edited.
        InvalidInput: there is no such dtype or device.
    """
    parts, folder = load_parts(name, TEXT_TO_IMAGE, dtype=dtype, device=device, config=config, averaged=False)
    model = Model(str(name), **parts, defaults=Defaults.read(folder) if folder else Defaults())
    _check(model)
    return model


def load_parts(
    name: str | Path,
    kind: Kind,
    *,
    dtype: torch.dtype | str | None,
    device: torch.device | str | None,
    config: str | Path | None,
    averaged: bool | None,
) -> tuple[dict[str, Any], Path | None]:
    """Return the parts of a model, ready for inference, and the folder they were read from if it is one.

    ``averaged`` chooses the weights of a single file (``load_single_file``); the rest is as in ``load``.

    Raises:
        ModelError: the model is missing, unreadable, incomplete, or of another kind.
        InvalidInput: there is no such dtype or device.
    """
    dtype, device = as_dtype(dtype), as_device(device)
    path, folder = kind.embedded.get(str(name), Path(name)), None
    if path.suffix == ".safetensors":
        from wordbrush.single_file import load_single_file

        parts = load_single_file(path, dtype=dtype, config=config, kind=kind.single_file, averaged=averaged)
    else:
        folder = path if path.is_dir() else _download(str(name), kind.embedded)
        parts = _load_folder(folder, dtype, kind)
    for part in ("unet", "vae", "text_encoder"):
        parts[part].to(device=device).eval().requires_grad_(False)
    return parts, folder


def read_defaults(folder: Path, known: Collection[str]) -> dict[str, Any]:
    """Return what a model directory's ``wordbrush.json`` sets, empty if there is none.

    Raises:
        ModelError: it cannot be read, or sets something that is not ``known``.
    """
    path = folder / DEFAULTS_FILE
    if not path.exists():
        return {}
    given = _read_json(path)
    for name in given:
        if name not in known:
            raise ModelError(f"{path} sets {name!r}, which is not a setting{nearest(name, known)}")
    return given


def as_dtype(dtype: torch.dtype | str | None) -> torch.dtype:
    """Return a dtype given by itself or by name; float32 for None. Raises ``InvalidInput`` if there is no such."""
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype or torch.float32
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise InvalidInput(f"{dtype!r} is no dtype to compute in: use float32, float16, bfloat16 or float64")
    return found


def as_device(device: torch.device | str | None) -> torch.device:
    """Return a device that is there; for None a GPU if there is one. Raises ``InvalidInput`` if it is not."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # what torch raises for an unknown or absent device
        raise InvalidInput(
            f"there is no device {str(device)!r} on this machine: use 'cpu' or 'cuda'"
        ) from error


def _load_folder(folder: Path, dtype: torch.dtype, wanted: Kind) -> dict[str, Any]:
    index_path = folder / "model_index.json"
    if not index_path.exists():
        raise ModelError(f"{folder} is not a diffusers model: it has no model_index.json")
    index = _read_json(index_path)
    kind = index.get("_class_name", "")
    if kind not in wanted.pipelines:
        raise ModelError(f"{folder} is a {kind}, {wanted.instead.get(kind, wanted.refusal)}")
    return {part: _load_part(folder, wanted.pipelines[kind].get(part, part), index, dtype) for part in PARTS}


def _load_part(folder: Path, part: str, index: Mapping[str, Any], dtype: torch.dtype) -> Any:
    library, kind = index.get(part) or ("", "")
    if not kind or not (folder / part).is_dir():
        raise ModelError(f"{folder} is incomplete: it has no {part}")
    try:
        reader = _class(library, kind)
        if issubclass(reader, nn.Module):
            return _read_weights(reader, folder / part, dtype)
        return reader.from_pretrained(folder / part)
    except ModelError:
        raise
    except Exception as error:  # the libraries raise almost anything for an unreadable file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"the {part} of {folder} cannot be read: {reason}") from error


def _class(library: str, kind: str) -> Any:
    import diffusers
    import transformers

    if kind == "LDMBertModel":
        from diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion import LDMBertModel

        return LDMBertModel
    return getattr({"diffusers": diffusers, "transformers": transformers}[library], kind)


def _read_weights(kind: Any, folder: Path, dtype: torch.dtype) -> nn.Module:
    """Read a network; weights only from safetensors, and all of them."""
    if not any(folder.glob("*.safetensors")):
        others = sorted(path.name for path in folder.glob("*.bin"))
        pickled = f", only {others[0]}, which may run code" if others else ""
        raise ModelError(f"{folder} has no safetensors weights{pickled}")
    precision = "dtype" if _class("transformers", "PreTrainedModel") in kind.__mro__ else "torch_dtype"
    with quiet():
        part, info = kind.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, **{precision: dtype}
        )
    if missing := sorted(info["missing_keys"]):
        raise ModelError(f"the weights in {folder} lack {len(missing)} tensors, first {missing[0]}")
    return part


def _download(name: str, embedded: Mapping[str, Path]) -> Path:
    """Fetch a model of the hub, or return its cached copy."""
    if name in embedded:
        raise ModelError(
            f"the weights of {name!r} are missing from this installation ({embedded[name]}): reinstall"
        )
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(
            f"there is no model at {name!r}: give a diffusers directory, a .safetensors file, a hub id such as "
            f"'owner/model', or one of {', '.join(embedded)}{nearest(name, embedded)}"
        )
    from huggingface_hub import snapshot_download

    wanted = ["*.json", "*.txt", "*.model", *(f"{part}/*.safetensors" for part in _weighted_parts())]
    unwanted = ["*.fp16.safetensors", "*.non_ema.safetensors", "safety_checker/*"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted, ignore_patterns=unwanted))
    except Exception as error:  # network, authentication and cache errors share no base class
        raise ModelError(
            f"{name!r} is not a local directory and could not be fetched from the hub ({type(error).__name__}): "
            "check the spelling and the network"
        ) from error


def _weighted_parts() -> Sequence[str]:
    renamed = (name for names in PIPELINES.values() for name in names.values())
    return ("unet", "vae", "text_encoder", *renamed)


def _check(model: Model) -> None:
    """Refuse networks that are not text-to-image."""
    taken, made = model.backbone.latent_channels, model.vae.config.latent_channels
    if taken != made:
        what = (
            "an instruction editor: use load_editor"
            if taken == 2 * made
            else "an inpainting model or the like"
        )
        raise ModelError(
            f"{model.name} has a network of {taken} input channels where its autoencoder makes {made}, so it is not a "
            f"text-to-image model but {what}"
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
