"""Prompt-to-Prompt on storybook, measured: does the edit appear, and does the rest stay?

Every source scene gets one edit of each kind, made in several ways from the same noise: with no injection, as
published, and as ``wb.edit`` does by default. *Success*: the judges read the changed attribute as the target prompt
says. *Kept*: they read all others as they read them in the source picture. *PSNR* and *SSIM*: outside the subject's
silhouettes in source and target, for swaps of the subject. *IoU*: of the silhouettes, for edits that leave the subject
alone. *Outlined*: the share of edits in which the judge found both silhouettes; only they count for the last three.

Every source is measured from its own index alone, so a record of those that are done can be gone on from.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import wordbrush
from wordbrush.checks import check_count
from wordbrush.dataset.readers import json_objects
from wordbrush.dataset.weights import digest
from wordbrush.errors import DataError, InvalidInput, nearest
from wordbrush.files import append_json, mend_lines, write_files
from wordbrush.metrics.pixels import psnr, ssim
from wordbrush.models import EMBEDDED, Model
from wordbrush.results import EditResult
from wordbrush.storybook import amounts
from wordbrush.storybook.evaluate import ATTRIBUTES, Progress, described
from wordbrush.storybook.judges import Judges
from wordbrush.storybook.recipe.renders import scene_at
from wordbrush.storybook.scene import (
    COLOURABLE,
    COLOURS,
    COMPANIONS,
    KINDS,
    PLACES,
    STYLES,
    SUBJECTS,
    TIMES,
    Scene,
    caption,
)
from wordbrush.storybook.statistics import mean, share

if TYPE_CHECKING:
    from PIL.Image import Image

    from wordbrush.edits.prompt import Prompt

FADER = (0.0, 0.5, 1.0, 1.5, 2.0)
"""Factors of the faded word, rising."""

TOLERANCE = 0.05
"""A reading may fall from one factor to the next by this share of the range of all and still count as not falling."""

FADED = ("snow", "rain", "fog", "colour")
"""What is faded, one of them at every source in turn."""

FADERS: Mapping[str, bool | None] = {"published": False, "default": None}
"""Whether the maps are renormalised, by the ways in which words are faded."""

MEASURED = (*KINDS, "fader")
WAYS = ("no injection", "published", "default")

Setting = dict[str, Any]


def evaluate_edits(
    model: Model,
    judges: Judges,
    *,
    sources: int,
    kinds: Sequence[str] = MEASURED,
    record: Path | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Edit ``sources`` scenes in every kind and way and fade as many; return the measures by kind and way.

    Args:
        kinds: which of ``MEASURED``.
        record: a file that gets a line of JSON for each source; those that it has are not measured again.

    Raises:
        InvalidInput: there is no such kind, or ``sources`` is not positive.
        DataError: the record is of other kinds, settings or weights, or is none.
        CannotWrite: the disk refuses the record.
    """
    check_count("sources", sources)
    for kind in kinds:
        if kind not in MEASURED:
            raise InvalidInput(
                f"there is no kind of edit {kind!r}{nearest(kind, MEASURED)}; there are {', '.join(MEASURED)}"
            )
    setting: Setting = {"steps": steps, "guidance": guidance}
    found: dict[int, dict[str, Any]] = {}
    if record:
        weights = digest(model.name, EMBEDDED)
        head = {
            "model": model.name,
            "weights": weights,
            "kinds": list(kinds),
            **setting,
            "ways": _plans(model),
        }
        found = recorded(record, head)
    for index in range(sources):
        if index not in found:
            found[index] = _of_source(model, judges, index, kinds, setting)
            if record:
                append_json(record, [{"index": index, **found[index]}])
        if progress is not None:
            progress(index + 1, sources)
    return _summaries([found[index] for index in range(sources)], kinds)


def _plans(model: Model) -> dict[str, str]:
    """Return what every way does with one pair of prompts: a record of other settings is not gone on from."""
    before, after = (Scene(subject=subject, place="beach") for subject in ("cat", "dog"))
    return {
        way: wordbrush.plan(
            model, caption(before), to=caption(after), **_how(way, before, [after])
        ).describe()
        for way in WAYS
    }


