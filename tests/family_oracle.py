"""The stock diffusers pipeline with explicit softmax maps, edited as matrices: the oracle for every family.

Nothing of the engine under test takes part. While a pipeline runs, ``scaled_dot_product_attention`` is replaced by a
function that holds every map, and plain forward hooks say which layer of which step is running.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

import families
import wordbrush as wb
from families import T5_LENGTH

# (source map, own map) -> edited map, all (heads, pixels, tokens).
WordEdit = Callable[[Tensor, Tensor], Tensor]


FUSED = torch.nn.functional.scaled_dot_product_attention


def kind_of(family: str, layer: str) -> str:
    """What the keys of a layer are: the text, the image, or both."""
    if family in ("sdxl", "lcm") or family.startswith("pixart"):
        return {"attn1": "self", "attn2": "cross"}.get(layer, "")
    return {"attn": "joint", "attn2": "self"}.get(layer, "")


@dataclass
class Explicit:
    """One edit of a batch of a source and its targets.

    Args:
        words: one function per target, or None to leave its words alone.
        word_steps: in which steps they act.
        image_steps: in which steps the targets attend to themselves as the source.
        text: positions of the text among the keys of a joint layer, which come first in FLUX and last in SD3.
    """

    family: str
    samples: int
    words: Sequence[WordEdit | None]
    word_steps: range
    image_steps: range
    text: int
    step: int = -1
    kind: str = ""

    def attention(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **options: Any
    ) -> Tensor:
        """Stand in for the fused function, of which text encoders keep the real one."""
        if not self.kind:
            return FUSED(query, key, value, attn_mask=attn_mask, **options)
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        maps = (scores if attn_mask is None else scores + attn_mask).softmax(dim=-1)
        return self.edited(maps) @ value

    def edited(self, maps: Tensor) -> Tensor:
        own, maps = maps.clone(), maps.clone()
        source = len(maps) - self.samples  # the conditional rows are the last ones
        for target, edit in enumerate(self.words):
            row = source + 1 + target
            text, image = self._columns(maps.shape[-1])
            pixels = image if self.kind == "joint" else slice(None)
            if edit is not None and self.step in self.word_steps and self.kind != "self":
                maps[row][:, pixels, text] = edit(own[source][:, pixels, text], own[row][:, pixels, text])
            if self.step in self.image_steps and self.kind != "cross":
                maps[row][:, pixels, image] = own[source][:, pixels, image]
        return maps

    def _columns(self, keys: int) -> tuple[slice, slice]:
        if self.kind == "cross":
            return slice(0, keys), slice(0, 0)
        if self.kind == "self":
            return slice(0, 0), slice(0, keys)
        if self.family.startswith("sd3"):
            return slice(keys - self.text, keys), slice(0, keys - self.text)
        return slice(0, self.text), slice(self.text, keys)

    @contextmanager
    def installed(self, network: torch.nn.Module) -> Iterator[None]:
        """Edit the maps of every layer of a network while it runs."""

        def enter(kind: str) -> Callable[..., None]:
            return lambda *_: setattr(self, "kind", kind)

        def count(*_: object) -> None:
            self.step += 1

        handles = [network.register_forward_pre_hook(count)]
        for name, module in network.named_modules():
            if kind := kind_of(self.family, name.rsplit(".", 1)[-1]):
                handles.append(module.register_forward_pre_hook(enter(kind)))
                handles.append(module.register_forward_hook(enter("")))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.nn.functional, "scaled_dot_product_attention", self.attention)
            yield
        for handle in handles:
            handle.remove()


def stock_latents(
    model: wb.Model,
    prompts: Sequence[str],
    noise: Tensor,
    *,
    steps: int,
    explicit: Explicit | None = None,
    **settings: Any,
) -> Tensor:
    """The latents of diffusers' own pipeline, (prompts, C, h, w), from unit noise (1, C, h, w)."""
    pipeline, kind = families.stock(model), model.name
    height, width = (side * model.factor for side in noise.shape[-2:])
    start = noise.expand(len(prompts), -1, -1, -1)
    settings = {"guidance_scale": model.defaults.guidance or 0.0, **settings}
    if kind.startswith("pixart"):
        settings |= {"use_resolution_binning": False, "clean_caption": False}
    if kind in ("flux", "schnell"):
        start = pipeline._pack_latents(start, *start.shape)
    if kind not in ("sdxl", "lcm"):
        settings |= {"max_sequence_length": T5_LENGTH}

    def run() -> Tensor:
        return pipeline(
            list(prompts),
            latents=start,
            height=height,
            width=width,
            num_inference_steps=steps,
            output_type="latent",
            **settings,
        ).images

    if explicit is None:
        made = run()
    else:
        with explicit.installed(model.unet):
            made = run()
    if kind in ("flux", "schnell"):
        made = pipeline._unpack_latents(made, height, width, pipeline.vae_scale_factor)
    return made
