"""``wordbrush invert``: a real picture made ready for any number of edits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import wordbrush as wb
from wordbrush.cli import options
from wordbrush.cli.console import out, print_json, progress
from wordbrush.cli.edit import folder_name
from wordbrush.cli.loading import load_model
from wordbrush.cli.output import with_versions
from wordbrush.cli.parse import BadOption, parse_method, parse_size
from wordbrush.cli.source import INVERTED
from wordbrush.files import check_writable
from wordbrush.vocabulary import warn_of_unknown_words


def invert(
    picture: Annotated[Path, typer.Argument(metavar="PICTURE", help="The picture to make ready.")],
    caption: Annotated[
        str,
        typer.Option(
            "--caption", "-c", metavar="TEXT", help="What it shows, in the words that are to be edited."
        ),
    ],
    method: options.Method = None,
    method_setting: options.MethodSetting = None,
    crop: options.Crop = False,
    size: options.Size = None,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    scheduler: options.Scheduler = None,
    model: options.Model = "storybook",
    config: options.Config = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    offload: options.Offload = False,
    output: Annotated[
        Path | None,
        options.output(f"FILE{INVERTED}", "Where to keep it. Default: a file under out/."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Find what a picture starts from, once, to edit it any number of times."""
    pixels = parse_size(size)
    deciding = (
        picture,
        caption,
        method_setting,
        crop,
        pixels,
        steps,
        guidance,
        scheduler,
        model,
        config,
        dtype,
    )
    name = folder_name(f"{picture.stem}-{method or 'inverted'}", None, deciding)
    place = output or Path("out") / f"{name}{INVERTED}"
    if place.suffix.lower() != INVERTED:
        raise BadOption(f"--output {place}: an inverted picture is kept as a file that ends in {INVERTED}")
    check_writable(place)
    chosen = parse_method(method, method_setting or [])
    loaded = load_model(model, dtype=dtype, device=device, config=config, offload=offload)
    warn_of_unknown_words([caption], loaded.defaults.words)
    with progress("Inverting") as report:
        start = wb.invert(
            loaded,
            picture,
            caption,
            method=chosen,
            steps=steps,
            guidance=guidance,
            scheduler=scheduler,
            size=pixels,
            crop=crop,
            progress=report,
        )
    start.save(place)
    if json:
        settings = {"caption": caption, "steps": start.steps, "guidance": start.guidance, **start.settings}
        print_json({"files": [str(place)], "settings": with_versions(settings)})
    else:
        for note in start.notes:
            out.print(f"picture: {note}", soft_wrap=True)
        out.print(f"{place}: edit it with wordbrush edit {place} --to …", soft_wrap=True)
