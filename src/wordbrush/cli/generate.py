"""``wordbrush generate``: pictures from prompts."""

from __future__ import annotations

from typing import Annotated

import typer

import wordbrush as wb
from wordbrush.cli import options
from wordbrush.cli.console import progress
from wordbrush.cli.loading import load_model
from wordbrush.cli.output import destination, seeded, tell, with_versions
from wordbrush.cli.parse import parse_size, slug
from wordbrush.errors import counted
from wordbrush.files import png, write_files


def generate(
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...", help="What the pictures show.")],
    seed: options.Seed = 0,
    count: Annotated[
        int,
        typer.Option(
            "--count", "-n", min=1, metavar="N", help="Pictures per prompt, with seeds from --seed up."
        ),
    ] = 1,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    scheduler: options.Scheduler = None,
    negative: options.Negative = "",
    size: options.Size = None,
    model: options.Model = "storybook",
    config: options.Config = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    offload: options.Offload = False,
    output: options.Output = None,
    json: options.Json = False,
) -> None:
    """Generate pictures from prompts."""
    pixels = parse_size(size)
    many = len(prompts) * count > 1
    place = destination(output, f"{slug(prompts[0])}-seed{seed}")
    from wordbrush.contact import contact_sheet

    loaded = load_model(model, dtype=dtype, device=device, config=config, offload=offload)
    seeds = range(seed, seed + count)
    with progress("Generating") as report:
        runs = [
            wb.generate(
                loaded,
                prompts,
                seed=one,
                negative=negative,
                steps=steps,
                guidance=guidance,
                scheduler=scheduler,
                size=pixels,
                progress=report,
            )
            for one in seeds
        ]
    made = [
        (image, with_versions(run.settings, prompt=prompt, seed=one))
        for one, run in zip(seeds, runs, strict=True)
        for prompt, image in zip(prompts, run.images, strict=True)
    ]
    if place.folder:
        files = {
            place.folder / f"{number:02d}-{slug(settings['prompt'])}-seed{settings['seed']}.png": png(
                image, settings
            )
            for number, (image, settings) in enumerate(made, start=1)
        }
    elif place.file and many:
        captions = seeded([(settings["prompt"], settings["seed"]) for _, settings in made])
        in_columns = len(prompts) if len(prompts) > 1 and count > 1 else None  # a row for each seed
        sheet = contact_sheet([image for image, _ in made], captions, columns=in_columns)
        files = {place.file: png(sheet, with_versions(made[0][1], prompt=prompts, seed=list(seeds)))}
    else:
        files = {place.place: png(*made[0])}
    write_files(files)
    told = f"{counted(len(made), 'picture')} in {place.place}"
    tell(files, told, json=json, settings=[settings for _, settings in made])