def recorded(record: Path, head: Mapping[str, Any]) -> dict[Any, dict[str, Any]]:
    """Return what a record holds by index, after its first line, which says what it is of; a new one gets that line.

    A last line that a killed run has not finished is taken off; a file of something else is left as it is.

    Raises:
        DataError: the record is of something else than ``head``, or is none.
        CannotWrite: the disk refuses.
    """
    if not record.exists():
        write_files({record: (json.dumps(head) + "\n").encode()})  # whole, also if a kill comes in between
        return {}
    _, was = next(json_objects(record), (0, {}))
    if was != head:
        raise DataError(
            f"{record} is a record of {json.dumps(was)}, not of {json.dumps(head)}: name another file"
        )
    mend_lines(record)
    _, *lines = json_objects(record)
    return {line.pop("index"): line for _, line in lines}


def _of_source(
    model: Model, judges: Judges, index: int, kinds: Sequence[str], setting: Setting
) -> dict[str, Any]:
    """Return the measures of one source's edits by kind and way, and how much of the faded word there is."""
    scene = _plain(scene_at("heldout", index)[0])
    by_source: dict[Scene, dict[str, Scene]] = {}
    for kind in (kind for kind in KINDS if kind in kinds):
        before, after = _changed(scene, kind, index)
        by_source.setdefault(before, {})[kind] = after
    edits: dict[str, dict[str, dict[str, float]]] = {}
    for way, (before, afters) in itertools.product(WAYS, by_source.items()):
        result = wordbrush.edit(
            model,
            caption(before),
            to=[caption(after) for after in afters.values()],
            seed=index,
            **_how(way, before, list(afters.values())),
            **setting,
        )
        for kind, measures in _measure(afters, result, judges).items():
            edits.setdefault(kind, {})[way] = measures
    if "fader" not in kinds:
        return {"edits": edits}
    word = FADED[index % len(FADED)]
    return {"edits": edits, "fader": {word: _faded(model, judges, scene, word, index, setting)}}


def _summaries(found: Sequence[Mapping[str, Any]], kinds: Sequence[str]) -> dict[str, Any]:
    """Put the measures of all sources together."""
    summaries: dict[str, Any] = {
        "sources": len(found),
        "edits": {
            kind: {way: _summary([one["edits"][kind][way] for one in found]) for way in WAYS}
            for kind in KINDS
            if kind in kinds
        },
    }
    if "fader" in kinds:
        reads = [(word, read) for one in found for word, read in one["fader"].items()]
        fader: dict[str, Any] = {way: {} for way in FADERS}
        for way, (name, tolerance) in itertools.product(
            FADERS, {"rises": TOLERANCE, "rises strictly": 0.0}.items()
        ):
            fader[way][name] = {
                word: share([_rises(read[way], tolerance) for which, read in reads if which == word])
                for word in FADED
            }
        summaries["fader"] = {"tolerance": TOLERANCE, **fader}
    return summaries


def _plain(scene: Scene) -> Scene:
    """The scene without colour and companion, which the edits add, so that every edit starts alike."""
    return replace(scene, colour=None, companion=None)


def _changed(scene: Scene, kind: str, index: int) -> tuple[Scene, Scene]:
    """Return the source and the target of one edit; which target is a function of the index."""
    rng = np.random.default_rng([17, index, KINDS.index(kind)])

    def other(words: tuple[str, ...], present: str) -> str:
        return str(rng.choice([word for word in words if word != present]))

    match kind:
        case "subject":
            return scene, replace(scene, subject=other(SUBJECTS, scene.subject))
        case "place":
            return scene, replace(scene, place=other(PLACES, scene.place))
        case "time":
            return scene, replace(scene, time=other(TIMES, scene.time))
        case "style":
            return replace(scene, style="plain"), replace(scene, style=other(STYLES, "plain"))
        case "colour":
            subject = scene.subject if scene.subject in COLOURABLE else str(rng.choice(sorted(COLOURABLE)))
            style = "plain" if scene.style == "pencil sketch" else scene.style  # a sketch shows no colour
            before, after = (str(word) for word in rng.choice(COLOURS, 2, replace=False))
            coloured = replace(scene, subject=subject, style=style, colour=before)
            return coloured, replace(coloured, colour=after)
        case "companion added":
            return scene, replace(scene, companion=str(rng.choice(COMPANIONS)))
        case _:
            return replace(scene, companion=str(rng.choice(COMPANIONS))), scene


