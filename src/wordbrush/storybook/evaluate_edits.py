"""Prompt-to-Prompt on storybook, measured: does the edit appear, and does the rest stay?

Every source scene gets one edit of each kind, made in several ways from the same noise: with no injection, as
published, and as ``wb.edit`` does by default. *Success*: the judges read the changed attribute as the target prompt
says. *Kept*: they read all others as they read them in the source picture. *PSNR* and *SSIM*: outside the subject's
silhouettes in source and target, for swaps of the subject. *IoU*: of the silhouettes, for edits that leave the subject
alone. *Outlined*: the share of edits in which the judge found both silhouettes; only they count for the last three.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

import wordbrush
from wordbrush.checks import check_count
from wordbrush.metrics.pixels import psnr, ssim
from wordbrush.models import Model
from wordbrush.results import EditResult
from wordbrush.storybook import amounts
from wordbrush.storybook.evaluate import ATTRIBUTES, Progress, described
from wordbrush.storybook.judges import Judges
from wordbrush.storybook.recipe.renders import scene_at
from wordbrush.storybook.scene import (
    COLOURABLE,
    COLOURS,
    COMPANIONS,
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

FADER = (0.0, 0.5, 1.0, 1.5, 2.0)
"""Factors of the faded word, rising."""

TOLERANCE = 0.05
"""A reading may fall from one factor to the next by this share of the range of all and still count as not falling."""

KINDS = ("subject", "place", "time", "style", "colour", "companion added", "companion removed")
WAYS = ("no injection", "published", "default")

Setting = dict[str, Any]


def evaluate_edits(
    model: Model,
    judges: Judges,
    *,
    sources: int,
    steps: int | None = None,
    guidance: float | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Edit ``sources`` scenes in every kind and way and fade as many; return the measures by kind and way.

    Raises:
        InvalidInput: ``sources`` is not positive.
    """
    check_count("sources", sources)
    setting: Setting = {"steps": steps, "guidance": guidance}
    rows: dict[str, dict[str, list[dict[str, float]]]] = {kind: {way: [] for way in WAYS} for kind in KINDS}
    rising: dict[str, list[np.ndarray | None]] = {word: [] for word in ("snow", "rain", "fog", "colour")}
    for index in range(sources):
        scene = _plain(scene_at("heldout", index)[0])
        by_source: dict[Scene, dict[str, Scene]] = {}
        for kind in KINDS:
            before, after = _changed(scene, kind, index)
            by_source.setdefault(before, {})[kind] = after
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
                rows[kind][way].append(measures)
        word = list(rising)[index % len(rising)]
        rising[word].append(_faded(model, judges, scene, word, index, setting))
        if progress is not None:
            progress(index + 1, sources)
    return {
        "sources": sources,
        "edits": {kind: {way: _summary(found) for way, found in ways.items()} for kind, ways in rows.items()},
        "fader": {
            "tolerance": TOLERANCE,
            "rises": {
                word: share([_rises(read, TOLERANCE) for read in found]) for word, found in rising.items()
            },
            "rises strictly": {
                word: share([_rises(read, 0) for read in found]) for word, found in rising.items()
            },
        },
    }


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
    edits: Any = [recipe.edits for recipe in recipes]
    return {"edits": replace(recipes[0], edits=edits)}


def _measure(afters: Mapping[str, Scene], result: EditResult, judges: Judges) -> dict[str, dict[str, float]]:
    """Return the measures of the edits of one source by kind; ``afters`` are their targets."""
    reading = judges.read([result.source, *result.images])
    measured: dict[str, dict[str, float]] = {}
    for row, (kind, after) in enumerate(afters.items(), start=1):
        attribute = kind.split()[0]
        words = {name: (read[0], read[row]) for name, read in reading.words.items()}
        before, now = reading.outline[[0, row]]
        measures = measured[kind] = {
            "success": words[attribute][1] == described(after)[attribute],
            "kept": all(words[name][0] == words[name][1] for name in ATTRIBUTES if name != attribute),
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
) -> np.ndarray | None:
    """Return how much of the word there is at every factor; None for the colour of a subject that is not found."""
    scene = _changed(scene, "colour", seed)[0] if word == "colour" else replace(scene, time=word)
    faded = (scene.colour or word) if word == "colour" else word
    prompt = caption(scene)
    strengths = [[wordbrush.Reweight({faded: factor})] for factor in FADER]
    images = wordbrush.edit(
        model, prompt, to=[prompt] * len(FADER), edits=strengths, seed=seed, **setting
    ).images
    if word == "rain":
        return np.array([amounts.rain(image) for image in images])
    reading = judges.read(images)
    if word != "colour":
        return reading.strength[word]
    subject = _full_size(reading.outline[FADER.index(1.0)])
    return np.array([amounts.colour(image, faded, subject) for image in images]) if subject.any() else None


def _rises(read: np.ndarray | None, tolerance: float) -> bool:
    """True if no reading falls by more than a share of their range and the last is above the first by more."""
    if read is None:
        return False
    allowed = tolerance * float(np.ptp(read))
    return bool(np.all(np.diff(read) >= -allowed) and read[-1] - read[0] > allowed)


def _summary(found: list[dict[str, float]]) -> dict[str, Any]:
    shares = {name: share([bool(row[name]) for row in found]) for name in ("success", "kept", "outlined")}
    measured = [name for name in ("psnr", "ssim", "iou") if any(name in row for row in found)]
    return shares | {name: mean([row[name] for row in found if name in row]) for name in measured}
