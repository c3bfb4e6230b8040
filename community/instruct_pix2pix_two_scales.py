"""InstructPix2Pix (arXiv:2211.09800) as a community pipeline of diffusers; it needs ``pip install wordbrush``.

    pipe = DiffusionPipeline.from_pretrained(
        "owner/editor",
        custom_pipeline="path/to/instruct_pix2pix_two_scales.py",
        trust_remote_code=True,
        dtype=torch.float32,
    )
    edited = pipe("make it night", image=picture, image_guidance_scale=0.8, seed=3).images[0]

What is other than in diffusers' own: both scales act at any value, below 1 too; lists of pictures, instructions and
seeds are paired one by one; every edit has its own noise; and a picture comes back at its own size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffusers import ImagePipelineOutput, StableDiffusionInstructPix2PixPipeline

import wordbrush as wb
from wordbrush.backbones.families import EDITORS


class InstructPix2PixTwoScalesPipeline(StableDiffusionInstructPix2PixPipeline):
    """An instruction editor with the two guidance scales of the paper, equation 3."""

    def __call__(
        self,
        prompt: str | Sequence[str],
        image: Any,
        *,
        guidance_scale: float = 7.5,
        image_guidance_scale: float = 1.5,
        seed: int | Sequence[int] = 0,
        num_inference_steps: int | None = None,
        **settings: Any,
    ) -> ImagePipelineOutput:
        """Edit pictures as instructions say.

        Args:
            prompt: the instruction, or one for each picture.
            image: a picture or several.
            guidance_scale: how closely to follow the instruction, s_T.
            image_guidance_scale: how closely to keep to the picture, s_I.
            seed: of the noise; one, or one for each picture.
            num_inference_steps: None for those of the preset.
            settings: everything else that ``wordbrush.Editor`` takes: mask, preset, scheduler, guided, size, …

        Raises:
            WordbrushError: one sentence on what cannot be used as given.
        """
        model = wb.Model(
            type(self).__name__,
            unet=self.unet,
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            scheduler=self.scheduler,
            family=EDITORS,
        )
        made = wb.Editor(model)(
            image,
            prompt,
            text_guidance=guidance_scale,
            image_guidance=image_guidance_scale,
            seed=seed,
            steps=num_inference_steps,
            **settings,
        )
        return ImagePipelineOutput(images=made.images)
