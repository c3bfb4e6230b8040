"""Models: the parts of a text-to-image pipeline, and loading them from where people have them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from wordbrush import autoencoders
from wordbrush.backbones.base import Backbone
from wordbrush.backbones.families import (
    EDITORS,
    EDITORS_XL,
    FAMILIES,
    SCALED_CONDITION,
    STABLE_DIFFUSION,
    Family,
    family_of,
)
from wordbrush.checks import check_count, is_number
from wordbrush.edits.plan import check_blocks
from wordbrush.errors import InvalidInput, ModelError, OtherKind, nearest
from wordbrush.offload import check_offload, take_turns
from wordbrush.parts import read_part
from wordbrush.sampling import check_steps, is_edm, is_flow, make_scheduler
from wordbrush.vocabulary import check_words

if TYPE_CHECKING:
    from PIL.Image import Image

WEIGHTS = Path(__file__).parent / "storybook" / "weights"
EMBEDDED = {"storybook": WEIGHTS / "text_to_image"}
EMBEDDED_EDITORS = {"storybook": WEIGHTS / "editor"}
DEFAULTS_FILE = "wordbrush.json"
# Weights that are on the hub beside the plain ones, and how their names end: whole, or in numbered shards.
VARIANTS = ("fp16", "non_ema")
ENDINGS = (".safetensors", "-*.safetensors")

# The parts that every pipeline has, by our names; the families add theirs.
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


@dataclass(frozen=True)
class Kind:
    """What a model is loaded as.

    Args:
        embedded: the names of those that come with wordbrush, and where they are.
        families: those that are taken.
        refusal: what is said of a pipeline of any other.
        instead: class name → what is said of some of those, in Python and on the command line.
    """

    embedded: Mapping[str, Path]
    families: tuple[Family, ...]
    refusal: str
    instead: Mapping[str, tuple[str, str]]


TEXT_TO_IMAGE = Kind(
    EMBEDDED,
    FAMILIES,
    "which cannot be edited by its words: load a text-to-image model of one of the families "
    + ", ".join(family.name for family in FAMILIES),
    dict.fromkeys(
        (*EDITORS.pipelines, *EDITORS_XL.pipelines),
        (
            "which cannot be edited by its words: it follows instructions; use load_editor",
            "which cannot be edited by its words: it follows instructions; use wordbrush instruct",
        ),
    ),
)
EDITOR = Kind(
    EMBEDDED_EDITORS,
    (EDITORS, EDITORS_XL),
    "which is no instruction editor: give a StableDiffusionInstructPix2PixPipeline or a "
    "StableDiffusionXLInstructPix2PixPipeline",
    dict.fromkeys(
        (pipeline for family in FAMILIES for pipeline in family.pipelines),
        (
            "a text-to-image model, which takes no instructions: use load, and edit its words",
            "a text-to-image model, which takes no instructions: use wordbrush edit",
        ),
    ),
)


@dataclass(frozen=True)
class Defaults:
    """What None means in ``generate`` and ``edit``; ``wordbrush.json`` beside ``model_index.json`` overrides it.

    Args:
        steps: of the scheduler.
        guidance: a scale of at least 1, or None for no guidance.
        scheduler: a name from the tables of ``wordbrush.sampling``; None for the model's own.
        until: the fraction of the run in which inferred edits use the source's maps.
        self_attention: the fraction of the run in which targets attend to themselves as the source does.
        blend: where the pictures may change.
        blocks: numbers of the transformer blocks in which attention is edited; None for all.
        renormalise: whether the maps of ``Reweight`` are renormalised.
        words: all that the model was shown in training, in small letters; others are warned of. None where that is not
            known.

    Raises:
        InvalidInput: one of them cannot be used as given.
    """

    steps: int = 50
    guidance: float | None = 7.5
    scheduler: str | None = "ddim"
    until: float = 0.8
    self_attention: float = 0.4
    blend: Literal["auto", "none"] = "none"
    blocks: Sequence[int] | None = None
    renormalise: bool = False
    words: Sequence[str] | None = None

    def __post_init__(self) -> None:
        check_count("steps", self.steps)
        if self.guidance is not None and (not is_number(self.guidance) or self.guidance < 1):
            raise InvalidInput(f"guidance is a number of at least 1, or none, not {self.guidance!r}")
        if self.scheduler is not None and not isinstance(self.scheduler, str):
            raise InvalidInput(f"scheduler is a name such as 'ddim', or none, not {self.scheduler!r}")
        for name in ("until", "self_attention"):
            if not is_number(value := getattr(self, name)) or not 0 <= value <= 1:
                raise InvalidInput(f"{name} is a fraction of the run within 0 and 1, not {value!r}")
        if self.blend not in ("auto", "none"):
            raise InvalidInput(f"blend is 'auto' or 'none', not {self.blend!r}")
        if not isinstance(self.renormalise, bool):
            raise InvalidInput(f"renormalise is true or false, not {self.renormalise!r}")
        if self.blocks is not None:
            check_blocks(self.blocks)
        check_words(self.words)

    @classmethod
    def read(cls, folder: Path, family: Mapping[str, Any], trained: Any) -> Defaults:
        """Read the defaults of a model directory, on top of those of its family.

        Args:
            trained: the model's own scheduler.

        Raises:
            ModelError: they cannot be read, or used.
        """
        given = read_defaults(folder, {one.name for one in fields(cls)})
        try:
            defaults = cls(**{**family, **given})
            if given.get("scheduler") or "steps" in given:
                check_steps(make_scheduler(defaults.scheduler or trained, trained), defaults.steps)
        except InvalidInput as error:
            raise ModelError(f"{folder / DEFAULTS_FILE}: {error}") from error
        return defaults


@dataclass(eq=False)
class Model:
    """The parts of a text-to-image pipeline, on one device and in one dtype, ready for inference.

    Args:
        name: what it was loaded as.
        unet: the denoising network: a ``UNet2DConditionModel``, or the transformer of newer families.
        vae: the autoencoder.
        text_encoder: the text network, the first one if there are several.
        tokenizer: its tokenizer, one that knows character offsets.
        scheduler: the model's own scheduler; named schedulers take its noise schedule over.
        defaults: the settings used where a caller gives None.
        family: what kind of model it is.
        more: further parts by their names in the pipeline, such as ``text_encoder_2``, and settings of it.
        place: the device that the parts take turns on (``wordbrush.offload``); None for the one they are on.
    """

    name: str
    unet: nn.Module
    vae: Any
    text_encoder: nn.Module
    tokenizer: Any
    scheduler: Any
    defaults: Defaults = Defaults()
    family: Family = STABLE_DIFFUSION
    more: Mapping[str, Any] = field(default_factory=dict)
    place: torch.device | None = None

    @cached_property
    def factor(self) -> int:
        """Pixels per latent pixel along each side."""
        return autoencoders.pixel_factor(self.vae)

    @property
    def backbone(self) -> Backbone:
        """The network as attention control sees it."""
        parts = {"text_encoder": self.text_encoder, "tokenizer": self.tokenizer, **self.more}
        return self.family.build(self.unet, parts, self.factor)

    @property
    def image_size(self) -> tuple[int, int]:
        """The (height, width) of the pictures the model was trained for."""
        height, width = self.backbone.native_latent_size
        return height * self.factor, width * self.factor

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self.place or next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What the network computes in."""
        return next(self.unet.parameters()).dtype

    @torch.no_grad()
    def encode(self, image: Image) -> Tensor:
        """Turn an RGB picture into clean (1, C, h, w) latents: the posterior's mean, scaled for the network."""
        return autoencoders.encode(self.vae, self._pixels(image)).to(self.dtype)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> list[Image]:
        """Turn clean (n, C, h, w) latents into pictures."""
        from PIL import Image

        images = [autoencoders.decode(self.vae, one[None])[0] for one in latents]
        levels = [((image.float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8) for image in images]
        return [Image.fromarray(level.permute(1, 2, 0).cpu().numpy()) for level in levels]

    @torch.no_grad()
    def condition(self, images: Sequence[Image]) -> Tensor:
        """Encode RGB pictures of one size as an instruction editor sees them, (n, C, h, w).

        That is the mode of the autoencoder's posterior, and it is not multiplied by the scaling factor that latents
        to be denoised have: so the published editors were trained. CosXL Edit was trained with the factor; diffusers
        calls that ``is_cosxl_edit``.
        """
        modes = torch.cat([self.vae.encode(self._pixels(image)).latent_dist.mode() for image in images])
        scale = self.vae.config.scaling_factor if self.more.get(SCALED_CONDITION) else 1
        return (modes * scale).to(self.dtype)

    def _pixels(self, image: Image) -> Tensor:
        """Return an RGB picture as (1, 3, H, W) in [-1, 1], in the autoencoder's precision."""
        # Always from float32, as published: autoencoders make thirty times as much of a rounding of pixels.
        pixels = torch.from_numpy(2 * np.asarray(image, dtype=np.float32) / 255 - 1)
        precision = next(self.vae.parameters()).dtype
        return pixels.permute(2, 0, 1).contiguous()[None].to(device=self.device, dtype=precision)


def load(
    name: str | Path,
    *,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    config: str | Path | None = None,
    offload: bool = False,
    averaged: bool = False,
) -> Model:
    """Load a model for editing.

    Args:
        name: ``"storybook"``; a diffusers directory; a single ``.safetensors`` file; or the id of a model on the
            Hugging Face hub, the only case in which anything is downloaded.
        dtype: float32 unless given; a torch dtype or its name.
        device: a GPU if there is one unless given.
        config: for a single file, the diffusers directory or hub id of a model of the same family, which has the
            tokenizer and the layout that such files lack.
        offload: keep on the device only the part that runs, and the others in main memory: text encoders, network and
            autoencoder take turns. It needs the memory of the largest of them, and the time to move them.
        averaged: for a single file, whether to take the averaged (EMA) weights that some have beside those last
            trained.

    Raises:
        ModelError: the model is missing, unreadable, incomplete, or not one whose words can be edited.
        InvalidInput: there is no such dtype or device, or nothing to be offloaded from.
    """
    parts, family, folder, place = load_parts(
        name, TEXT_TO_IMAGE, dtype=dtype, device=device, config=config, offload=offload, averaged=averaged
    )
    usual = family.defaults(parts["unet"])
    defaults = Defaults.read(folder, usual, parts["scheduler"]) if folder else Defaults(**usual)
    own = {part: parts.pop(part) for part in PARTS}
    model = Model(str(name), **own, defaults=defaults, family=family, more=parts, place=place)
    _check(model)
    return model


def load_parts(
    name: str | Path,
    kind: Kind,
    *,
    dtype: torch.dtype | str | None,
    device: torch.device | str | None,
    config: str | Path | None,
    offload: bool,
    averaged: bool | None,
) -> tuple[dict[str, Any], Family, Path | None, torch.device | None]:
    """Return the parts of a model, ready for inference, and what there is to know of them.

    That is their family, the folder they were read from if it is one, and the device they take turns on if they do.
    ``averaged`` chooses the weights of a single file (``load_single_file``); the rest is as in ``load``.

    Raises:
        ModelError: the model is missing, unreadable, incomplete, or of another kind.
        InvalidInput: there is no such dtype or device, or nothing to be offloaded from.
    """
    dtype, device = as_dtype(dtype), as_device(device)
    if offload:
        check_offload(device)
    path, folder = kind.embedded.get(str(name), Path(name)), None
    if path.suffix.lower() == ".safetensors":
        from wordbrush.single_file import load_single_file

        parts, family = load_single_file(
            path, dtype=dtype, config=config, families=kind.families, averaged=averaged
        )
    elif path.is_file():
        raise ModelError(
            f"{path} is a file that does not end in .safetensors, the only ones that are read as models: pickles, such "
            "as .ckpt, may run code"
        )
    else:
        folder = path if path.is_dir() else _download(str(name), kind.embedded)
        parts, family = _load_folder(folder, dtype, kind)
    modules = [part for part in parts.values() if isinstance(part, nn.Module)]
    for module in modules:
        module.eval().requires_grad_(False)
    if dtype == torch.float16 and parts["vae"].config.get("force_upcast"):
        parts["vae"].float()  # in half precision such autoencoders overflow to black pictures
    if offload:
        take_turns(modules, device)
    else:
        for module in modules:
            module.to(device)
    return parts, family, folder, device if offload else None


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
        there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        usable = " or ".join(repr(name) for name, present in there.items() if present)
        raise InvalidInput(f"there is no device {str(device)!r} on this machine: use {usable}") from error


def pipeline_class(folder: Path) -> str:
    """Return the class that a diffusers directory names. Raises ``ModelError`` if it is none."""
    kind = _read_index(folder).get("_class_name")
    if not isinstance(kind, str):
        raise ModelError(f"{folder / 'model_index.json'} names no pipeline: its _class_name is {kind!r}")
    return kind


def _load_folder(folder: Path, dtype: torch.dtype, wanted: Kind) -> tuple[dict[str, Any], Family]:
    kind = pipeline_class(folder)
    family = family_of(kind, wanted.families)
    if family is None:
        told, command = wanted.instead.get(kind, (wanted.refusal, wanted.refusal))
        raise OtherKind(f"{folder} is a {kind}, {told}", command=f"{folder} is a {kind}, {command}")
    index = _read_index(folder)
    names = {"unet": family.network, **family.pipelines[kind]}
    spared = family.spared(lambda part: index.get(part) in (None, [None, None]))
    parts: dict[str, Any] = dict.fromkeys(spared)
    for part in (*PARTS, *family.more):
        if part not in spared:
            parts[part] = read_part(folder, names.get(part, part), index, dtype)
    return {**parts, **settings_of(folder, family, parts["scheduler"])}, family


def settings_of(folder: Path, family: Family, scheduler: Any) -> dict[str, Any]:
    """Return the settings of a family that a diffusers directory has.

    Raises:
        ModelError: it does not say whether an editor of an EDM scheduler sees its picture's latents scaled.
    """
    index = _read_index(folder)
    found = {name: index[name] for name in family.settings if name in index}
    if SCALED_CONDITION in set(family.settings) - set(found) and is_edm(scheduler):
        raise ModelError(
            f"{folder} does not say whether its picture's latents are scaled, as CosXL Edit's are, which diffusers "
            f'does not save: write "{SCALED_CONDITION}": true, or false, into its model_index.json'
        )
    return found


def _read_index(folder: Path) -> dict[str, Any]:
    index_path = folder / "model_index.json"
    if not index_path.exists():
        raise ModelError(f"{folder} is not a diffusers model: it has no model_index.json")
    return _read_json(index_path)


def _download(name: str, embedded: Mapping[str, Path]) -> Path:
    """Fetch a model of the hub, or return its cached copy."""
    if name in embedded:
        raise ModelError(
            f"the weights of {name!r} are missing from this installation ({embedded[name]}): reinstall"
        )
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(
            f"there is no model at {name!r}: give a diffusers directory, a .safetensors file, a hub id such as "
            f"'owner/model', or {' or '.join(embedded)}{nearest(name, embedded)}"
        )
    from huggingface_hub import snapshot_download

    parts = _weighted_parts()
    plain = ["*.json", "*.txt", "*.model", "*.jinja", *(f"{part}/*.safetensors" for part in parts)]
    unwanted = [*(f"*.{variant}{rest}" for variant in VARIANTS for rest in ENDINGS), "safety_checker/*"]
    try:
        folder = Path(snapshot_download(name, allow_patterns=plain, ignore_patterns=unwanted))
        if bare := [part for part in parts if _is_bare(folder / part)]:
            halves = [f"{part}/*.fp16{rest}" for part in bare for rest in ENDINGS]
            folder = Path(snapshot_download(name, allow_patterns=halves))
        return folder
    except Exception as error:  # network, authentication and cache errors share no base class
        if type(error).__name__ == "GatedRepoError":
            raise ModelError(
                f"{name!r} is gated: accept its licence on its page of the hub, and log in with 'hf auth login'"
            ) from error
        raise ModelError(
            f"{name!r} is not a local directory and could not be fetched from the hub ({type(error).__name__}): "
            "check the spelling and the network"
        ) from error


def _is_bare(folder: Path) -> bool:
    """Tell whether a part was fetched without weights, as those that are on the hub in half precision only are."""
    return (folder / "config.json").is_file() and not any(folder.glob("*.safetensors"))


def _weighted_parts() -> Sequence[str]:
    renamed = {name for family in FAMILIES for names in family.pipelines.values() for name in names.values()}
    encoders = {name for family in FAMILIES for name in family.encoders}
    return ("vae", *sorted({family.network for family in FAMILIES} | encoders | renamed))


def _check(model: Model) -> None:
    """Refuse networks that are not text-to-image, and schedulers that cannot sample them."""
    if model.family.straight and not is_flow(model.scheduler):
        raise ModelError(
            f"{model.name} has a {type(model.scheduler).__name__}, and models of {model.family.name} were trained on "
            "straight paths: its scheduler is to be a FlowMatchEulerDiscreteScheduler"
        )
    taken, made = model.backbone.latent_channels, autoencoders.channels(model.vae)
    if taken != made:
        told = (
            f"{model.name} has a network of {taken} input channels where its autoencoder makes {made}, so it is not a "
            "text-to-image model but"
        )
        if taken != 2 * made:
            raise OtherKind(f"{told} an inpainting model or the like")
        told = f"{told} an instruction editor: use"
        raise OtherKind(f"{told} load_editor", command=f"{told} wordbrush instruct")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ModelError(
            f"{path} cannot be read: it is to hold an object, {{…}}, and holds a {type(values).__name__}"
        )
    return values
