"""Prompt-to-Prompt on storybook, measured: does the edit appear, and does the rest stay?

Every source scene gets one edit of each kind, made in several ways from the same noise: with no injection, as
published, and as ``wb.edit`` does by default. *Success*: the judges read the changed attribute as the target prompt
says. *Kept*: they read all others as they read them in the source picture. *PSNR*: over the pixels outside the
subject's silhouettes in source and target, for swaps of the subject. *IoU*: of the silhouettes, for edits that leave
the subject alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

import wordbrush
from wordbrush.edits.plan import Recipe
from wordbrush.models import Model
from wordbrush.results import EditResult
from wordbrush.storybook.evaluate import ATTRIBUTES, Progress, described
from wordbrush.storybook.judges import Judges, Reading
from wordbrush.storybook.recipe.renders import scene_at
from wordbrush.storybook.scene import COMPANIONS, PLACES, STYLES, SUBJECTS, TIMES, Scene, caption
from wordbrush.storybook.statistics import mean, share

FADER = (0.0, 0.5, 1.0, 1.5, 2.0)
"""Factors of the faded word, rising."""

KINDS = ("subject", "place", "time", "style", "companion added", "companion removed")
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
        ValueError: ``sources`` is not positive.
    """
    if sources < 1:
        raise ValueError(f"there must be at least one source to edit, not {sources}")
    setting: Setting = {"steps": steps, "guidance": guidance}
    rows: dict[str, dict[str, list[dict[str, float]]]] = {kind: {way: [] for way in WAYS} for kind in KINDS}
    rising: dict[str, list[bool]] = {time: [] for time in ("snow", "rain", "fog")}
    for index in range(sources):
        scene = _plain(scene_at("heldout", index)[0])
        targets = {kind: _changed(scene, kind, index) for kind in KINDS}
        for way in WAYS:
            for kind, (before, after) in targets.items():
                result = wordbrush.edit(
                    model,
                    caption(before),
                    to=caption(after),
                    seed=index,
                    **_how(way, before, after),
                    **setting,
                )
                rows[kind][way].append(_measure(kind, after, result, judges))
        time = list(rising)[index % 3]
        rising[time].append(_fades(model, judges, replace(scene, time=time), index, setting))
        if progress is not None:
            progress(index + 1, sources)
    return {
        "sources": sources,
        "edits": {kind: {way: _summary(found) for way, found in ways.items()} for kind, ways in rows.items()},
        "fader": {time: share(found) for time, found in rising.items()},
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
        case "companion added":
            return scene, replace(scene, companion=str(rng.choice(COMPANIONS)))
        case _:
            return replace(scene, companion=str(rng.choice(COMPANIONS))), scene


def _how(way: str, before: Scene, after: Scene) -> Setting:
    """Arguments of ``wb.edit`` for one way of editing."""
    if way == "no injection":
        return {"edits": [], "self_attention": 0.0}
    if way == "default":
        return {}
    equal = len(caption(before).split()) == len(caption(after).split())
    recipe: Recipe = wordbrush.published.stable("replace" if equal else "refine")
    return {"edits": recipe}


def _measure(kind: str, after: Scene, result: EditResult, judges: Judges) -> dict[str, float]:
    reading = judges.read([result.source, *result.images])
    attribute = kind.split()[0]
    kept = all(reading.words[name][0] == reading.words[name][1] for name in ATTRIBUTES if name != attribute)
    measures = {"success": reading.words[attribute][1] == described(after)[attribute], "kept": kept}
    if attribute == "subject":
        return {**measures, "psnr": _psnr_outside(result, reading)}
    return {**measures, "iou": _iou(reading)}


def _psnr_outside(result: EditResult, reading: Reading) -> float:
    """PSNR in dB over the pixels in neither silhouette, for levels 0..255; at most 60 (equal pictures)."""
    outside = ~reading.outline.any(axis=0).repeat(4, axis=0).repeat(4, axis=1)
    source, target = (np.asarray(image.convert("RGB"), float) for image in (result.source, result.images[0]))
    squared = np.square(source - target)[outside].mean() if outside.any() else 255.0**2
    return float(10 * np.log10(255.0**2 / max(squared, 255.0**2 * 1e-6)))


def _iou(reading: Reading) -> float:
    before, after = reading.outline
    union = (before | after).sum()
    return float((before & after).sum() / union) if union else 1.0


def _fades(model: Model, judges: Judges, scene: Scene, seed: int, setting: Setting) -> bool:
    """True if the strength read by the judges rises, or stays within their noise, with every rise of the fader."""
    prompt = caption(scene)
    strengths = [[wordbrush.Reweight({scene.time: factor})] for factor in FADER]
    result = wordbrush.edit(model, prompt, to=[prompt] * len(FADER), edits=strengths, seed=seed, **setting)
    read = judges.read(result.images).strength[scene.time]
    return bool(np.all(np.diff(read) > -0.02) and read[-1] > read[0] + 0.02)


def _summary(found: list[dict[str, float]]) -> dict[str, Any]:
    summarise: dict[str, Callable[[list[Any]], dict[str, float | int]]] = {
        "success": share, "kept": share, "psnr": mean, "iou": mean,
    }  # fmt: skip
    return {name: summarise[name]([row[name] for row in found]) for name in found[0]}
