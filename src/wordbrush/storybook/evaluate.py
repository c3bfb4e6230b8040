"""Measuring a model and its edits against a world whose truth is known: ``wordbrush storybook evaluate``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import wordbrush
from wordbrush.errors import ModelError
from wordbrush.storybook.judges import SIDE, Judges
from wordbrush.storybook.recipe.judge import NONE
from wordbrush.storybook.recipe.renders import scene_at
from wordbrush.storybook.scene import STYLES, Scene, caption
from wordbrush.storybook.statistics import share

BATCH = 16
ATTRIBUTES = ("subject", "place", "time", "style", "companion", "colour")

Progress = Callable[[int, int], None]


def evaluate(
    model: str | Path = "storybook",
    *,
    prompts: int = 500,
    p2p: bool = False,
    kinds: Sequence[str] = (),
    record: Path | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure pictures (or, with ``p2p``, edits) by judges trained on renders alone.

    Args:
        model: anything ``wordbrush.load`` takes that draws 128 × 128 pixels.
        prompts: number of prompts, all of combinations that no training picture has; with ``p2p`` the number of
            sources, each of which gets one edit of every kind.
        p2p: measure Prompt-to-Prompt edits instead of single pictures.
        kinds: with ``p2p``, which of ``evaluate_edits.MEASURED``; empty for all.
        record: with ``p2p``, a file to go on from, as in ``evaluate_edits``.
        steps: sampler steps; None for the model's default, as for ``guidance``.
        device: torch device; None takes a GPU when there is one.
        progress: called with (pictures or sources done, in all).

    Raises:
        ModelError: the model draws another size, or the judges are missing or unreadable.

    Returns:
        For pictures, per attribute and per style the share read rightly with its 95 % Wilson interval. For edits see
        ``wordbrush.storybook.evaluate_edits``.
    """
    loaded = wordbrush.load(model, device=device)
    if loaded.image_size != (SIDE, SIDE):
        raise ModelError(
            f"the judges read pictures of {SIDE} × {SIDE} pixels, but {loaded.name} draws "
            f"{loaded.image_size[0]} × {loaded.image_size[1]}; only models of the storybook world can be measured"
        )
    judges = Judges()
    if p2p:
        from wordbrush.storybook.evaluate_edits import MEASURED, evaluate_edits

        return evaluate_edits(
            loaded,
            judges,
            sources=prompts,
            kinds=kinds or MEASURED,
            record=record,
            steps=steps,
            guidance=guidance,
            progress=progress,
        )
    scenes = [scene_at("heldout", index)[0] for index in range(prompts)]
    right: dict[str, list[bool]] = {name: [] for name in ATTRIBUTES}
    styled: dict[str, list[bool]] = {style: [] for style in STYLES}
    invented: list[bool] = []
    settings: dict[str, Any] = {}
    for start in range(0, prompts, BATCH):
        batch = scenes[start : start + BATCH]
        seeds = list(range(start, start + len(batch)))
        made = wordbrush.generate(
            loaded, [caption(s) for s in batch], seed=seeds, steps=steps, guidance=guidance
        )
        reading, settings = judges.read(made.images), made.settings
        for row, scene in enumerate(batch):
            read = reading.of(row, coloured=scene.colour is not None)
            for name in ATTRIBUTES:
                wanted = getattr(scene, name)
                if wanted is not None:
                    right[name].append(read[name] == wanted)
            styled[scene.style].append(read["style"] == scene.style)
            if scene.companion is None:
                invented.append(read["companion"] != NONE)
        if progress is not None:
            progress(start + len(batch), prompts)
    return {
        "prompts": prompts,
        "settings": settings,
        "right": {name: share(values) for name, values in right.items()},
        "style_right": {style: share(values) for style, values in styled.items()},
        "companion_invented": share(invented),
    }


def described(scene: Scene) -> dict[str, str]:
    """What the judges should read in a picture of ``scene``."""
    return {name: getattr(scene, name) or NONE for name in ATTRIBUTES}
