"""What control needs to know of a network, and the vocabulary for it: sites, layouts and attention calls.

To add a family, write one file with a class that follows ``Backbone``, most simply a ``TransformerBackbone``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wordbrush.edits.prompt import Prompt
from wordbrush.guidance import ClassifierFree, Guidance

# The text a network is asked under: keyword arguments of its forward, one row per sample on every first axis.
Text = Mapping[str, Tensor]

# What the keys of an attention layer are.
Kind = Literal["self", "cross", "joint"]

# Word maps are read where the native picture has at least this many attention pixels along each side.
MAP_SIDE = 16


@dataclass(frozen=True, eq=False)
class Site:
    """One attention layer.

    Args:
        index: position in the order of the forward pass.
        name: dotted path of the module, for messages.
        kind: what its keys are: the image itself, the text, or (``"joint"``) both, and then both are its queries too.
        place: the part of the network it belongs to; ``"stack"`` where all parts are alike.
        factor: latent pixels per attention pixel along each side, a power of two.
        module: the layer.
        block: number of the transformer block it belongs to, in the order of the forward pass.
        text_first: of a joint site: whether the text comes before the image, or after it.
        ragged: of a joint site: whether every row's image follows its own text directly, however long that is.
        grain: of a joint site: the image is padded to a multiple of so many positions, which are attended to.
    """

    index: int
    name: str
    kind: Kind
    place: Literal["down", "mid", "up", "stack"]
    factor: int
    module: nn.Module
    block: int = 0
    text_first: bool = True
    ragged: bool = False
    grain: int = 1

    @property
    def reads_text(self) -> bool:
        """Whether text is among its keys."""
        return self.kind != "self"

    @property
    def reads_image(self) -> bool:
        """Whether the image is among its keys."""
        return self.kind != "cross"

    def grid(self, latent_size: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) of its queries for a latent of that (height, width)."""
        height, width = latent_size
        return -(-height // self.factor), -(-width // self.factor)

    def pixels(self, latent_size: tuple[int, int]) -> int:
        """Return how many positions the image of a latent of that (height, width) takes, padding included."""
        height, width = self.grid(latent_size)
        return -(-height * width // self.grain) * self.grain


def text_and_image(positions: int, pixels: int, *, text_first: bool) -> tuple[slice, slice]:
    """Return where text and image are among the ``positions`` of a joint site, ``pixels`` of which are the image's."""
    text = positions - pixels
    if text_first:
        return slice(0, text), slice(text, positions)
    return slice(pixels, positions), slice(0, pixels)


class Backbone(Protocol):
    """A denoising network with its text encoder or encoders.

    Attributes:
        network: what is called.
        latent_channels: C of its latents.
        native_latent_size: (height, width) of the latents it was trained for.
        patch: both sides of a latent must be multiples of it.
        map_blocks: the blocks whose word maps are read, or None for all of one resolution.
        own_text: positions of the text that the network adds itself.
    """

    network: nn.Module
    latent_channels: int
    native_latent_size: tuple[int, int]
    patch: int = 1
    map_blocks: tuple[int, ...] | None = None
    own_text: int = 0

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """All attention layers in the order of the forward pass."""
        ...

    def read(self, text: str) -> Prompt:
        """Tokenize a prompt; its token positions are those of the text among the keys of a cross site."""
        ...

    def read_negative(self, text: str) -> Prompt:
        """Tokenize a prompt to be guided away from, which some families read without the template of the others."""
        return self.read(text)

    def encode(self, prompts: Sequence[Prompt]) -> Text:
        """Encode prompts, one row each."""
        ...

    def guide(self, scale: float) -> Guidance:
        """Return what a guidance scale means for this network: classifier-free guidance unless it was distilled."""
        return ClassifierFree(scale)

    def schedule(
        self, scheduler: Any, steps: int, latent_size: tuple[int, int], device: torch.device | None = None
    ) -> None:
        """Set the timesteps of a scheduler as the family is sampled."""
        scheduler.set_timesteps(steps, device=device)

    def predict(self, latents: Tensor, timestep: Tensor, text: Text) -> Tensor:
        """Return the network's raw prediction for (rows, C, h, w) latents."""
        ...


def uncompiled(network: nn.Module) -> Any:
    """Return the network that ``torch.compile`` wraps, or the network itself if it is not compiled."""
    return getattr(network, "_orig_mod", network)


@dataclass(frozen=True)
class Layout:
    """Which row of a network batch is what: for every branch of the guidance, the source and then the targets.

    Args:
        branches: of the guidance.
        samples: the source and its targets.
        text: positions of the text among the keys of a joint site, padding included, of the longest text that the
            network takes; a batch of shorter ones may have fewer.
        source_in: the branches in which the source is a row; None for all. A source whose latents are known at every
            step needs no prediction of its own, only rows where the targets attend as it does.
    """

    branches: tuple[str, ...]
    samples: int
    text: int = 0
    source_in: tuple[str, ...] | None = None

    @property
    def rows(self) -> int:
        """The rows of the whole batch."""
        return sum(map(self._count, self.branches))

    @property
    def edited(self) -> slice:
        """The rows, source first, of the branch whose attention is edited and read."""
        return self.rows_of("cond")

    @property
    def source(self) -> int:
        """The row of the source in that branch."""
        return self.edited.start

    @property
    def targets(self) -> range:
        """The rows of the targets in that branch."""
        return range(self.edited.start + 1, self.edited.stop)

    def has_source(self, branch: str) -> bool:
        """Whether the source is a row of a branch."""
        return self.source_in is None or branch in self.source_in

    def rows_of(self, branch: str) -> slice:
        """The rows of a branch."""
        place = self.branches.index(branch)
        start = sum(map(self._count, self.branches[:place]))
        return slice(start, start + self._count(branch))

    def batch(self, samples: Tensor) -> Tensor:
        """Repeat (samples, …) for every branch: (rows, …)."""
        return torch.cat([samples[self.samples - self._count(branch) :] for branch in self.branches])

    def split(self, rows: Tensor, *, source: bool) -> tuple[Tensor, ...]:
        """Return the rows of every branch, (samples, …) each, or without the source (targets, …)."""
        first = 0 if source else 1
        return tuple(
            rows[self.rows_of(branch)][first if self.has_source(branch) else 0 :] for branch in self.branches
        )

    def _count(self, branch: str) -> int:
        return self.samples if self.has_source(branch) else self.samples - 1


@dataclass(frozen=True, eq=False)
class AttentionCall:
    """One call of ``scaled_dot_product_attention``: (rows, heads, queries or keys, channels) tensors."""

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    options: Mapping[str, Any]

    def __call__(self) -> Tensor:
        """Compute it: (rows, heads, queries, channels)."""
        return F.scaled_dot_product_attention(
            self.query, self.key, self.value, attn_mask=self.mask, **self.options
        )

    def with_value(self, value: Tensor) -> AttentionCall:
        """Return the same attention over other values."""
        return replace(self, value=value)

    def attending_as(self, rows: Tensor, value: Tensor) -> AttentionCall:
        """Return a call over ``value`` in which row i attends as row ``rows[i]`` does here."""
        return AttentionCall(
            _take(self.query, rows),
            _take(self.key, rows),
            value,
            self._masks(lambda mask: mask.index_select(0, rows)),
            self.options,
        )

    def attending_as_row(self, row: int, value: Tensor) -> AttentionCall:
        """Return a call over ``value``, all rows of which attend as one row does here."""
        shape = (len(value), -1, -1, -1)
        only = slice(row, row + 1)
        mask = self._masks(lambda mask: mask[only].expand(shape))
        return AttentionCall(
            self.query[only].expand(shape), self.key[only].expand(shape), value, mask, self.options
        )

    def on(self, rows: slice | Tensor, value: Tensor) -> AttentionCall:
        """Return the call of some rows only, over ``value``."""
        mask = self._masks(lambda mask: mask[rows])
        return AttentionCall(self.query[rows], self.key[rows], value, mask, self.options)

    def of_queries(self, positions: slice) -> AttentionCall:
        """Return the call for some queries only."""
        mask = self.mask
        if mask is not None and mask.shape[-2] > 1:
            mask = mask[..., positions, :]
        return replace(self, query=self.query[:, :, positions], mask=mask)

    def _masks(self, select: Callable[[Tensor], Tensor]) -> Tensor | None:
        """Select rows of the mask, unless all rows share one."""
        per_row = self.mask is not None and self.mask.ndim == 4 and self.mask.shape[0] > 1
        return select(self.mask) if per_row and self.mask is not None else self.mask


class Mix(Protocol):
    """What is done to the attention call of a site."""

    @property
    def is_identity(self) -> bool:
        """True if nothing would change."""
        ...

    @property
    def borrows(self) -> bool:
        """Whether some row attends as the source does."""
        ...

    def __call__(self, call: AttentionCall) -> Tensor:
        """Compute the edited attention of the whole batch: (rows, heads, queries, channels)."""
        ...


def _take(tensor: Tensor, rows: Tensor) -> Tensor:
    """Return rows of a (rows, heads, positions, channels) tensor without changing how it lies in memory.

    Queries are mostly views of (rows, positions, heads, channels), and what attention returns lies as they do.
    """
    inner = tensor.transpose(1, 2)
    if inner.is_contiguous():
        return inner.index_select(0, rows).transpose(1, 2)
    return tensor.index_select(0, rows)


def map_factor(sites: Sequence[Site], native_latent_size: tuple[int, int]) -> int:
    """Return the coarsest factor whose native grid is at least 16 × 16, or the finest there is.

    That is 16 × 16 for a 64 × 64 latent (Stable Diffusion 1 at 512 pixels), the published resolution of word maps;
    at other sizes the factor stays and the grid follows the picture.
    """
    crossing = [site for site in sites if site.reads_text]
    factors = sorted(
        {site.factor for site in crossing if site.place != "mid"} or {s.factor for s in crossing}
    )
    fine = [factor for factor in factors if min(native_latent_size) >= MAP_SIDE * factor]
    return max(fine) if fine else factors[0]


def map_sites(backbone: Backbone) -> tuple[Site, ...]:
    """Return the sites at which word maps are read: those of one resolution, of the backbone's blocks for it."""
    factor = map_factor(backbone.sites, backbone.native_latent_size)
    found = [site for site in backbone.sites if site.reads_text and site.factor == factor]
    if backbone.map_blocks is not None:
        return tuple(site for site in found if site.block in backbone.map_blocks)
    outer = [site for site in found if site.place != "mid"]
    return tuple(outer or found)
