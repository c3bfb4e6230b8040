"""One entry point for every stage: what ``wordbrush storybook train`` calls."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from wordbrush.errors import WordbrushError, nearest
from wordbrush.storybook.recipe.budget import Budget
from wordbrush.storybook.recipe.files import write_json

STAGES = (
    "adopt",
    "renders",
    "tokenizer",
    "autoencoder",
    "latents",
    "decoder",
    "recogniser",
    "text_to_image",
    "joint_text_to_image",
    "details",
    "judge_shape",
    "judge_place",
    "judge_look",
    "judge_outline",
    "contrastive",
    "writer",
    "export",
)

DEFAULTS: dict[str, dict[str, Any]] = {
    "renders": {"train": 30_000, "judge": 12_000, "workers": os.cpu_count() or 1},
    "tokenizer": {},
    "autoencoder": {"total": 400_000, "batch": 8},
    "latents": {},
    "decoder": {"total": 100_000, "batch": 8},
    "recogniser": {"total": 60_000},
    "text_to_image": {"total": 2_000_000, "decay": 600_000, "batch": 32, "size": "small"},
    "joint_text_to_image": {"total": 2_000_000, "decay": 600_000, "batch": 32, "size": "small"},
    "details": {"total": 100_000, "batch": 8},
    "judge_shape": {"total": 200_000},
    "judge_place": {"total": 100_000},
    "judge_look": {"total": 100_000},
    "judge_outline": {"total": 60_000},
    "contrastive": {"total": 120_000},
    "writer": {
        "total": 200_000,
        "decay": 100_000,
        "captions": 25_600,
        "exercises": 40_000,
        "batch": 16,
        "peak": 1e-3,
    },
    "export": {"destination": None},
    "adopt": {},
}
"""Settings of each stage; change one with ``--set key=value``. Counts are pictures seen, of the writer texts."""


def train(
    stage: str,
    *,
    minutes: float,
    out: Path,
    resume: bool = False,
    device: str | None = None,
    settings: dict[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Run one stage of the recipe for at most ``minutes`` and return what was done.

    Args:
        stage: one of ``STAGES``; the stages find each other's results under ``out``.
        minutes: wall-clock limit of this call; the schedule itself is counted in samples. ``tokenizer``, ``adopt`` and
            ``export`` are short and have none.
        out: folder of the whole recipe; each stage has a folder of its name in it.
        resume: continue a run that has a saved state; without it such a run is refused.
        device: torch device; None takes a GPU when there is one.
        settings: overrides of ``DEFAULTS[stage]`` as text.
        progress: called with (done, of all), in samples or shards.

    Raises:
        WordbrushError: unknown stage or setting, a stage before this one is missing, or a saved state and no
            ``resume``.
    """
    if stage not in STAGES:
        raise WordbrushError(
            f"unknown stage {stage!r}{nearest(stage, STAGES)}; stages are {', '.join(STAGES)}"
        )
    chosen = _resolve(stage, settings or {})
    folder = out / stage
    if (folder / "state.safetensors").exists() and not resume:
        raise WordbrushError(
            f"{folder} holds a saved run: add --resume to continue it, or choose another --output"
        )
    _check_same(folder, chosen)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "settings.json", chosen)
    done = _run(stage, out, Budget(minutes, progress), device, chosen)
    return {"stage": stage, "out": str(folder), "finished": done, **_last_log_line(folder)}


def _resolve(stage: str, settings: dict[str, str]) -> dict[str, Any]:
    chosen = dict(DEFAULTS[stage])
    for key, text in settings.items():
        if key not in chosen:
            raise WordbrushError(
                f"stage {stage} has no setting {key!r}{nearest(key, chosen)}; it has {', '.join(chosen) or 'none'}"
            )
        try:
            chosen[key] = type(chosen[key])(text) if chosen[key] is not None else text
        except ValueError as error:
            raise WordbrushError(f"setting {key} of stage {stage} must be a number, not {text!r}") from error
    return chosen


def _check_same(folder: Path, chosen: dict[str, Any]) -> None:
    """Refuse to continue a run whose samples would be counted, or whose model be built, in another way."""
    path = folder / "settings.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for key in ("batch", "size"):
        if (folder / "state.safetensors").exists() and key in before and chosen.get(key) != before[key]:
            raise WordbrushError(
                f"{folder} was trained with {key} {before[key]!r}, not {chosen.get(key)!r}: "
                f"add --set {key}={before[key]}, or choose another --output"
            )


def _run(stage: str, out: Path, budget: Budget, device: str | None, chosen: dict[str, Any]) -> bool:
    renders = out / "renders"
    if stage == "renders":
        from wordbrush.storybook.recipe.renders import make_renders

        splits = ("train", "judge")
        return all(
            make_renders(renders, split, chosen[split], workers=chosen["workers"], budget=budget)
            for split in splits
        )
    if stage == "tokenizer":
        from wordbrush.storybook.recipe import vocabulary

        vocabulary.train(out / "tokenizer")
        return True
    import torch

    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if target.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
    if stage == "export":
        from wordbrush.storybook.recipe.export import export

        export(out, Path(chosen["destination"]) if chosen["destination"] else None)
        return True
    if stage == "adopt":
        from wordbrush.storybook.recipe.adopt import adopt

        adopt(out)
        return True
    if stage == "autoencoder":
        from wordbrush.storybook.recipe import autoencoder

        return autoencoder.train(renders, out / stage, device=target, budget=budget, **chosen)
    if stage == "latents":
        from wordbrush.storybook.recipe import latents

        return latents.encode(renders, out / "autoencoder", out / "latents", device=target, budget=budget)
    if stage == "decoder":
        from wordbrush.storybook.recipe import decoder

        return decoder.train(out, out / stage, device=target, budget=budget, **chosen)
    if stage == "recogniser":
        from wordbrush.storybook.recipe import recogniser

        return recogniser.train(renders, out / "latents", out / stage, device=target, budget=budget, **chosen)
    if stage in ("text_to_image", "joint_text_to_image"):
        from wordbrush.storybook.recipe import joint_text_to_image, text_to_image
        from wordbrush.storybook.recipe.lessons import Parts

        denoiser = text_to_image.STAGE if stage == "text_to_image" else joint_text_to_image.STAGE
        return denoiser.train(Parts.under(out), out / stage, device=target, budget=budget, **chosen)
    if stage == "details":
        from wordbrush.storybook.recipe import details

        return details.train(out, out / stage, device=target, budget=budget, **chosen)
    if stage == "contrastive":
        from wordbrush.storybook.recipe import contrastive

        return contrastive.train(
            renders, out / "tokenizer", out / stage, device=target, budget=budget, **chosen
        )
    if stage == "writer":
        from wordbrush.storybook.recipe import writer

        return writer.train(out / stage, device=target, budget=budget, **chosen)
    from wordbrush.storybook.recipe import judge

    return judge.train(
        renders, out / stage, stage.removeprefix("judge_"), device=target, budget=budget, **chosen
    )


def _last_log_line(folder: Path) -> dict[str, Any]:
    log = folder / "log.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    for line in reversed(lines):
        with suppress(json.JSONDecodeError):  # a kill may have cut the last line
            return json.loads(line)
    return {}
