"""The model card of an editor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from wordbrush.training.config import Config
from wordbrush.version import __version__

ABOUT = """Edits a picture as an instruction says, in one pass, after InstructPix2Pix (arXiv:2211.09800): a
text-to-image network whose first convolution also reads the latents of the picture before the edit."""
LIMITS = """It can do what the model it began with can draw, and what the pairs it was trained on show; their biases are
its own."""

USE = """```python
import torch
from diffusers import StableDiffusionInstructPix2PixPipeline

pipeline = StableDiffusionInstructPix2PixPipeline.from_pretrained(folder, dtype=torch.float32)
edited = pipeline(
    "{instruction}", image=picture, num_inference_steps=20, guidance_scale={text}, image_guidance_scale={image}
).images[0]
```"""


def card(config: Config, record: Mapping[str, Any]) -> str:
    """Return the card as Markdown."""
    defaults = config.export.defaults
    use = USE.format(
        instruction="make it night",
        text=defaults.text_guidance,
        image=defaults.image_guidance,
    )
    front = [f"license: {config.export.licence}"] if config.export.licence else []
    front += [
        "library_name: diffusers",
        "pipeline_tag: image-to-image",
        "tags: [image-editing, instruct-pix2pix]",
    ]
    weights = (
        "an average of the weights over training" if config.export.weights == "average" else "the last step"
    )
    sources = ", ".join(f"`{source}`" for source in config.data.source)
    lines = ["---", *front, "---", "", "# Instruction editor", "", ABOUT, "", use, ""]
    lines += [
        "The condition is the mode of the autoencoder's posterior, not scaled, as in the published editor.",
        "",
        "## Training",
        "",
        f"- began with: `{config.model.base}`",
        f"- data: {sources} (format `{config.data.format}`), {record['pairs']:,} pairs",
        f"- steps: {record['step']:,} of {config.batch.size:,} pairs each",
        f"- weights: {weights}",
        "",
        "All settings:",
        "",
        "```json",
        json.dumps(config.model_dump(mode="json"), indent=1, ensure_ascii=False),
        "```",
        "",
        "## Limits",
        "",
        LIMITS,
        "",
        "## Licence",
        "",
        config.export.licence or "Not specified; that of the model it began with, and of the data, applies.",
        "",
        f"Written by wordbrush {__version__}.",
        "",
    ]
    return "\n".join(lines)
