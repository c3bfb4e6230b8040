"""Prompt-to-Prompt (arXiv:2208.01626) as a community pipeline of diffusers; it needs ``pip install wordbrush``.

    pipe = DiffusionPipeline.from_pretrained(
        "owner/stable-diffusion",
        custom_pipeline="path/to/prompt_to_prompt.py",
        trust_remote_code=True,
        dtype=torch.float32,
    )
    source, edited = pipe("a cat on a beach", to="a dog on a beach", seed=3).images

It takes what ``StableDiffusionPipeline`` takes, and the edits of ``wordbrush.edit``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import StableDiffusionPipeline

import wordbrush as wb


class PromptToPromptPipeline(StableDiffusionPipeline):
    """Stable Diffusion whose pictures are edited by editing their prompt.

    Use ``wordbrush.control`` for pipelines of other families.
    """

    def __call__(
        self,
        prompt: str,
        *,
        to: str | Sequence[str],
        seed: int,
        edits: Any = None,
        self_attention: Any = None,
        blend: Any = None,
        blocks: Sequence[int] | None = None,
        negative_prompt: str = "",
        **settings: Any,
    ) -> Any:
        """Generate the picture of ``prompt`` and, from the same noise and layout, those of the prompts ``to``.

        Args:
            prompt: of the picture to edit.
            to: one target prompt or several.
            seed: of the noise that they share.
            edits, self_attention, blend, blocks: as for ``wordbrush.edit``; None infers the edits from the words.
            negative_prompt: for all of them.
            settings: everything else that ``StableDiffusionPipeline`` takes.

        Returns:
            What ``StableDiffusionPipeline`` returns, the source first.

        Raises:
            WordbrushError: one sentence on what cannot be used as given.
        """
        plan = wb.plan(
            wb.from_pipe(self),
            prompt,
            to=to,
            edits=edits,
            self_attention=self_attention,
            blend=blend,
            blocks=blocks,
        )
        with wb.control(self, plan) as prompts:
            generators = [torch.Generator().manual_seed(seed) for _ in prompts]
            negatives = [negative_prompt] * len(prompts)
            return super().__call__(prompts, negative_prompt=negatives, generator=generators, **settings)