def _how(way: str, before: Scene, afters: Sequence[Scene]) -> Setting:
    """Arguments of ``wb.edit`` for one way of editing one source into several targets."""
    if way == "no injection":
        return {"edits": [], "self_attention": 0.0}
    if way == "default":
        return {}
    words = len(caption(before).split())
    recipes = [
        wordbrush.published.stable("replace" if len(caption(after).split()) == words else "refine")
        for after in afters
    ]

    def edits(source: Prompt, targets: Sequence[Prompt]) -> Any:
        return [recipe.edits_for(source, [target]) for recipe, target in zip(recipes, targets, strict=True)]

    return {"edits": replace(recipes[0], edits=edits)}


def _measure(afters: Mapping[str, Scene], result: EditResult, judges: Judges) -> dict[str, dict[str, float]]:
    """Return the measures of the edits of one source by kind; ``afters`` are their targets."""
    reading = judges.read([result.source, *result.images])
    measured: dict[str, dict[str, float]] = {}
    for row, (kind, after) in enumerate(afters.items(), start=1):
        attribute = kind.split()[0]
        old, new = (reading.of(of, coloured=after.colour is not None) for of in (0, row))
        before, now = reading.outline[[0, row]]
        measures = measured[kind] = {
            "success": new[attribute] == described(after)[attribute],
            "kept": all(old[name] == new[name] for name in ATTRIBUTES if name != attribute),
            "outlined": bool(before.any() and now.any()),
        }
        if not measures["outlined"]:
            continue
        if attribute == "subject":
            measures |= _outside(result.source, result.images[row - 1], before | now)
        else:
            measures["iou"] = float((before & now).sum() / (before | now).sum())
    return measured


def _outside(before: Image, after: Image, silhouettes: np.ndarray) -> dict[str, float]:
    """PSNR in dB and SSIM over the pixels in neither silhouette."""
    outside = ~_full_size(silhouettes)
    return {"psnr": psnr(before, after, outside), "ssim": ssim(before, after, outside)}


def _full_size(outline: np.ndarray) -> np.ndarray:
    """Return a (32, 32) silhouette at the size of the picture, (128, 128)."""
    return outline.repeat(4, axis=0).repeat(4, axis=1)


def _faded(
    model: Model, judges: Judges, scene: Scene, word: str, seed: int, setting: Setting
) -> dict[str, list[float] | None]:
    """Return how much of the word there is at every factor, by the way in which it is faded.

    None for the colour of a subject that is not found.
    """
    scene = _changed(scene, "colour", seed)[0] if word == "colour" else replace(scene, time=word)
    faded = (scene.colour or word) if word == "colour" else word
    prompt = caption(scene)
    read: dict[str, list[float] | None] = {}
    for way, renormalise in FADERS.items():
        edits = [[wordbrush.Reweight({faded: factor}, renormalise=renormalise)] for factor in FADER]
        to = [prompt] * len(FADER)
        images = wordbrush.edit(model, prompt, to=to, edits=edits, seed=seed, **setting).images
        read[way] = _amounts(images, word, faded, judges)
    return read


def _amounts(images: Sequence[Image], word: str, faded: str, judges: Judges) -> list[float] | None:
    """Return how much of a word there is in pictures of all factors; ``faded`` is the colour that a word is."""
    if word == "rain":
        return [amounts.rain(image) for image in images]
    reading = judges.read(images)
    if word != "colour":
        return [float(strength) for strength in reading.strength[word]]
    subject = _full_size(reading.outline[FADER.index(1.0)])
    return [amounts.colour(image, faded, subject) for image in images] if subject.any() else None


def _rises(read: Sequence[float] | None, tolerance: float) -> bool:
    """True if no reading falls by more than a share of their range and the last is above the first by more."""
    if read is None:
        return False
    allowed = tolerance * float(np.ptp(read))
    return bool(np.all(np.diff(read) >= -allowed) and read[-1] - read[0] > allowed)


def _summary(found: list[dict[str, float]]) -> dict[str, Any]:
    shares = {name: share([bool(row[name]) for row in found]) for name in ("success", "kept", "outlined")}
    measured = [name for name in ("psnr", "ssim", "iou") if any(name in row for row in found)]
    return shares | {name: mean([row[name] for row in found if name in row]) for name in measured}
