"""How the layout of a picture has changed, whatever its colours: self-similarity of the keys of a vision transformer.

After Tumanyan et al. 2022, "Splicing ViT Features for Semantic Appearance Transfer" (arXiv:2201.00424), as PIE-Bench
measures structure.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wordbrush.errors import InvalidInput, ModelError
from wordbrush.metrics.clip import pixel_statistics, source_of

if TYPE_CHECKING:
    from PIL.Image import Image

KEY_LAYERS = ("k_proj", "key")
"""How the projection to the keys is called in transformers' models."""


class Keys:
    """A vision transformer of transformers, of which the keys of the last attention layer are read.

    Args:
        name: what it was loaded as.
        model: takes ``pixel_values``.
        size: the side of its pictures, to which others are put, bilinear with antialiasing and whatever their shape.
        mean, std: of the pixels that it was trained on, three each.
        levels: whether it is given pixels in [0, 255] where it was trained on [0, 1], as the published code of
            PIE-Bench does.

    Raises:
        ModelError: it has no such layer.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        *,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        levels: bool = False,
    ) -> None:
        self.name = name
        self.model = model
        self.size = size
        self._layer = _last_keys(name, model)
        weight = next(model.parameters())
        self._mean = torch.tensor(mean, device=weight.device).view(1, 3, 1, 1)
        self._std = torch.tensor(std, device=weight.device).view(1, 3, 1, 1)
        self._range = 1.0 if levels else 255.0

    @torch.no_grad()
    def self_similarity(self, image: Image) -> Tensor:
        """Return the cosines between the keys of all tokens, the class token among them, (tokens, tokens) float32."""
        pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None]
        pixels = pixels.to(self._mean.device).float() / self._range
        if pixels.shape[-2:] != (self.size, self.size):
            pixels = F.interpolate(pixels, size=(self.size, self.size), mode="bilinear", antialias=True)
        read: list[Any] = []
        hook = self._layer.register_forward_hook(lambda layer, given, keys: read.append(keys))
        try:
            self.model(pixel_values=(pixels - self._mean) / self._std)
        finally:
            hook.remove()
        keys = F.normalize(read[0][0].float(), dim=-1)
        return keys @ keys.T


def structure_distance(keys: Keys, before: Image, after: Image) -> float:
    """Mean squared difference of the self-similarities of two pictures of one size, in [0, 4]; tables show it × 10³.

    Raises:
        InvalidInput: the pictures differ in size.
    """
    if before.size != after.size:
        raise InvalidInput(
            f"the pictures differ in size, {before.width} × {before.height} and {after.width} × {after.height}"
        )
    return float(F.mse_loss(keys.self_similarity(after), keys.self_similarity(before)))


def load_keys(
    name: str | Path = "storybook", *, levels: bool = False, device: torch.device | str | None = None
) -> Keys:
    """Load a vision transformer for ``structure_distance``.

    Args:
        name: ``"storybook"`` for the vision half of the storybook's contrastive model; a directory; or the id of a
            model on the Hugging Face hub, the only case in which anything is downloaded. PIE-Bench uses
            ``facebook/dino-vitb8``.
        levels: as in ``Keys``.
        device: a GPU if there is one unless given.

    Raises:
        ModelError: there is no such model, or it is not a vision transformer with safetensors weights.
        InvalidInput: there is no such device.
    """
    from transformers import AutoModel

    from wordbrush.models import as_device
    from wordbrush.quiet import quiet

    source = source_of(name)
    try:
        with quiet():
            model: Any = AutoModel.from_pretrained(source, use_safetensors=True, dtype=torch.float32)
        model = getattr(model, "vision_model", model)
        size, (mean, std) = model.config.image_size, pixel_statistics(source)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise ModelError(
            f"{str(name)!r} cannot be loaded as a vision transformer: expected a directory or hub id with config.json, "
            f"model.safetensors and preprocessor_config.json ({type(error).__name__})"
        ) from error
    model.to(as_device(device)).eval().requires_grad_(False)
    return Keys(str(name), model, size=size, mean=mean, std=std, levels=levels)


def _last_keys(name: str, model: nn.Module) -> nn.Module:
    layers = [
        layer
        for path, layer in model.named_modules()
        if path.rpartition(".")[2] in KEY_LAYERS and isinstance(layer, nn.Linear)
    ]
    if not layers:
        raise ModelError(f"{name} has no attention layer with keys: load a vision transformer such as DINO's")
    return layers[-1]
