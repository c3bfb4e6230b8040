"""Options that several commands share, so that they read the same everywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

SAMPLING = "Sampling (what is not given comes with the model)"
MODEL = "Model"
OUTPUT = "Output"
PICTURES = "Pictures of your own"
STORYBOOK = Path(__file__).parents[1] / "storybook" / "weights" / "text_to_image" / "wordbrush.json"


def usual(setting: str) -> str:
    """Return the note `` (storybook: 0.2)`` on a setting of ``--model`` storybook; nothing where that cannot be read.

    It is read here rather than from the model, so that ``--help`` need not import torch.
    """
    try:
        value = json.loads(STORYBOOK.read_text(encoding="utf-8"))[setting]
    except (OSError, ValueError, LookupError):
        return ""
    return f" (storybook: {value:g})" if isinstance(value, int | float) else f" (storybook: {value})"


def seed(told: str) -> Any:
    """Return the option --seed; ``told`` is its help."""
    return typer.Option("--seed", "-s", min=0, metavar="N", help=told)


Seed = Annotated[int, seed("The starting noise; the same seed, the same picture.")]
DrawnSeed = Annotated[int, seed("Everything random is drawn from it; the same seed, the same result.")]
PictureSeed = Annotated[
    int | None,
    seed(
        "The starting noise, 0 unless given; the same seed, the same picture. Pictures of your own have theirs."
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        metavar="NAME",
        rich_help_panel=PICTURES,
        help="How it is inverted: direct (the default), null-text, negative-prompt, edit-friendly, exact or ddim; with "
        "models such as Stable Diffusion 3 and FLUX rectified-flow (the default) or flow-edit.",
    ),
]
MethodSetting = Annotated[
    list[str] | None,
    typer.Option(
        "--method-setting",
        metavar="NAME=VALUE",
        rich_help_panel=PICTURES,
        help="A setting of --method: skipped=0.2 of flow-edit, inner_steps=5 of null-text. Repeatable.",
    ),
]
Crop = Annotated[
    bool,
    typer.Option(
        "--crop", rich_help_panel=PICTURES, help="Cut it to the shape of --size, or of the model's own size."
    ),
]


def output(metavar: str, help: str) -> Any:
    """Return the option --output of a command that writes something of its own."""
    return typer.Option("--output", "-o", metavar=metavar, rich_help_panel=OUTPUT, help=help)


Output = Annotated[
    Path | None,
    output(
        "FILE.png|FOLDER",
        "One captioned picture (.png), or a folder for every picture by itself. Default: a folder under out/.",
    ),
]
Json = Annotated[
    bool,
    typer.Option("--json", rich_help_panel=OUTPUT, help="Print what was made as JSON, and nothing else."),
]


def steps(note: str = "") -> Any:
    """Return the option --steps; ``note`` ends its help."""
    return typer.Option(
        "--steps", min=1, metavar="N", rich_help_panel=SAMPLING, help=f"Denoising steps{note}."
    )


Steps = Annotated[int | None, steps(usual("steps"))]
EditorSteps = Annotated[int | None, steps()]
Guidance = Annotated[
    float | None,
    typer.Option(
        "--guidance",
        metavar="X",
        rich_help_panel=SAMPLING,
        help=f"Strength of classifier-free guidance; 1 is none{usual('guidance')}.",
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option("--scheduler", metavar="NAME", rich_help_panel=SAMPLING, help="Sampler, for example ddim."),
]
Guided = Annotated[
    str | None,
    typer.Option(
        "--guided",
        metavar="START:STOP[/EVERY]",
        rich_help_panel=SAMPLING,
        help="Steps that ask all three branches, as fractions of the run; the others cost a third. 0:0.8/2 is every "
        "second one of the first 80 %.",
    ),
]
Negative = Annotated[
    str,
    typer.Option(
        "--negative",
        metavar="PROMPT",
        rich_help_panel=SAMPLING,
        help="Prompt of what should not be in the picture.",
    ),
]
Size = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="HxW",
        rich_help_panel=SAMPLING,
        help="Height and width in pixels, as 96x128; one number is a square. Multiples of 8, or as the model says.",
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME|PATH",
        rich_help_panel=MODEL,
        help="storybook, a diffusers folder, a hub id, or a .safetensors file; see: wordbrush models.",
    ),
]
Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="PATH",
        rich_help_panel=MODEL,
        help="For a .safetensors file: a diffusers folder or hub id of the same family.",
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        metavar="TYPE",
        rich_help_panel=MODEL,
        help="float32 (the default), bfloat16, float16 or float64.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        rich_help_panel=MODEL,
        help="cpu, cuda or mps. Default: cuda if there is one.",
    ),
]
Offload = Annotated[
    bool,
    typer.Option(
        "--offload",
        rich_help_panel=MODEL,
        help="Keep only the part that runs on the device, for large models on small GPUs.",
    ),
]
