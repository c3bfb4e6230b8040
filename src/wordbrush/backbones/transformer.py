"""What diffusion transformers have in common: stacks of blocks that all see the picture at one resolution."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import nn

from wordbrush.backbones.base import Backbone, Kind, Site, uncompiled
from wordbrush.backbones.flow import set_flow_timesteps
from wordbrush.errors import ModelError


class TransformerBackbone(Backbone):
    """A diffusion transformer. A family says where its attention layers are, how it reads text, and how it predicts.

    Args:
        network: the transformer.
        stacks: list of blocks → name of an attention layer in its blocks → what the layer's keys are; in the order of
            the forward pass. A layer that only some of the blocks have is a site in those.
        channels: C of its latents, if its configuration does not say so in ``in_channels``.
        side: of the latents it was trained for, in latent pixels, if it does not say so in ``sample_size``.
        patch: latent pixels per patch along each side, if it does not say so in ``patch_size``.

    Attributes:
        transformer: the network, uncompiled.
        text_first: of its joint sites, whether the text comes before the image.
        ragged: of its joint sites, whether every row's image follows its own text directly.
        grain: of its joint sites, a multiple that the image's positions are padded to.
        even_levels: whether it is sampled at noise levels at even distances (``set_flow_timesteps``).
    """

    text_first: bool = True
    ragged: bool = False
    grain: int = 1
    even_levels: bool = False

    def __init__(
        self,
        network: nn.Module,
        stacks: Mapping[str, Mapping[str, Kind]],
        *,
        channels: int | None = None,
        side: int | None = None,
        patch: int | None = None,
    ) -> None:
        self.network = network
        self.transformer = uncompiled(network)
        config = self.transformer.config
        self.latent_channels = channels or config.in_channels
        native = side or config.sample_size
        self.native_latent_size = (native, native)
        self.patch = patch or config.patch_size
        self._stacks = stacks

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """All attention layers in the order of the forward pass.

        Raises:
            ModelError: none of them attends to text.
        """
        sites = self._sites(self._stacks)
        if not any(site.reads_text for site in sites):
            raise ModelError(
                f"this {type(self.transformer).__name__} has no attention to text that could be edited"
            )
        return sites

    def schedule(
        self, scheduler: Any, steps: int, latent_size: tuple[int, int], device: torch.device | None = None
    ) -> None:
        """Set the timesteps, shifted by the size of the picture if the scheduler says so."""
        height, width = self.sites[0].grid(latent_size)
        set_flow_timesteps(scheduler, steps, height * width, device, even=self.even_levels)

    def _sites(self, stacks: Mapping[str, Mapping[str, Kind]]) -> tuple[Site, ...]:
        blocks = [
            (f"{stack}.{place}", block, layers)
            for stack, layers in stacks.items()
            for place, block in enumerate(getattr(self.transformer, stack))
        ]
        sites: list[Site] = []
        for number, (path, block, layers) in enumerate(blocks):
            for name, kind in layers.items():
                if (module := getattr(block, name, None)) is not None:
                    where, layout = f"{path}.{name}", (self.text_first, self.ragged, self.grain)
                    sites.append(Site(len(sites), where, kind, "stack", self.patch, module, number, *layout))
        return tuple(sites)
