"""``wordbrush edit``: a picture and what it becomes when words of its prompt change."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import wordbrush as wb
from wordbrush.cli import options
from wordbrush.cli.console import Report, print_json, progress
from wordbrush.cli.loading import load_model
from wordbrush.cli.output import Destination, destination, seeded, tell, with_versions
from wordbrush.cli.parse import (
    BadOption,
    parse_blend,
    parse_method,
    parse_size,
    parse_until,
    parse_weights,
    parse_window,
    slug,
)
from wordbrush.cli.source import Kind, kind_of
from wordbrush.errors import InvalidInput, counted
from wordbrush.files import png, write_files

if TYPE_CHECKING:
    from wordbrush.edits.plan import Edit
    from wordbrush.edits.prompt import Prompt
    from wordbrush.edits.window import Until
    from wordbrush.inversion.task import Method

KEEP = "How much of the source is kept"


def edit(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="A prompt; a picture, with --caption; or an inverted picture."),
    ],
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to", "-t", metavar="TARGET", help="The prompt to edit it to; repeat for several pictures."
        ),
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            "--weight",
            "-w",
            metavar="WORD=X",
            help="Turn a word up or down: snow=2. A list, snow=0,1,2, makes a picture for each. Repeatable.",
        ),
    ] = None,
    renormalise: Annotated[
        bool | None,
        typer.Option(
            "--renormalise/--no-renormalise",
            help="Divide maps by their sums after --weight, or only multiply, as published. Default: the model's.",
            show_default=False,
        ),
    ] = None,
    seed: options.PictureSeed = None,
    count: Annotated[
        int,
        typer.Option("--count", "-n", min=1, metavar="N", help="Edits of each, with seeds from --seed up."),
    ] = 1,
    until: Annotated[
        list[str] | None,
        typer.Option(
            "--until",
            metavar="[WORD=]X",
            rich_help_panel=KEEP,
            help="Part of the steps that keep the source's word maps: 0.8, 0.2:0.8, dog=0.4"
            f"{options.usual('until')}. Repeatable.",
        ),
    ] = None,
    self_attention: Annotated[
        str | None,
        typer.Option(
            "--self-attention",
            metavar="X",
            rich_help_panel=KEEP,
            help=f"Part of the steps that keep the source's shapes: 0.4, 0.1:0.5{options.usual('self_attention')}.",
        ),
    ] = None,
    blend: Annotated[
        str | None,
        typer.Option(
            "--blend",
            metavar="WORD:WORD|auto|none",
            rich_help_panel=KEEP,
            help="Change only where these words are, source:target, as cat:dog, or of one of them alone, as :hat; "
            f"auto: where the changed words are; none: anywhere{options.usual('blend')}.",
        ),
    ] = None,
    caption: Annotated[
        str | None,
        typer.Option(
            "--caption",
            "-c",
            metavar="TEXT",
            rich_help_panel=options.PICTURES,
            help="What the picture SOURCE shows, in the words that are to be edited.",
        ),
    ] = None,
    method: options.Method = None,
    method_setting: options.MethodSetting = None,
    crop: options.Crop = False,
    mask: Annotated[
        Path | None,
        typer.Option(
            "--mask",
            metavar="PICTURE",
            rich_help_panel=KEEP,
            help="White where the picture may change; drawn on the source.",
        ),
    ] = None,
    keep_pixels: Annotated[
        bool,
        typer.Option(
            "--keep-pixels", rich_help_panel=KEEP, help="Outside the mask, keep the source's very pixels."
        ),
    ] = False,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            metavar="FOLDER",
            rich_help_panel=options.OUTPUT,
            help="Keep the source's attention here: the next edit of it takes about half the work.",
        ),
    ] = None,
    cache_limit: Annotated[
        str,
        typer.Option(
            "--cache-limit",
            metavar="SIZE",
            rich_help_panel=options.OUTPUT,
            help="The most the cache may take, as 500MB.",
        ),
    ] = "2GB",
    lean_cache: Annotated[
        bool,
        typer.Option(
            "--lean-cache",
            rich_help_panel=options.OUTPUT,
            help="Keep only what this edit uses of the source; an edit that uses more is refused.",
        ),
    ] = False,
    as_prompt: Annotated[
        bool, typer.Option("--as-prompt", help="SOURCE is a prompt, even if a file has that name.")
    ] = False,
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
    plan: Annotated[
        bool,
        typer.Option("--plan", rich_help_panel=options.OUTPUT, help="Show what would be done, and stop."),
    ] = False,
    json: options.Json = False,
) -> None:
    """Edit a picture by editing the words of its prompt."""
    kind = kind_of(source, caption=caption, as_prompt=as_prompt)
    check_pictures_options(kind, seed=seed, method=method, settings=method_setting, crop=crop)
    check_count(count, kind, cache)
    if keep_pixels and not mask:
        raise BadOption("--keep-pixels keeps what is black in a mask: give --mask as well")
    inversion = parse_method(method, method_setting or [])
    check_method(inversion, negative=negative, cache=cache)
    weights = parse_weights(weight or [])
    windows, blending, pixels = parse_until(until or []), parse_blend(blend), parse_size(size)
    shapes = None if self_attention is None else parse_window(self_attention, "--self-attention")
    check_windows({"--until": windows, "--self-attention": shapes})
    start = wb.Start.load(source) if kind == "inverted" else None
    text = start.prompt if start else source if caption is None else caption
    targets = fader_targets(text, to or [], weights)
    if not all(
        prompt.strip() for prompt in (text, *targets)
    ):  # before a model is loaded, which takes seconds
        raise BadOption("an empty prompt cannot be edited: describe the picture in words")
    if not weights and text in targets:
        from wordbrush.edits.plan import same_prompts

        raise same_prompts(text)
    deciding = (targets, weights, windows, shapes, blending, steps, guidance, scheduler)
    deciding = [*deciding, negative, pixels, model, config, dtype]
    deciding += [] if renormalise is None else [renormalise]
    if kind == "prompt":
        deciding += [*((mask, keep_pixels) if mask else ()), *((count,) if count > 1 else ())]
        name = folder_name(source, seed or 0, deciding)
    else:
        chosen = [source, caption, inversion, crop, mask, keep_pixels]
        name = folder_name(Path(source).stem, None, [*deciding, *chosen])
    place = destination(output, name)
    if renormalise is not None and not weights:
        raise BadOption("--renormalise and --no-renormalise are about --weight, and there is none")
    edits = chosen_edits(weights, len(targets), renormalise=renormalise)
    blended = wb.Blend(source=blending[0], target=blending[1]) if isinstance(blending, tuple) else blending
    kept = wb.SourceCache(cache_limit, cache, lean=lean_cache) if cache else None
    loaded = load_model(model, dtype=dtype, device=device, config=config, offload=offload)
    how: dict[str, Any] = {"edits": edits, "until": windows, "self_attention": shapes, "blend": blended}
    if plan:
        show_plan(wb.plan(loaded, text, to=targets, **how), json)
        return
    sampling: dict[str, Any] = {"steps": steps, "guidance": guidance, "size": pixels}
    begin: dict[str, Any] = {"source": start or text, "scheduler": scheduler, **sampling}
    if kind == "picture":
        asked = {"to": targets, **how}
        check_ahead(loaded, source, text, asked, mask=mask, crop=crop, negative=negative, begin=begin)
        with progress("Inverting") as report:
            begin = {"source": inverted(loaded, source, text, inversion, scheduler, crop, report, sampling)}
    first = seed or 0
    noises = [{"seed": one} for one in range(first, first + count)] if kind == "prompt" else [{}]
    with progress("Editing") as report:
        results = [
            wb.edit(
                loaded,
                to=targets,
                negative=negative,
                mask=mask,
                keep_pixels=keep_pixels,
                cache=kept,
                progress=report,
                **begin,
                **noise,
                **how,
            )
            for noise in noises
        ]
    prompts = [text, *targets]
    files = pictures(results, place, prompts)
    write_files(files)
    told = f"{counted(len(results) * len(targets), 'edit')} in {place.place}"
    settings = [described(result, prompts) for result in results]
    tell(files, told, json=json, settings=settings if count > 1 else settings[0])


def check_count(count: int, kind: Kind, cache: Path | None) -> None:
    """Refuse several seeds where there is but one noise."""
    if count > 1 and kind != "prompt":
        raise BadOption(
            "--count is for pictures made from a prompt: a picture of your own brings its own noise"
        )
    if count > 1 and cache:
        raise BadOption(
            "--cache keeps the source of one seed, and --count asks for several: give one of them"
        )


def check_windows(windows: Mapping[str, Until | None]) -> None:
    """Refuse numbers that are no part of the steps, naming the option they were given with."""
    from wordbrush.edits.window import Schedule

    for option, window in windows.items():
        if window is None:
            continue
        try:
            Schedule.of(window)
        except InvalidInput as error:
            raise BadOption(f"{option}: {error.command}") from error


def check_pictures_options(
    kind: Kind, *, seed: int | None, method: str | None, settings: list[str] | None, crop: bool
) -> None:
    """Refuse options that mean nothing for this kind of SOURCE."""
    if kind != "prompt" and seed is not None:
        raise BadOption(
            "--seed is for pictures made from a prompt: a picture of your own brings its own noise"
        )
    asked = {"--method": method, "--method-setting": settings, "--crop": crop}
    given = next((name for name, value in asked.items() if value), None)
    if kind != "picture" and given:
        raise BadOption(
            f"{given} says how a picture is inverted, and SOURCE is no picture: give one with --caption"
        )


def check_method(inversion: Method | None, *, negative: str, cache: Path | None) -> None:
    """Refuse before the inversion what an edit of a picture that was inverted so refuses."""
    if inversion is None:
        return
    if negative and inversion.name in ("negative-prompt", "null-text"):
        raise BadOption(f"--method {inversion.name} brings its own negative side: leave --negative out")
    if cache and inversion.name == "flow-edit":
        raise BadOption(
            "--method flow-edit asks the network for the source too, which a cache does not keep: leave --cache out"
        )


def check_ahead(
    model: wb.Model,
    picture: str,
    caption: str,
    asked: dict[str, Any],
    *,
    mask: Path | None,
    crop: bool,
    negative: str,
    begin: dict[str, Any],
) -> None:
    """Raise before the inversion, which takes long, what the edit would raise after it."""
    from wordbrush.inversion.picture import fit_picture
    from wordbrush.masks import Mask
    from wordbrush.run import make_noise, make_run

    with warnings.catch_warnings(action="ignore"):  # the edit gives them
        plan = wb.plan(model, caption, **asked)
    known = fit_picture(model, picture, begin["size"], crop=crop)
    size = (known.picture.height, known.picture.width)
    if mask:
        Mask.read(mask, size, model.factor, known)
    make_run(
        model,
        (plan.source, *plan.targets),
        negative=negative,
        noise=make_noise(model, [0], size, None),
        plan=plan,
        **{name: begin[name] for name in ("guidance", "scheduler", "steps")},
    ).check()


def inverted(
    model: wb.Model,
    picture: str,
    caption: str,
    method: Method | None,
    scheduler: str | None,
    crop: bool,
    report: Report,
    sampling: dict[str, Any],
) -> wb.Start:
    """Invert a picture with what was asked for."""
    asked: dict[str, Any] = {"method": method, "scheduler": scheduler}
    chosen = {name: value for name, value in asked.items() if value is not None}
    return wb.invert(model, picture, caption, crop=crop, progress=report, **chosen, **sampling)


def folder_name(source: str, seed: int | None, deciding: Sequence[object]) -> str:
    """Return a name that another edit of the same source does not share: it ends in a digest of ``deciding``."""
    digest = hashlib.sha256(repr((source, *deciding)).encode()).hexdigest()[:8]
    return f"{slug(source)}-{digest}" if seed is None else f"{slug(source)}-seed{seed}-{digest}"


def fader_targets(source: str, to: list[str], weights: dict[Any, tuple[float, ...]]) -> list[str]:
    """Return one target prompt per picture: those of --to, or the source itself where only words are weighted.

    Weights with several strengths repeat the one target, once for each strength.
    """
    if not to and not weights:
        raise BadOption(
            "nothing to change: give a target with --to, or a word's strength with --weight, as snow=2"
        )
    targets = to or [source]
    pictures = max((len(strengths) for strengths in weights.values()), default=1)
    if pictures > 1 and len(targets) > 1:
        raise BadOption(
            f"--weight lists {pictures} strengths and --to {len(targets)} targets; use one list at a time"
        )
    return targets * pictures if pictures > 1 else targets


def chosen_edits(
    weights: dict[Any, tuple[float, ...]], targets: int, *, renormalise: bool | None
) -> wb.Reweight | list[list[wb.Reweight]] | None:
    """Return what --weight adds to the edits that are inferred: one for all targets, or a list for each of them.

    Args:
        renormalise: as for ``wb.Reweight``.
    """
    if not weights:
        return None
    if all(len(strengths) == 1 for strengths in weights.values()):
        return wb.Reweight({word: strength for word, (strength,) in weights.items()}, renormalise=renormalise)
    each = [
        {word: values[number if len(values) > 1 else 0] for word, values in weights.items()}
        for number in range(targets)
    ]
    return [[wb.Reweight(strengths, renormalise=renormalise)] for strengths in each]


def pictures(results: Sequence[wb.EditResult], place: Destination, prompts: list[str]) -> dict[Path, bytes]:
    """Return the files to write: the captioned picture alone, or it and every picture by itself.

    Several results, of several seeds, make a row of the captioned picture each.
    """
    from wordbrush.contact import contact_sheet

    several = len(results) > 1
    settings = described(results[0], prompts)
    sheet = results[0].grid(caption=True)
    if several:
        seeds = [result.settings["seed"] for result in results]
        settings["seed"] = seeds
        images = [image for result in results for image in result.panels]
        captions = [
            (text, seed) for result, seed in zip(results, seeds, strict=True) for text in result.captions
        ]
        sheet = contact_sheet(images, seeded(captions), columns=len(prompts))
    captioned = png(sheet, settings)
    if place.file:
        return {place.file: captioned}
    assert place.folder is not None
    files = {place.folder / "grid.png": captioned}
    for result in results:
        seed = f"-seed{result.settings['seed']}" if several else ""
        settings = described(result, prompts)
        if result.original:
            files[place.folder / "picture.png"] = png(result.original, settings)
        files[place.folder / f"source{seed}.png"] = png(result.source, settings)
        made = zip(result.images, result.plan.targets, result.plan.edits, strict=True)
        for number, (image, target, edits) in enumerate(made, start=1):
            name = f"{number:02d}-{slug(target.text)}{strengths_in_name(target, edits)}{seed}.png"
            files[place.folder / name] = png(image, {**settings, "target": target.text, "row": number})
    return files


def strengths_in_name(target: Prompt, edits: Sequence[Edit], length: int = 100) -> str:
    """Return the strengths of re-weighted words as ``-snow-0.5``: as many words as fit into ``length`` bytes."""
    from wordbrush.results import strengths

    name = ""
    for word, strength in strengths(target, edits):
        longer = f"{name}-{slug(word)}-{strength:g}"
        name = longer if len(longer.encode()) <= length else name
    return name


def described(result: wb.EditResult, prompts: list[str]) -> dict[str, Any]:
    """Return how the result was made: prompts, settings, plan and versions."""
    from wordbrush.edits.fields import fields

    made = with_versions(result.settings, plan=fields(result.plan))
    return {"source": prompts[0], "targets": prompts[1:], **made}


def show_plan(plan: wb.EditPlan, json: bool) -> None:
    """Print what an edit would do."""
    if json:
        from wordbrush.edits.fields import fields

        print_json(fields(plan))
    else:
        typer.echo(plan.describe())
