"""CLIP similarities (Radford et al. 2021, arXiv:2103.00020), as InstructPix2Pix filters and measures with them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wordbrush.errors import ModelError, PromptTooLong

if TYPE_CHECKING:
    from PIL.Image import Image

EMBEDDED = {"storybook": Path(__file__).parents[1] / "storybook" / "weights" / "contrastive"}


@dataclass(frozen=True)
class PairScores:
    """Cosines in [-1, 1] of n pairs, (n,) each (arXiv:2211.09800, section 3.1.2).

    Args:
        image: between the two pictures.
        before, after: between each picture and its caption.
        direction: between the change of the pictures and the change of the captions (Gal et al. 2021,
            arXiv:2108.00946), of embeddings of length one.
    """

    image: np.ndarray
    before: np.ndarray
    after: np.ndarray
    direction: np.ndarray


class Clip:
    """A ``CLIPModel`` with its tokenizer, which embeds pictures and captions as vectors of length one.

    Pictures are put straight to the model's size, bicubic without antialiasing and without a crop, as the published
    filter does.

    Args:
        name: what it was loaded as.
        model: the ``transformers.CLIPModel``.
        tokenizer: its tokenizer.
        mean, std: of the pixels in [0, 1] that the model was trained on, three each.
    """

    def __init__(
        self, name: str, model: Any, tokenizer: Any, *, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        self.name = name
        self.model = model
        self.tokenizer = tokenizer
        self.size: int = model.config.vision_config.image_size
        self.text_length: int = model.config.text_config.max_position_embeddings
        self._mean = torch.tensor(mean, device=model.device).view(1, 3, 1, 1)
        self._std = torch.tensor(std, device=model.device).view(1, 3, 1, 1)

    @torch.no_grad()
    def images(self, images: Sequence[Image]) -> Tensor:
        """Embed pictures, (n, channels), float32 on the CPU."""
        return self.embed(torch.cat([self._pixels(image) for image in images])).cpu()

    def embed(self, pixels: Tensor) -> Tensor:
        """Embed pixels in [0, 1], (n, 3, size, size) of the model's size: (n, channels), with gradients."""
        return self.project(self.look(pixels).pooler_output)

    def look(self, pixels: Tensor, *, tokens: bool = False, attentions: bool = False) -> Any:
        """Return what the vision transformer makes of pixels, as ``embed`` takes them, with gradients.

        Args:
            tokens: whether to keep the ``hidden_states`` before and after every layer, (n, tokens, width) each.
            attentions: whether to keep the ``attentions`` of every layer, (n, heads, tokens, tokens) each.
        """
        pixels = (pixels - self._mean) / self._std
        return self.model.vision_model(
            pixel_values=pixels.to(self.model.dtype),
            output_hidden_states=tokens,
            output_attentions=attentions,
        )

    def project(self, pooled: Tensor) -> Tensor:
        """Return the embeddings of pooled tokens, float32 of length one."""
        return F.normalize(self.model.visual_projection(pooled).float(), dim=-1)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Embed captions, (n, channels), float32 on the CPU.

        Raises:
            PromptTooLong: a caption does not fit the model; nothing is cut off.
        """
        encoded = self.tokenizer(list(texts))["input_ids"]
        for text, ids in zip(texts, encoded, strict=True):
            if len(ids) > self.text_length:
                raise PromptTooLong(
                    f"the caption has {len(ids)} tokens but {self.name} reads {self.text_length}: "
                    f"shorten {text[:60]!r}…"
                )
        batch = self.tokenizer(
            list(texts), padding="max_length", max_length=self.text_length, return_tensors="pt"
        )
        tokens = {
            name: batch[name].to(self.model.device)
            for name in ("input_ids", "attention_mask")
            if name in batch
        }
        pooled = self.model.text_model(**tokens).pooler_output
        return F.normalize(self.model.text_projection(pooled).float(), dim=-1).cpu()

    def pairs(
        self,
        before_images: Sequence[Image],
        after_images: Sequence[Image],
        *,
        before: Sequence[str],
        after: Sequence[str],
    ) -> PairScores:
        """Score pairs of pictures with their captions, all of one length n."""
        old, new = self.images(before_images), self.images(after_images)
        said, meant = self.texts(before), self.texts(after)
        return PairScores(
            image=_cosine(old, new),
            before=_cosine(old, said),
            after=_cosine(new, meant),
            direction=_cosine(new - old, meant - said),
        )

    def _pixels(self, image: Image) -> Tensor:
        levels = torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1)[None]
        pixels = levels.to(self._mean.device).float() / 255
        if pixels.shape[-2:] == (self.size, self.size):
            return pixels
        return F.interpolate(pixels, size=(self.size, self.size), mode="bicubic", antialias=False)


def load_clip(name: str | Path = "storybook", *, device: torch.device | str | None = None) -> Clip:
    """Load a ``CLIPModel`` for scoring.

    Args:
        name: ``"storybook"``, a directory, or the id of a model on the Hugging Face hub, the only case in which
            anything is downloaded.
        device: a GPU if there is one unless given.

    Raises:
        ModelError: there is no such model, or it is not a CLIP model with safetensors weights.
        InvalidInput: there is no such device.
    """
    from transformers import AutoTokenizer, CLIPModel

    from wordbrush.models import as_device
    from wordbrush.quiet import quiet

    source = source_of(name)
    try:
        with quiet():
            model = CLIPModel.from_pretrained(source, use_safetensors=True, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(source)
        mean, std = pixel_statistics(source)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{str(name)!r} cannot be loaded as a CLIP model: expected a directory or hub id with config.json, "
            f"model.safetensors, a tokenizer and preprocessor_config.json ({type(error).__name__})"
        ) from error
    model.to(as_device(device)).eval().requires_grad_(False)  # pyright: ignore[reportArgumentType]
    return Clip(str(name), model, tokenizer, mean=mean, std=std)


def source_of(name: str | Path) -> str:
    """Return the directory or hub id that a name stands for.

    Raises:
        ModelError: the embedded model is missing.
    """
    place = EMBEDDED.get(str(name), Path(name))
    if str(name) in EMBEDDED and not (place / "config.json").exists():
        raise ModelError(
            f"{place} has no contrastive model: train it with `wordbrush storybook train --stage contrastive`"
        )
    return str(place if place.is_dir() else name)


def pixel_statistics(source: str) -> tuple[Sequence[float], Sequence[float]]:
    """Return mean and deviation of the pixels in [0, 1] that a directory or hub id was trained on, three each.

    Raises:
        OSError, ValueError, KeyError: there is no ``preprocessor_config.json``, it is no JSON, or it lacks them.
    """
    from transformers.utils.hub import cached_file

    path = cached_file(source, "preprocessor_config.json")
    known = json.loads(Path(str(path)).read_text(encoding="utf-8"))
    return known["image_mean"], known["image_std"]


def _cosine(a: Tensor, b: Tensor) -> np.ndarray:
    return F.cosine_similarity(a, b, dim=-1).double().numpy()
