"""``wordbrush instruct``: pictures edited as instructions say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import wordbrush as wb
from wordbrush.cli import options
from wordbrush.cli.console import err, progress
from wordbrush.cli.loading import load_editor
from wordbrush.cli.output import Destination, destination, seeded, tell, with_versions
from wordbrush.cli.parse import BadOption, parse_edited_size, parse_guided, parse_scales, slug
from wordbrush.cli.pictures import find_pictures, split_instruction
from wordbrush.errors import BadPicture, ModelError, counted
from wordbrush.files import png, write_files

if TYPE_CHECKING:
    from PIL.Image import Image

FAILED = 2


def instruct(
    pictures: Annotated[
        list[str],
        typer.Argument(
            metavar="PICTURE... INSTRUCTION",
            help='Files, folders or quoted patterns, and what to change, as "make it night".',
        ),
    ],
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to",
            "-t",
            metavar="INSTRUCTION",
            help="What to change; repeat for several edits of each picture. With it, all arguments are pictures.",
        ),
    ] = None,
    text_guidance: Annotated[
        str | None,
        typer.Option(
            "--text-guidance",
            metavar="X[,X...]",
            rich_help_panel=options.SAMPLING,
            help="How closely to follow the instruction. Default: the editor's own. A list makes a picture for each.",
        ),
    ] = None,
    image_guidance: Annotated[
        str | None,
        typer.Option(
            "--image-guidance",
            metavar="X[,X...]",
            rich_help_panel=options.SAMPLING,
            help="How closely to keep to the picture. Default: the editor's own. A list makes a picture for each.",
        ),
    ] = None,
    seed: options.Seed = 0,
    count: Annotated[
        int,
        typer.Option("--count", "-n", min=1, metavar="N", help="Edits of each, with seeds from --seed up."),
    ] = 1,
    mask: Annotated[
        str | None,
        typer.Option(
            "--mask",
            metavar="FILE|auto",
            help="White where pictures may change, black where they keep their pixels; of the pictures' size. auto: "
            "what an edit left alone keeps its pixels.",
        ),
    ] = None,
    size: Annotated[
        str,
        typer.Option(
            "--size",
            metavar="whole|native|published|HxW",
            rich_help_panel=options.SAMPLING,
            help="whole: about the editor's size, and back at the picture's; native: at the picture's; published: as "
            "the paper's program crops it; or pixels.",
        ),
    ] = "whole",
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="published|default|fast",
            rich_help_panel=options.SAMPLING,
            help="Sampler and steps; published is 100 steps of Euler ancestral.",
        ),
    ] = None,
    steps: options.EditorSteps = None,
    scheduler: options.Scheduler = None,
    guided: options.Guided = None,
    negative: options.Negative = "",
    model: options.Model = "storybook",
    config: options.Config = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    offload: options.Offload = False,
    output: Annotated[
        Path | None,
        options.output(
            "FILE.png|FOLDER",
            "The edited picture (.png), a sheet if there are several, or a folder. Default: a folder under out/.",
        ),
    ] = None,
    grid: Annotated[
        bool,
        typer.Option(
            "--grid",
            rich_help_panel=options.OUTPUT,
            help="One sheet for each edit, of both scales: unless given, the editor's own, and a third less and more.",
        ),
    ] = False,
    json: options.Json = False,
) -> None:
    """Edit pictures as instructions say."""
    found, instructions = split_instruction(pictures, to or [])
    files = find_pictures(found)
    text_scales = parse_scales(text_guidance, "--text-guidance")
    image_scales = parse_scales(image_guidance, "--image-guidance")
    pixels = parse_edited_size(size)
    asking = parse_guided(guided)
    asked = list(product(instructions, range(seed, seed + count)))
    place = destination(output, f"{slug(instructions[0])}-seed{seed}")
    if place.file and grid and len(files) * len(asked) > 1:
        raise BadOption(f"--grid makes {len(files) * len(asked)} sheets: give a folder with --output")
    editor = load_editor(model, dtype=dtype, device=device, config=config, offload=offload)
    usual = editor.defaults.grid if grid else ((None,), (None,))
    text_scales, image_scales = text_scales or usual[0], image_scales or usual[1]
    done = Done(place)
    with progress("Editing") as report:
        for path in files:
            try:
                results = [
                    editor(
                        path,
                        [instruction for instruction, _ in asked],
                        seed=[one for _, one in asked],
                        text_guidance=text,
                        image_guidance=image,
                        mask=mask,
                        size=pixels,
                        preset=preset,
                        steps=steps,
                        scheduler=scheduler,
                        guided=asking,
                        negative=negative,
                        progress=report,
                    )
                    for text, image in product(text_scales, image_scales)
                ]
                made = sheets(path, results, columns=len(image_scales)) if grid else singles(path, results)
            except (BadPicture, ModelError) as error:
                done.failed.append({"picture": str(path), "error": error.command})
                err.print(f"wordbrush: {error.command}", style="red", soft_wrap=True)
                continue
            for note in [*results[0].rows[0]["notes"], *foreign(editor, results[0].images[0])]:
                err.print(f"{path}: {note}", soft_wrap=True)
            done.add(made)
    done.finish(json)


def foreign(editor: wb.Editor, edited: Image) -> list[str]:
    """Say of a picture that is larger than what an editor of few words was trained on that it is none of its world."""
    side = editor.fitting.side
    if editor.defaults.words is None or max(edited.size) <= side:
        return []
    return [
        f"this editor knows drawings of its own small world, of {side} pixels: for photographs name one with --model"
    ]


@dataclass(frozen=True)
class Made:
    """A picture to be written: its name without number and ending, and how it was made."""

    name: str
    image: Image
    settings: dict[str, Any]

    @property
    def inside(self) -> dict[str, Any]:
        """The settings as the picture carries them to others: its source by its name, without the folders."""
        return {**self.settings, "picture": Path(self.settings["picture"]).name}


@dataclass
class Done:
    """What was made and what was not; pictures in a folder are written at once, a sheet of all at the end."""

    place: Destination
    files: list[Path] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)
    settings: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)

    def add(self, made: list[Made]) -> None:
        """Take the edits of one picture."""
        self.settings += [one.settings for one in made]
        if self.place.folder is None:
            self.made += made
            return
        number = len(self.files)
        new = {
            self.place.folder / f"{n:03d}-{one.name}.png": png(one.image, one.inside)
            for n, one in enumerate(made, start=number + 1)
        }
        write_files(new)
        self.files += new

    def finish(self, json: bool) -> None:
        """Write what is not written yet, say what was done, and end with status 2 if anything failed."""
        if self.place.file and self.made:
            write_files({self.place.file: self._single()})
            self.files.append(self.place.file)
        if json or self.files:
            told = f"{counted(len(self.settings), 'edit')} in {self.place.place}"
            tell(self.files, told, json=json, settings=self.settings, failed=self.failed)
        if self.failed:
            raise typer.Exit(FAILED)

    def _single(self) -> bytes:
        """Return the only picture as it is, or a sheet of several."""
        if len(self.made) == 1:
            return png(self.made[0].image, self.made[0].inside)
        from wordbrush.contact import contact_sheet
        from wordbrush.results import padded

        images = padded([one.image for one in self.made])
        captions = seeded([(one.settings["instruction"], one.settings["seed"]) for one in self.made])
        sheet = contact_sheet(images, captions)
        return png(sheet, with_versions({"edits": [one.inside for one in self.made]}))


def singles(path: Path, results: Sequence[wb.Instructed]) -> list[Made]:
    """Return every edit of a picture by itself; the scales are in the name if there are several."""
    made: list[Made] = []
    for result in results:
        told = result.settings["text_guidance"], result.settings["image_guidance"]
        scales = f"-text{told[0]:g}-image{told[1]:g}" if len(results) > 1 else ""
        for number, image in enumerate(result.images):
            known = {"picture": str(path), **result.described(number)}
            made.append(Made(f"{base(path, known)}{scales}", image, known))
    return made


def sheets(path: Path, results: Sequence[wb.Instructed], *, columns: int) -> list[Made]:
    """Return a sheet for every edit of a picture: text guidance downwards, image guidance to the right."""
    from wordbrush.contact import contact_sheet

    scales = [(one.settings["text_guidance"], one.settings["image_guidance"]) for one in results]
    captions = [f"text {text:g}, image {image:g}" for text, image in scales]
    made: list[Made] = []
    for number in range(len(results[0].rows)):
        known = {"picture": str(path), **results[0].described(number), "scales": scales}
        del known["text_guidance"], known["image_guidance"]
        sheet = contact_sheet([result.images[number] for result in results], captions, columns=columns)
        made.append(Made(f"{base(path, known)}-grid", sheet, known))
    return made


def base(path: Path, settings: dict[str, Any]) -> str:
    """Return what names of a picture's edits have in common."""
    return f"{slug(path.stem)}-{slug(settings['instruction'])}-seed{settings['seed']}"
