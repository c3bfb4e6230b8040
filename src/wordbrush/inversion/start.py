"""Where an inverted picture starts from when it is edited: kept in memory, or in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from wordbrush.checks import is_number, is_whole
from wordbrush.errors import InvalidInput
from wordbrush.files import write_files
from wordbrush.inversion.network import Network
from wordbrush.inversion.steps import BesideSteps, NoisedSteps, ReversibleSteps
from wordbrush.sampling import FLOW_SCHEDULERS, SCHEDULERS

if TYPE_CHECKING:
    from PIL.Image import Image

FORMAT = "wordbrush.start.1"


@dataclass(frozen=True, eq=False)
class Start:
    """The noise that a picture comes from under a prompt and fixed settings; ``wordbrush.edit`` takes it as source.

    Args:
        prompt: what the picture shows; the words to be edited must be in it.
        latents: (1, C, h, w), the inverted latent.
        steps: of the scheduler it was inverted with.
        guidance: the scale it is to be denoised with.
        scheduler: a name or an instance.
        negative: embeddings of the unconditional branch for every step, (1, tokens, channels) each; or a prompt; None
            for the empty prompt.
        path: (steps + 1 - skipped, C, h, w), from noise to clean: the latents that the source is held to, or None.
        noises: (steps - skipped, C, h, w), what every row gets added after each step of DDPM; with a momentum
            (1, C, h, w), after the first step only; or None.
        skipped: how many of the first steps are left out.
        beside: whether the targets move beside the path, as ``steps.BesideSteps`` says, instead of the source being
            held to it.
        source_guidance: the scale for the source, or None for the same as the targets'.
        network: what it was inverted with, or None if that is not known; edits by another are refused.
        momentum: of bidirectional integration (``steps.ReversibleSteps``), or None for DDIM's or DDPM's steps.
        method: what found it.
        forward_samples: the rows of all network calls that finding it took.
        picture: the picture as it was encoded, or None if only its latents were given.
        given_size: (height, width) of the picture as it was given.
        cropped: whether it was cut to the shape of ``picture``.
        notes: what else was done to it before it was encoded, in words.
    """

    prompt: str
    latents: Tensor
    steps: int
    guidance: float
    scheduler: object
    negative: Sequence[Tensor] | str | None = None
    path: Tensor | None = None
    noises: Tensor | None = None
    momentum: float | None = None
    method: str = "given"
    forward_samples: int = 0
    picture: Image | None = None
    given_size: tuple[int, int] | None = None
    cropped: bool = False
    notes: tuple[str, ...] = ()
    skipped: int = 0
    beside: bool = False
    source_guidance: float | None = None
    network: Network | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """How it was found, for the settings of an edit."""
        found: dict[str, Any] = {"method": self.method, "forward_samples": self.forward_samples}
        if self.beside or self.skipped or self.source_guidance is not None:
            found |= {"skipped": self.skipped, "source_guidance": self.source_guidance}
        return {**found, **({"picture": list(self.notes)} if self.notes else {})}

    @property
    def fixed(self) -> bool:
        """Whether it holds for its own steps and scheduler only."""
        return self.path is not None or (
            isinstance(self.negative, Sequence) and not isinstance(self.negative, str)
        )

    def stepping(self, scheduler: Any) -> Any:
        """Return the steps of the edit run, in the shape of a scheduler whose timesteps are set."""
        if self.beside:
            assert self.path is not None
            return BesideSteps(scheduler, self.path, self.skipped)
        if self.noises is None:
            return scheduler
        if self.momentum is None:
            return NoisedSteps(scheduler, self.noises, self.skipped)
        return ReversibleSteps(scheduler, self.momentum, self.noises)

    def save(self, path: str | Path) -> None:
        """Write it as one safetensors file; the settings are in the header. ``Start.load`` reads it.

        Raises:
            InvalidInput: the name does not end in ``.safetensors``.
            CannotWrite: the file cannot be written; what was there before is untouched.
        """
        from safetensors.torch import save

        place = Path(path)
        if place.suffix.lower() != ".safetensors":
            raise InvalidInput(f"an inverted picture is saved as .safetensors, not as {place.name!r}")
        tensors = {"latents": self.latents}
        for name, tensor in (("path", self.path), ("noises", self.noises)):
            if tensor is not None:
                tensors[name] = tensor
        fitted = self.negative is not None and not isinstance(self.negative, str)
        if fitted:
            tensors["negative"] = torch.cat(list(self.negative))  # pyright: ignore[reportArgumentType]
        if self.picture is not None:
            tensors["picture"] = torch.from_numpy(np.array(self.picture))
        if self.network is not None:
            tensors["weights"] = torch.tensor(self.network.weights)
        header = {
            "prompt": self.prompt,
            "steps": self.steps,
            "guidance": self.guidance,
            "scheduler": _described(self.scheduler),
            "negative": None if fitted else self.negative,
            "momentum": self.momentum,
            "method": self.method,
            "forward_samples": self.forward_samples,
            "given_size": self.given_size,
            "cropped": self.cropped,
            "notes": self.notes,
            "skipped": self.skipped,
            "beside": self.beside,
            "source_guidance": self.source_guidance,
            "network": self.network
            and {"model": self.network.model, "kind": self.network.kind, "dtype": self.network.dtype},
        }
        # Copies, since some may be views of others.
        plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        content = save(plain, {"format": FORMAT, "settings": json.dumps(header, ensure_ascii=False)})
        write_files({place: content})

    @classmethod
    def load(cls, path: str | Path) -> Start:
        """Read what ``save`` wrote, on the CPU; an edit takes it to the model's device and dtype.

        Raises:
            InvalidInput: there is no such file, or it is damaged or something else.
        """
        header, tensors = _read(Path(path))
        try:
            size = header.pop("given_size")
            picture = tensors.pop("picture", None)
            negative = tensors.pop("negative", None)
            weights, known = tensors.pop("weights", None), header.get("network") or {}
            start = cls(
                **{
                    **header,
                    **tensors,
                    "scheduler": _rebuilt(header["scheduler"]),
                    "negative": header["negative"] if negative is None else list(negative.split(1)),
                    "picture": None if picture is None else _image(picture),
                    "given_size": None if size is None else tuple(size),
                    "notes": tuple(header["notes"]),
                    "network": None if weights is None else Network(**known, weights=tuple(weights.tolist())),
                }
            )
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            reason = str(error).partition("\n")[0]
            raise InvalidInput(
                f"{path} is not an inverted picture of this version of wordbrush: {reason}"
            ) from error
        start._check(str(path))
        return start

    def _check(self, name: str) -> None:
        """Raise ``InvalidInput`` if settings or tensors are no numbers, or do not belong together."""
        whole = is_whole(self.steps) and is_whole(self.skipped) and 0 <= self.skipped < self.steps
        scales = (self.guidance, *(s for s in (self.momentum, self.source_guidance) if s is not None))
        if not whole or not all(map(is_number, scales)) or not isinstance(self.prompt, str):
            raise InvalidInput(f"{name} is damaged: its prompt or its numbers are none")
        shape = tuple(self.latents.shape[1:])
        made = self.steps - self.skipped
        noises = made if self.momentum is None else 1
        expected = {"path": (self.path, made + 1), "noises": (self.noises, noises)}
        for part, (tensor, count) in expected.items():
            if tensor is not None and tuple(tensor.shape) != (count, *shape):
                raise InvalidInput(f"{name} is damaged: its {part} has the shape {tuple(tensor.shape)}")
        if self.latents.ndim != 4 or len(self.latents) != 1:
            raise InvalidInput(f"{name} is damaged: its latents have the shape {tuple(self.latents.shape)}")
        fitted = [] if self.negative is None or isinstance(self.negative, str) else list(self.negative)
        for tensor in (self.latents, self.path, self.noises, *fitted):
            if tensor is not None and not torch.isfinite(tensor).all():
                raise InvalidInput(f"{name} is damaged: it holds NaN or infinite values")


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InvalidInput(f"there is no inverted picture {str(path)!r}: make one with wordbrush invert")
    try:
        with safe_open(path, framework="pt") as file:
            known = file.metadata() or {}
            if known.get("format") != FORMAT:
                raise InvalidInput(f"{path} is a safetensors file, but not an inverted picture")
            return json.loads(known["settings"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"{path} is not an inverted picture, or is damaged: {error}") from error


def _described(scheduler: object) -> str | dict[str, Any]:
    """Return a scheduler as JSON can hold it: its name, or its class and settings."""
    if isinstance(scheduler, str):
        return scheduler
    config: Mapping[str, Any] = scheduler.config  # pyright: ignore[reportAttributeAccessIssue]
    return {"class": type(scheduler).__name__, **{k: v for k, v in config.items() if not k.startswith("_")}}


def _rebuilt(described: str | dict[str, Any]) -> object:
    if isinstance(described, str):
        return described
    import diffusers

    kind = described.pop("class")
    known = (*SCHEDULERS.values(), *FLOW_SCHEDULERS.values())
    if kind not in {home.rpartition(".")[2] for home in known}:
        raise ValueError(f"it names the scheduler {kind!r}")
    return getattr(diffusers, kind)(**described)


def _image(pixels: Tensor) -> Image:
    from PIL import Image

    return Image.fromarray(pixels.numpy())
