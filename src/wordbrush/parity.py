"""Reference cases of the published algorithm, translated into calls of ``wordbrush.edit``.

A case is a plain dictionary: pipeline, prompts, controller with its settings, scheduler, number of steps, and the
initial latent as ``init``. Everything that the published notebooks do differently from one another is chosen by
``variant``; how each quirk is expressed here is ``wordbrush.published``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wordbrush.edits import published
from wordbrush.edits.plan import Recipe
from wordbrush.edits.published import CrossSchedule, Equalizer, LocalBlend, Transfer
from wordbrush.edits.self_attention import SelfAttention
from wordbrush.edits.window import Clock, Rounding
from wordbrush.models import Model, load
from wordbrush.prompt_to_prompt import edit, generate

Case = Mapping[str, Any]

# Where the published notebooks differ: the largest self-attention grid, and the local blend.
SELF_PIXELS = {"stable": 16**2, "ldm": 16**2, "nulltext": 32**2}
BLEND: dict[str, dict[str, Any]] = {
    "stable": {},
    "ldm": {"pooled": False},
    "nulltext": {"start": 0.2},
}
SCHEDULERS = {
    "ddim": ("DDIMScheduler", {"steps_offset": 1}),
    "ddim_offset0": ("DDIMScheduler", {"steps_offset": 0}),
    "pndm": ("PNDMScheduler", {"steps_offset": 1, "skip_prk_steps": True}),
}


def run_case(case: Case, pipelines_dir: str | Path) -> np.ndarray:
    """Return the final latents of a case, (1 + targets, 4, h, w), source first.

    Args:
        case: with ``init`` (1, 4, h, w), the latent that all rows start from.
        pipelines_dir: the folder that has the directory ``case["pipeline"]``.
    """
    model = _model(str(Path(pipelines_dir) / case["pipeline"]), "float64" if "float64" in case["dtypes"] else "float32")
    source, *targets = case["prompts"]
    settings = {
        "latents": torch.as_tensor(np.asarray(case["init"])),
        "steps": case["num_steps"],
        "guidance": case["guidance"],
        "scheduler": _scheduler(case, model),
    }
    recipe = _recipe(case, model)
    if recipe is None:
        return generate(model, case["prompts"], seed=0, **settings).latents.numpy()
    return edit(model, source, to=targets, edits=recipe, **settings).latents.numpy()


def _recipe(case: Case, model: Model) -> Recipe | None:
    controller = case["controller"]
    first, _, chained = controller["type"].partition("+")
    if first in ("empty", "store"):
        return None
    schedule = CrossSchedule(_steps(controller["cross_replace_steps"]))
    transfer = Transfer(first, schedule)
    weights = _equalizers(case, model, schedule) if "reweight" in (first, chained) else [None]
    per_target = [[transfer, *([weight] if weight else [])] for weight in weights]
    return Recipe(
        per_target if len(per_target) > 1 else per_target[0],
        SelfAttention(
            _steps(controller["self_replace_steps"]),
            max_pixels=SELF_PIXELS[case["variant"]],
            rounding=Rounding.PUBLISHED_SELF,
        ),
        _blend(case),
    )


def _equalizers(case: Case, model: Model, schedule: CrossSchedule) -> list[Equalizer]:
    """Return one equalizer for all targets, or in the LDM form one per target.

    LDM and stable give every word the same value, one target per value; null-text gives each word its own.
    """
    given = case["controller"]["equalizer"]
    words, values, variant = given["words"], given["values"], case["variant"]
    words = [words] if isinstance(words, str | int) else words
    prompt = model.backbone.read(case["prompts"][given.get("prompt", 0 if variant == "ldm" else 1)])
    if variant == "nulltext":
        return [Equalizer(dict(zip(words, values, strict=False)), schedule, prompt)]
    return [Equalizer(dict.fromkeys(words, value), schedule, prompt) for value in values]


def _blend(case: Case) -> LocalBlend | None:
    given = case["controller"].get("local_blend")
    if given is None:
        return None
    chosen, subtracted = given.get("th", (given.get("threshold", 0.3), 0.3))
    settings = dict(BLEND[case["variant"]])
    if "start_blend" in given:
        settings["start"] = given["start_blend"]
    return LocalBlend(
        given["words"],
        threshold=chosen,
        subtract=given.get("substruct_words") or (),
        subtract_threshold=subtracted,
        **settings,
    )


def _steps(given: Any) -> Any:
    """Read a fraction, a list [start, stop], or a mapping to either."""
    if isinstance(given, Mapping):
        return {word: _steps(steps) for word, steps in given.items()}
    return tuple(given) if isinstance(given, Sequence) else given


def _scheduler(case: Case, model: Model) -> Any:
    import diffusers

    name, changes = SCHEDULERS[case["scheduler"]]
    return getattr(diffusers, name).from_config(model.scheduler.config, **changes)


@lru_cache(maxsize=4)
def _model(folder: str, dtype: str) -> Model:
    return load(folder, dtype=getattr(torch, dtype), device="cpu")
