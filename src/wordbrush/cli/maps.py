"""``wordbrush maps``: where in the picture each word of a prompt acts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

import wordbrush as wb
from wordbrush.cli import options
from wordbrush.cli.console import progress
from wordbrush.cli.loading import load_model
from wordbrush.cli.output import destination, tell, with_versions
from wordbrush.cli.parse import parse_size, parse_word, slug
from wordbrush.edits.prompt import named
from wordbrush.errors import counted
from wordbrush.files import png, write_files


def maps(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What the picture shows.")],
    words: Annotated[
        list[str] | None,
        typer.Option(
            "--words", metavar="WORD", help="The words to show; repeat, or separate by commas. Default: all."
        ),
    ] = None,
    moments: Annotated[
        int,
        typer.Option(
            "--moments", min=0, metavar="N", help="Also show the maps at this many steps, from first to last."
        ),
    ] = 0,
    seed: options.Seed = 0,
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
    output: Annotated[
        Path | None,
        options.output(
            "FILE.png|FOLDER",
            "One sheet (.png), or a folder for it and every word's overlay. Default: out/maps-….png.",
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Show where in the picture each word acts: heat maps of the cross-attention."""
    pixels = parse_size(size)
    chosen = [parse_word(word) for text in words or [] for word in text.split(",")]
    place = destination(output or Path("out") / f"maps-{slug(prompt)}-seed{seed}.png", "maps")
    from wordbrush.contact import overlay
    from wordbrush.figures.maps_sheet import labels, maps_sheet

    loaded = load_model(model, dtype=dtype, device=device, config=config, offload=offload)
    read = loaded.backbone.read(prompt)
    for word in chosen:
        read.find(word)  # raises now rather than when the picture is made
    with progress("Generating") as report:
        result = wb.generate(
            loaded,
            prompt,
            seed=seed,
            negative=negative,
            steps=steps,
            guidance=guidance,
            scheduler=scheduler,
            size=pixels,
            maps=True,
            progress=report,
        )
    image = result.images[0]
    labelled = {named(word): word for word in chosen} or labels(prompt)
    sheet = maps_sheet(
        image,
        result.maps,
        labelled,
        followed=list(labelled) if moments else [],
        moments=moments,
        show=partial(overlay, image),
    )
    settings = with_versions(result.settings, prompt=prompt, words=list(labelled))
    files = {place.file or place.place / "maps.png": png(sheet.image(), settings)}
    if place.folder:
        files[place.folder / "image.png"] = png(image, settings)
        for number, (label, word) in enumerate(labelled.items(), start=1):
            drawn, known = result.maps.overlay(word), {**settings, "word": label}
            files[place.folder / f"{number:02d}-{slug(label)}.png"] = png(drawn, known)
    write_files(files)
    told = f"Maps of {counted(len(labelled), 'word')} in {place.place}"
    tell(files, told, json=json, settings=settings)
