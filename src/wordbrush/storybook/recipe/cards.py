"""Model cards: what a directory of weights is, what it was trained on and how, and what was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wordbrush.storybook.scene import COLOURS, COMPANIONS, PLACES, STYLES, SUBJECTS, TIMES

DATA = f"""Pictures of 128 × 128 pixels rendered by `wordbrush.storybook.world` from scenes drawn at random:
{len(SUBJECTS)} subjects, {len(PLACES)} places, {len(TIMES)} times and weathers, {len(STYLES)} styles,
{len(COMPANIONS)} companions and {len(COLOURS)} colours, with captions in varied wordings. A tenth of all
combinations of subject, place, time and style is held out of all training. Subjects are glyphs of the font
Noto Color Emoji (SIL Open Font License 1.1); everything else is drawn by the renderer. No picture of the real
world, no person and nothing from the internet is in the data."""

TEXT_DATA = """Captions of the storybook's scenes, in varied wordings, and triplets of caption, instruction and
caption after it that were written by hand (`storybook/triplets.jsonl`). The recipe shows them as they stand a tenth of
the time, and else their wording with other words of the same class, about scenes drawn at random. A tenth of all
combinations of subject, place, time and style is held out of all training."""

LICENCE = "Apache-2.0, as the package, which can make every picture of the data again."

PLAIN = """```python
import torch
from diffusers import StableDiffusionPipeline

pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
picture = pipeline("a cat on a beach", num_inference_steps=20, guidance_scale=4.0).images[0]
```

The weights are stored as float16. Without `dtype`, diffusers and transformers load their parts in different ones."""
"""How plain diffusers draws with the text-to-image model."""

JOINT = PLAIN.replace("StableDiffusionPipeline", "StableDiffusion3Pipeline").replace(
    "(folder, dtype=torch.float32)",
    "(\n    folder, text_encoder_3=None, tokenizer_3=None, dtype=torch.float32\n)",
)
"""How it draws with the one with joint attention."""

ABOUT = {
    "text_to_image": (
        "Storybook text-to-image",
        PLAIN,
        "A small latent diffusion model in Stable Diffusion's classes: autoencoder (f = 8, 8 channels), a text encoder "
        "without transformer layers (token and position embeddings, so that no word leaks into another), a U-Net with "
        "cross-attention at 16 × 16 and 8 × 8; v-prediction with zero terminal signal-to-noise ratio, trailing steps.",
    ),
    "joint_text_to_image": (
        "Storybook text-to-image with joint attention",
        JOINT,
        "A small latent diffusion model in Stable Diffusion 3's classes: the autoencoder of the other one, two text "
        "encoders of one layer and no T5, and a transformer in which words and picture attend to each other; "
        "rectified flow.",
    ),
    "contrastive": (
        "Storybook contrastive model",
        "Loads with `CLIPModel.from_pretrained`.",
        "A small CLIP: a vision transformer on patches of 16 pixels and a text transformer of three layers.",
    ),
    "judge": (
        "Storybook judges",
        "Loads with `wordbrush.storybook.judges.Judges`.",
        "Classifiers that read attributes and the subject's silhouette. They were trained on renders of their own, "
        "with hue and greyscale augmentation, and were used to train or filter nothing.",
    ),
    "writer": (
        "Storybook writer",
        "Loads with `AutoModelForCausalLM.from_pretrained`.",
        "A causal transformer in Llama's classes that reads `caption ##` and writes `instruction %% caption END`, "
        "each mark on a line of its own: the published form of InstructPix2Pix. The chat template puts a single "
        "message, the caption, into that form. Made for `wordbrush.dataset`.",
    ),
}
DATA_OF = {"writer": TEXT_DATA}
LIMITS_OF = {"writer": "It knows the words of its world and no others, and changes one thing at a time."}


def card(name: str, training: dict[str, Any], measured: Path) -> str:
    """Return the card of one directory as Markdown; ``measured`` is a JSON file of results, left out if absent."""
    title, use, about = ABOUT[name]
    lines = [
        "---",
        "license: apache-2.0",
        "---",
        "",
        f"# {title}",
        "",
        about,
        "",
        use,
        "",
    ]
    lines += ["## Data", "", DATA_OF.get(name, DATA), "", "## Recipe", ""]
    lines += [
        f"`wordbrush storybook train --stage {stage}`: {seen:,} samples seen."
        for stage, seen in training["samples_seen"].items()
    ]
    lines += [""]
    accuracy = {key: value for key, value in training.items() if key.startswith("accuracy_")}
    lines += rows_of(measured, accuracy) or ["## Measured", "", "Nothing has been measured yet.", ""]
    lines += [
        "## Limits",
        "",
        LIMITS_OF.get(name, "It knows the words of its world and no others, at 128 × 128 pixels."),
        "",
        "## Licence",
        "",
        LICENCE,
        "",
    ]
    return "\n".join(lines)


def rows_of(measured: Path, known: Mapping[str, Any] | None = None) -> list[str]:
    """Return the section with what was measured: what is ``known``, and a JSON file of results; empty if neither is."""
    values = dict(known or {})
    if measured.exists():
        values |= json.loads(measured.read_text(encoding="utf-8"))
    return ["## Measured", "", "| measure | value |", "|---|---|", *_rows(values), ""] if values else []


def _rows(values: dict[str, Any], above: str = "") -> list[str]:
    rows = []
    for key, value in values.items():
        if isinstance(value, dict) and "share" in value:
            spread = f"{value['low']:.1%} to {value['high']:.1%}, n = {value['of']}"
            rows.append(f"| {above}{key} | {value['share']:.1%} ({spread}) |")
        elif isinstance(value, dict):
            rows += _rows(value, f"{above}{key} ")
        else:
            rows.append(f"| {above}{key} | {f'{value:.3f}' if isinstance(value, float) else value} |")
    return rows
