"""Word maps: how much every pixel attends to a word, read as one more value column of the fused attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from wordbrush.backbones.base import AttentionCall, Mix, Site, text_and_image
from wordbrush.edits.blend import BlendRule
from wordbrush.edits.prompt import Prompt


@dataclass(frozen=True, eq=False)
class Probe:
    """Reads the attention to some words at some sites.

    Args:
        columns: (samples, tokens, words), 1 at a word's tokens.
        sites: indices of the cross-attention sites to read at.
        collect: receives the site and (samples, pixels, words): attention averaged over heads, summed over tokens.
        edited: read the edited attention instead of every sample's own.
    """

    columns: Tensor
    sites: frozenset[int]
    collect: Callable[[Site, Tensor], None]
    edited: bool = False
    _laid_out: dict[object, list[Tensor]] = field(default_factory=dict, init=False, repr=False)

    def read(
        self,
        site: Site,
        call: AttentionCall,
        mix: Mix | None,
        rows: slice,
        latent_size: tuple[int, int],
    ) -> None:
        """Read the attention of ``rows`` of an attention call that is about to be made, at a joint site the image's."""
        image = slice(None)
        keys, pixels = call.key.shape[2], site.pixels(latent_size)
        if site.kind == "joint":
            _, image = text_and_image(keys, pixels, text_first=site.text_first)
            height, width = site.grid(latent_size)
            image = slice(image.start, image.start + height * width)
        kind = (call.value.device, call.value.dtype, call.value.shape[1], call.value.shape[3])
        layout = (*kind, keys, pixels, site.kind, site.text_first)
        if layout not in self._laid_out:
            columns = self.columns
            if site.kind == "joint":
                text, _ = text_and_image(keys, pixels, text_first=site.text_first)
                columns = columns[:, : keys - pixels]  # of the longest text
                columns = F.pad(columns, (0, 0, text.start, keys - text.stop))
            self._laid_out[layout] = _values(columns, call)
        maps = [
            self._read(value, call, mix if self.edited else None, rows, image)
            for value in self._laid_out[layout]
        ]
        joined = maps[0] if len(maps) == 1 else torch.cat(maps, dim=-1)
        self.collect(site, joined[..., : self.columns.shape[-1]])

    def _read(self, value: Tensor, call: AttentionCall, mix: Mix | None, rows: slice, image: slice) -> Tensor:
        """Return (samples, pixels, channels): attention to as many columns as there are channels, heads averaged."""
        if mix is None:
            return call.on(rows, value).of_queries(image)().mean(dim=1)
        whole = value.new_zeros(call.query.shape[0], *value.shape[1:])
        whole[rows] = value
        return mix(call.with_value(whole))[rows][:, :, image].mean(dim=1)


def _values(columns: Tensor, call: AttentionCall) -> list[Tensor]:
    """Return (samples, keys, words) columns as values of an attention call, (samples, heads, keys, channels) each.

    Fused kernels want as many value columns as query channels, and contiguous ones, hence the padding.
    """
    heads, width = call.query.shape[1], call.query.shape[-1]
    parts = (F.pad(part, (0, width - part.shape[-1])) for part in columns.to(call.value).split(width, dim=-1))
    return [part[:, None].expand(-1, heads, -1, -1) for part in parts]


