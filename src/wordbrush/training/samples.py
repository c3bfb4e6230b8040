"""Sheets of sample pictures while training: before, what the editor makes of it, and the after of the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from wordbrush.files import png, write_files
from wordbrush.models import Model
from wordbrush.quiet import quiet
from wordbrush.training.batches import Batches
from wordbrush.training.config import Samples
from wordbrush.training.export import make_pipeline
from wordbrush.training.order import hash_seed

FOLDER = "samples"

Sampler = Callable[[Model, Sequence[Image.Image], Sequence[str], Samples], list[Image.Image]]
"""(editor, pictures, instructions, settings) → edited pictures; the editor has the averaged weights."""


def diffusers_sampler(
    editor: Model, pictures: Sequence[Image.Image], instructions: Sequence[str], settings: Samples
) -> list[Image.Image]:
    """Edit with diffusers' own pipeline, one picture at a time, always with the same noise."""
    pipeline = make_pipeline(editor)
    pipeline.set_progress_bar_config(disable=True)
    made = []
    for number, (picture, instruction) in enumerate(zip(pictures, instructions, strict=True)):
        with quiet():
            done = pipeline(
                instruction,
                image=picture,
                num_inference_steps=settings.steps,
                guidance_scale=settings.text_guidance,
                image_guidance_scale=settings.image_guidance,
                generator=torch.Generator().manual_seed(number),
            )
        made.append(done.images[0])
    return made


def write_sheet(
    batches: Batches, editor: Model, out: Path, *, step: int, device: torch.device, sampler: Sampler
) -> Path:
    """Draw a sheet with some pairs of the data, the same ones every time, and return its file."""
    settings = batches.config.samples
    parts = (editor.unet, editor.vae, editor.text_encoder)
    homes = {part: next(part.parameters()).device for part in parts}
    try:
        for part in parts:
            part.to(device)
        rows = _chosen(batches, settings.count)
        instructions = [batches.instructions[row] for row in rows]
        pictures = [_pictures(batches, row, device) for row in rows]
        edited = sampler(editor, [before for before, _ in pictures], instructions, settings)
    finally:
        for part, home in homes.items():
            part.to(home)
    columns = [(before, made, after) for (before, after), made in zip(pictures, edited, strict=True)]
    path = out / FOLDER / f"step-{step:08d}.png"
    write_files({path: png(_sheet(columns), {"step": step, "instructions": instructions})})
    return path


def _chosen(batches: Batches, count: int) -> list[int]:
    rng = np.random.default_rng(hash_seed(batches.config.seed, 2))
    return [int(row) for row in rng.permutation(len(batches.pictures))[:count]]


@torch.no_grad()
def _pictures(batches: Batches, row: int, device: torch.device) -> tuple[Image.Image, Image.Image]:
    """Return before and after as the network knows them: placed, or decoded from the cached latents."""
    if not batches.config.cache.latents:
        shape = batches.pictures.columns["shape"][row]
        before, after = (Image.fromarray(batches.geometry.place(one, shape)) for one in batches.images(row))
        return before, after
    before, after, _ = batches.pictures.tensor(row, "plain").float().to(device)
    scaled = torch.stack([before, after]) * batches.model.vae.config.scaling_factor
    decoded = batches.model.decode(scaled)
    return decoded[0], decoded[1]


def _sheet(columns: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Put pictures below each other in columns, from the left."""
    width, height = (max(one.size[axis] for column in columns for one in column) for axis in (0, 1))
    rows = len(columns[0])
    sheet = Image.new("RGB", (width * len(columns), height * rows), "white")
    for x, column in enumerate(columns):
        for y, one in enumerate(column):
            sheet.paste(one, (x * width, y * height))
    return sheet
