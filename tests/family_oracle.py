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


PACKED = ("flux", "schnell", "qwen")
# Whose text encoders read the prompt inside of a template.
TEMPLATED = ("sana", "lumina2", "qwen", "zimage")
# Whose pipelines ask for the unconditional prediction in a call of its own, after the other.
TWO_CALLS = ("lumina2", "qwen")
FUSED = torch.nn.functional.scaled_dot_product_attention


def kind_of(family: str, path: str) -> str:
    """What the keys of a layer are: the text, the image, or both."""
    stack, layer = path.split(".")[0], path.rsplit(".", 1)[-1]
    if family in ("lumina2", "zimage"):
        if layer not in ("attn", "attention"):
            return ""
        return {"noise_refiner": "self", "layers": "joint"}.get(stack, "")
    if family == "sana":
        return {"attn2": "cross"}.get(layer, "")  # attn1 has no map
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
        text: positions of the text, padding included, in which ``words`` count.
        pixels: positions of the image among the keys of a joint layer, padding included.
        renormalised: whether edited maps are divided by the sums of their magnitudes, over text and image.
    """

    family: str
    samples: int
    words: Sequence[WordEdit | None]
    word_steps: range
    image_steps: range
    text: int
    pixels: int
    renormalised: bool = False
    calls: int = 0
    kind: str = ""

    @property
    def step(self) -> int:
        """The step that is running, or ran last."""
        return (self.calls - 1) // (2 if self.family in TWO_CALLS else 1)

    @property
    def conditional(self) -> bool:
        """Whether the running call has conditional rows."""
        return self.family not in TWO_CALLS or self.calls % 2 == 1

    def attention(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **options: Any
    ) -> Tensor:
        """Stand in for the fused function, of which text encoders keep the real one."""
        if not self.kind:
            return FUSED(query, key, value, attn_mask=attn_mask, **options)
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            attn_mask = torch.zeros_like(scores).masked_fill(~attn_mask, -torch.inf)
        maps = (scores if attn_mask is None else scores + attn_mask).softmax(dim=-1)
        return (self.edited(maps) if self.conditional else maps) @ value

    def edited(self, maps: Tensor) -> Tensor:
        own, maps = maps.clone(), maps.clone()
        # The conditional rows are the last ones, but in Z-Image the first.
        source = 0 if self.family == "zimage" else len(maps) - self.samples
        for target, edit in enumerate(self.words):
            row = source + 1 + target
            (source_text, source_image), (text, image) = (self._columns(own[r]) for r in (source, row))
            if edit is not None and self.step in self.word_steps and self.kind != "self":
                lent = self._padded(own[source][:, self._pixels(source_image), source_text])
                kept = self._padded(own[row][:, self._pixels(image), text])
                maps[row][:, self._pixels(image), text] = edit(lent, kept)[..., : text.stop - text.start]
            if self.step in self.image_steps and self.kind != "cross":
                lent = own[source][:, self._pixels(source_image), source_image]
                maps[row][:, self._pixels(image), image] = lent
            if self.renormalised and self.kind != "self":
                looking = maps[row][:, self._pixels(image)]
                maps[row][:, self._pixels(image)] = looking / looking.abs().sum(dim=-1, keepdim=True)
        return maps

    def _pixels(self, image: slice) -> slice:
        """The queries that are edited: of a joint layer those of the image."""
        return image if self.kind == "joint" else slice(None)

    def _padded(self, maps: Tensor) -> Tensor:
        """Maps of the text, with columns of zeros up to the length in which the edits count."""
        return torch.nn.functional.pad(maps, (0, self.text - maps.shape[-1]))

    def _columns(self, maps: Tensor) -> tuple[slice, slice]:
        """Where text and image are among the keys of one row's maps, (heads, queries, keys)."""
        keys = maps.shape[-1]
        if self.kind == "cross":
            return slice(0, keys), slice(0, 0)
        if self.kind == "self":
            return slice(0, 0), slice(0, keys)
        if self.family.startswith("sd3"):
            return slice(keys - self.text, keys), slice(0, keys - self.text)
        real = int((maps[0, 0] > 0).sum())  # the others are masked
        if self.family == "zimage":
            return slice(self.pixels, real), slice(0, self.pixels)
        if self.family == "lumina2":
            return slice(0, real - self.pixels), slice(real - self.pixels, real)
        return slice(0, keys - self.pixels), slice(keys - self.pixels, keys)

    @contextmanager
    def installed(self, network: torch.nn.Module) -> Iterator[None]:
        """Edit the maps of every layer of a network while it runs."""

        def enter(kind: str) -> Callable[..., None]:
            return lambda *_: setattr(self, "kind", kind)

        def count(*_: object) -> None:
            self.calls += 1

        handles = [network.register_forward_pre_hook(count)]
        for name, module in network.named_modules():
            if kind := kind_of(self.family, name):
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
    if kind.startswith("pixart") or kind == "sana":
        settings |= {"use_resolution_binning": False, "clean_caption": False}
    if kind in PACKED:
        start = pipeline._pack_latents(start, *start.shape)
    if kind not in ("sdxl", "lcm", *TEMPLATED):
        settings |= {"max_sequence_length": T5_LENGTH}
    if kind == "qwen":
        scale = settings.pop("guidance_scale")
        settings |= {"true_cfg_scale": scale, "negative_prompt": [""] * len(prompts)}
    if kind == "zimage":
        settings["guidance_scale"] -= 1
    if kind in ("lumina2", "sana"):
        height, width = 32, 32  # they want multiples of 16 and 32, and take the size from the latents

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
    if kind in PACKED:
        made = pipeline._unpack_latents(made, height, width, pipeline.vae_scale_factor)
    return made[:, :, 0] if made.ndim == 5 else made