class LocalBlend:
    """Holds the targets to the source outside the region of the blend's words, after every step.

    Args:
        rule: thresholds and schedule.
        indicators: (samples, tokens, columns) from ``rule.indicators``.
        sites: the cross-attention sites the maps are read at, all of one resolution.
        steps: the steps after which to blend.
    """

    def __init__(
        self,
        rule: BlendRule,
        indicators: Tensor,
        sites: Sequence[Site],
        *,
        steps: range,
    ) -> None:
        self._rule = rule
        self.carried = rule.carried
        self._steps = steps
        self._site = sites[0]
        self._sum: Tensor | None = None
        self._everywhere: Tensor | None = None
        self._unpaired: Tensor | None = None
        self.probe = Probe(
            indicators, frozenset(s.index for s in sites), self._collect, edited=rule.edited_maps
        )

    def __call__(self, step: int, latents: Tensor) -> Tensor:
        """Return the (samples, C, h, w) latents after ``step``, source first, blended."""
        if step not in self._steps or self._sum is None:
            return latents
        # Maps are summed over all steps so far and all layers: only their shape matters, not their scale.
        size = (latents.shape[-2], latents.shape[-1])
        maps = self._sum.unflatten(1, self._site.grid(size))
        mask = self._own_region(maps, size) if self._rule.own_columns else self._shared_region(maps, size)
        source, targets = latents[:1], latents[1:]
        return torch.cat([source, torch.where(mask[:, None], targets, source)])

    def _shared_region(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        """Return (targets, h, w) from (samples, h, w, columns): one column to include, perhaps one to take out."""
        rule = self._rule
        chosen, *subtracted = maps.unbind(-1)
        region = _region(chosen, pooled=rule.pooled is not False, threshold=rule.threshold, size=size)
        mask = region[:1] | region[1:]
        for column in subtracted:
            taken = _region(column, pooled=False, threshold=rule.subtract_threshold, size=size)
            mask &= ~(taken[:1] | taken[1:])
        return mask

    def _own_region(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        """Return (targets, h, w) from (1 + targets, h, w, columns): column i is of target i and its source words.

        Words that are spread more evenly than the rule allows have no region: that target may change everywhere. This
        is decided once, when blending begins, so that a picture does not go to and fro. The columns after the targets'
        are of single words, which may change their regions as well.
        """
        rule, targets = self._rule, len(maps) - 1
        own = torch.stack([maps[number + 1, ..., number] for number in range(targets)])
        both = torch.stack([maps[0, ..., :targets].movedim(-1, 0), own])
        beside = maps[1:, ..., targets:].unbind(-1)
        if self._everywhere is None:
            spread = torch.stack([_spread(side) for side in both])
            named = ~spread.isnan()  # a target may have no words of its own, or none of the source's
            self._everywhere = ((spread > rule.max_spread) & named).any(dim=0) | ~named.any(dim=0)
            for word in beside:
                self._everywhere |= _spread(word) > rule.max_spread
            unpaired = ~(both > 0).any(dim=(2, 3)).all(dim=0)  # words of one prompt alone
            self._unpaired = unpaired if unpaired.any() else None

        def region(maps: Tensor) -> Tensor:
            near = _region(maps, pooled=rule.pooled is not False, threshold=rule.threshold, size=size)
            if self._unpaired is None:
                return near
            wide = _region(maps, pooled=True, threshold=rule.unpaired_threshold, size=size)
            return torch.where(self._unpaired[:, None, None], wide, near)

        mask = region(both[0]) | region(both[1]) | self._everywhere[:, None, None]
        for word in beside:
            mask |= region(word)
        return mask

    def _collect(self, site: Site, maps: Tensor) -> None:
        maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
        self._sum = maps if self._sum is None else self._sum + maps


def _spread(maps: Tensor) -> Tensor:
    """Return the means of (n, h, w) maps relative to their maxima, (n,): not a number for a word that is not there."""
    return maps.mean(dim=(1, 2)) / maps.amax(dim=(1, 2))


def _region(maps: Tensor, *, pooled: bool, threshold: float, size: tuple[int, int]) -> Tensor:
    """Return where (n, h, w) maps are above the threshold, relative to their maximum, at latent resolution."""
    if pooled:
        maps = F.max_pool2d(maps, 3, stride=1, padding=1)
    maps = F.interpolate(maps[:, None], size=size)[:, 0]
    # The map of a word that is not there is 0, its quotient not a number, and its region empty.
    return maps / maps.amax(dim=(1, 2), keepdim=True) > threshold


class MapHistory:
    """The attention to every token, by step and layer, of the samples of one run.

    Args:
        prompts: the prompts of the samples.
        sites: the cross-attention sites to read at, all of one resolution.
        latent_size: (height, width) of the latents.
    """

    def __init__(
        self, prompts: Sequence[Prompt], sites: Sequence[Site], latent_size: tuple[int, int]
    ) -> None:
        tokens = max(len(prompt.tokens) for prompt in prompts)
        columns = torch.eye(prompts[0].length)[:, :tokens].expand(len(prompts), -1, -1)
        self.layers = tuple(site.name for site in sites)
        self.grid = sites[0].grid(latent_size)
        self.probe = Probe(columns, frozenset(site.index for site in sites), self._collect)
        self._steps: list[Tensor] = []
        self._now: list[Tensor] = []

    @property
    def maps(self) -> Tensor:
        """(steps, layers, samples, h, w, tokens) in float32 on the CPU, heads averaged."""
        return torch.stack(self._steps)

    def end_step(self) -> None:
        """File what was read since the last step under a new one."""
        self._steps.append(torch.stack(self._now).float().cpu().unflatten(2, self.grid))
        self._now = []

    def _collect(self, site: Site, maps: Tensor) -> None:
        self._now.append(maps)
