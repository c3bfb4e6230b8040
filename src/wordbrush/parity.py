"""Reference cases of the published algorithms, translated into calls of this package.

A case of Prompt-to-Prompt is a plain dictionary: pipeline, prompts, controller with its settings, scheduler, number of
steps, and the initial latent as ``init``. Everything that the published notebooks do differently from one another is
chosen by ``variant``; how each quirk is expressed here is ``wordbrush.published``. A case of InstructPix2Pix has a
prompt, numbers of pictures, two scales and a scheduler; ``flavour`` says whether diffusers' faults are wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from PIL import Image

from wordbrush.edits import published
from wordbrush.edits.plan import Recipe
from wordbrush.edits.prompt import Prompt, tokens_of
from wordbrush.edits.published import Chain, CrossSchedule, LocalBlend
from wordbrush.edits.self_attention import SelfAttention
from wordbrush.edits.window import Clock
from wordbrush.errors import InvalidInput
from wordbrush.guidance import ClassifierFree, TextImage
from wordbrush.instruct import Editor, load_editor
from wordbrush.instruct_run import denoise
from wordbrush.inversion.null_text import NullText
from wordbrush.inversion.start import Start
from wordbrush.inversion.task import Task
from wordbrush.models import Model, load
from wordbrush.prompt_to_prompt import edit
from wordbrush.sampling import make_scheduler

Case = Mapping[str, Any]

NOTEBOOKS = {"stable": published.stable, "ldm": published.ldm, "nulltext": published.nulltext}
SCHEDULERS = {
    "ddim": ("DDIMScheduler", {"steps_offset": 1}),
    "ddim_offset0": ("DDIMScheduler", {"steps_offset": 0}),
    "pndm": ("PNDMScheduler", {"steps_offset": 1, "skip_prk_steps": True}),
}
INSTRUCT_SCHEDULERS = {
    "ddim": (
        "DDIMScheduler",
        {"steps_offset": 1, "timestep_spacing": "leading", "clip_sample": False, "set_alpha_to_one": False},
    ),
    "euler": ("EulerDiscreteScheduler", {"timestep_spacing": "linspace"}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {"timestep_spacing": "linspace"}),
}


def run_case(case: Case, pipelines_dir: str | Path) -> np.ndarray:
    """Return the final latents of a case, (1 + targets, 4, h, w), source first.

    Args:
        case: with ``init`` (1, 4, h, w), the latent that all rows start from; with ``null_text``, instead, ``null_z0``
            (1, 4, h, w), the latent of the picture that is inverted first.
        pipelines_dir: the folder that has the directory ``case["pipeline"]``.
    """
    precision = "float64" if "float64" in case["dtypes"] else "float32"
    model = _model(str(Path(pipelines_dir) / case["pipeline"]), precision)
    source, *targets = case["prompts"]
    result = edit(
        model,
        _start(case, model),
        to=targets or source,
        edits=_recipe(case),
        latents=None if "null_text" in case else torch.as_tensor(np.asarray(case["init"])),
        steps=case["num_steps"],
        guidance=ClassifierFree(case["guidance"]),  # the published loop takes any number
        scheduler=None if "null_text" in case else _scheduler(case, model),
    )
    return result.latents[: len(case["prompts"])].numpy()


def run_instruct_case(case: Case, pipeline_dir: str | Path) -> np.ndarray:
    """Return the final latents of a case of InstructPix2Pix, (rows, 4, h, w).

    In the flavour ``"diffusers"`` both scales count only if the text's is above 1 and the image's at least 1, and with
    several pictures for each prompt, pictures go A B A B where prompts go A A B B. Prompts that are too long are cut
    off, as both flavours do.

    Args:
        case: with ``latents_in`` (1 or rows, 4, h, w), unit noise; for ``euler_a`` with ``noise_per_step`` (steps, 1 or
            rows, 4, h, w) too, of which the last is not used.
        pipeline_dir: the pipeline; the pictures ``uint8_0``, ``uint8_1``, … are in the case, or in ``parts.npz``
            beside it.

    Raises:
        InvalidInput: the case has no noise to begin with, or too little for its steps.
    """
    if "latents_in" not in case:
        raise InvalidInput(
            "the case has no latents_in, the unit noise that its rows begin with: no seed gives that of another "
            "program, so put it into the case, (1 or rows, 4, h, w)"
        )
    precision = "float64" if "float64" in case.get("dtypes", ()) else "float32"
    editor = _editor(str(pipeline_dir), precision)
    quirks = case.get("flavour", "published") == "diffusers"
    prompts, pictures = _listed(case["prompt"]), _pictures(case, Path(pipeline_dir))
    negatives = _listed(case.get("negative_prompt") or "")
    prompts = prompts * len(pictures) if len(prompts) == 1 else prompts
    each = case.get("num_images_per_prompt", 1)
    prompts, rows = [text for text in prompts for _ in range(each)], len(prompts) * each
    repeated = pictures * (rows // len(pictures))
    paired = [picture for picture in pictures for _ in range(rows // len(pictures))]
    text, image = case["guidance_scale"], case["image_guidance_scale"]
    guided = not quirks or (text > 1 and image >= 1)
    read = _cutting_off(editor)
    latents = torch.as_tensor(np.asarray(case["latents_in"]), dtype=editor.model.dtype)
    scheduler = _instruct_scheduler(case, editor.model)
    final = denoise(
        editor.backbone,
        scheduler,
        latents.expand(rows, -1, -1, -1),
        pictures=editor.model.condition(repeated if quirks else paired),
        instructions=[read(prompt) for prompt in prompts],
        negatives=[read(one) for one in negatives for _ in range(rows // len(negatives))],
        guidance=TextImage(text, image) if guided else TextImage(1.0, 1.0),
        asking=range(len(scheduler.timesteps)),
    )
    return final.numpy()


def token_tables(case: Case, pipelines_dir: str | Path) -> dict[str, Any]:
    """Return what the published rules say about the tokens of a case.

    Returns:
        ``word_indices``: per prompt, word → token positions; where the case has them, ``cross_alphas`` (steps + 1,
        targets, tokens), ``equalizer`` (rows, tokens), and for the kind of edit ``replace_mapper`` (tokens, tokens) or
        ``refine_mapper`` and ``refine_alphas`` (tokens,), with a first axis for targets if there are several.
    """
    model = _model(str(Path(pipelines_dir) / case["pipeline"]), "float32")
    source, *targets = prompts = [model.backbone.read(text) for text in case["prompts"]]
    controller = case["controller"]
    words = [{word: list(published.find(p, word)) for word in p.text.split(" ")} for p in prompts]
    tables: dict[str, Any] = {"word_indices": words}
    first, _, chained = controller["type"].partition("+")
    if "cross_replace_steps" in controller:
        schedule = CrossSchedule(_steps(controller["cross_replace_steps"]))
        clock = Clock(case["num_steps"], case["num_steps"] + 1)
        tables["cross_alphas"] = np.stack([schedule.gates(target, clock) for target in targets], axis=1)
        if "reweight" in (first, chained):
            tables["equalizer"] = np.stack(_factors(_recipe(case), source, targets))
    if first == "replace":
        tables["replace_mapper"] = _squeezed([published.replace_matrix(source, t) for t in targets])
    if first == "refine":
        pairs = [published.refine_mapper(source, t) for t in targets]
        tables["refine_mapper"] = _squeezed([mapper for mapper, _ in pairs])
        tables["refine_alphas"] = _squeezed([aligned for _, aligned in pairs])
    return tables


def _squeezed(per_target: Sequence[np.ndarray]) -> np.ndarray:
    return per_target[0] if len(per_target) == 1 else np.stack(per_target)


def _start(case: Case, model: Model) -> str | Start:
    """Return the source prompt, or the inverted picture of a case with null-text inversion."""
    if "null_text" not in case:
        return case["prompts"][0]
    settings, clean = case["null_text"], torch.as_tensor(np.asarray(case["null_z0"]))
    # Not by way of invert_latents, which refuses a guidance below 1: the published loop takes any number.
    task = Task(
        model, clean, case["prompts"][0], case["num_steps"], case["guidance"], _scheduler(case, model)
    )
    return NullText(settings["num_inner_steps"], settings["epsilon"])(task)


def _recipe(case: Case) -> Recipe:
    """Return what the constructors of ``wordbrush.published`` make of a case."""
    controller = case["controller"]
    kind = controller["type"]
    if kind in ("empty", "store"):
        return Recipe((), SelfAttention(0.0))
    strengths = _equalizers(case) if kind.endswith("reweight") else []
    recipe = NOTEBOOKS[case["variant"]](
        kind,
        cross_replace_steps=_steps(controller["cross_replace_steps"]),
        self_replace_steps=_steps(controller["self_replace_steps"]),
        equalizer=strengths if strengths and case["variant"] == "ldm" else next(iter(strengths), None),
        local_blend=_blend(controller.get("local_blend")),
    )
    chain = recipe.edits
    assert isinstance(chain, Chain)
    prompt = (controller.get("equalizer") or {}).get("prompt", chain.prompt)
    return replace(recipe, edits=replace(chain, strengths=tuple(strengths), prompt=prompt))


def _equalizers(case: Case) -> list[dict[str, float]]:
    """Return one mapping of factors for all targets, or in the LDM form one per target.

    LDM and stable give every word the same value, one target per value; null-text gives each word its own.
    """
    given = case["controller"]["equalizer"]
    words, values = given["words"], given["values"]
    words = [words] if isinstance(words, str) else words
    if case["variant"] == "nulltext":
        return [dict(zip(words, values, strict=False))]
    return [dict.fromkeys(words, float(value)) for value in values]


def _factors(recipe: Recipe, source: Prompt, targets: Sequence[Prompt]) -> list[np.ndarray]:
    """Return the factors of the tokens, (tokens,) for each mapping."""
    chain = recipe.edits
    assert isinstance(chain, Chain)
    return [one.factors(targets[0]) for one in chain.equalizers(source, targets)]


def _blend(given: Mapping[str, Any] | None) -> LocalBlend | None:
    if given is None:
        return None
    chosen, subtracted = given.get("th", (given.get("threshold", 0.3), 0.3))
    return LocalBlend(
        given["words"],
        threshold=chosen,
        start=given.get("start_blend"),
        subtract=given.get("substruct_words") or (),
        subtract_threshold=subtracted,
    )


def _steps(given: Any) -> Any:
    """Read a fraction, a list [start, stop], or a mapping to either."""
    if isinstance(given, Mapping):
        return {word: _steps(steps) for word, steps in given.items()}
    return tuple(given) if isinstance(given, Sequence) else given


def _scheduler(case: Case, model: Model) -> Any:
    name, changes = SCHEDULERS[case["scheduler"]]
    return getattr(diffusers, name).from_config(model.scheduler.config, **changes)


@lru_cache(maxsize=4)
def _model(folder: str, dtype: str) -> Model:
    return load(folder, dtype=getattr(torch, dtype), device="cpu")


@lru_cache(maxsize=2)
def _editor(folder: str, dtype: str) -> Editor:
    return load_editor(folder, dtype=getattr(torch, dtype), device="cpu")


def _listed(texts: str | Sequence[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts)


def _pictures(case: Case, folder: Path) -> list[Image.Image]:
    names = [f"uint8_{number}" for number in _numbers(case["images"])]
    kept = case if all(name in case for name in names) else np.load(folder.parent / "parts.npz")
    return [Image.fromarray(np.asarray(kept[name])) for name in names]


def _numbers(given: int | Sequence[int]) -> list[int]:
    return [given] if isinstance(given, int) else [int(number) for number in given]


def _cutting_off(editor: Editor) -> Callable[[str], Prompt]:
    """Return what tokenizes a prompt and cuts it off where the text encoder ends, the end token being kept."""
    tokenizer = editor.model.tokenizer
    length = editor.backbone.read("").length

    def read(text: str) -> Prompt:
        tokens = tokens_of(text, tokenizer)
        kept = tokens if len(tokens) <= length else (*tokens[: length - 1], tokens[-1])
        return Prompt(text, kept, length)

    return read


def _instruct_scheduler(case: Case, model: Model) -> Any:
    """Return the case's scheduler with its timesteps set; noise between steps is that of the case."""
    drawn, needed = np.asarray(case.get("noise_per_step", ())), case["num_inference_steps"] - 1
    if case["scheduler"] == "euler_a" and len(drawn) < needed:
        raise InvalidInput(
            f"the case has noise_per_step for {len(drawn)} steps, and euler_a needs it for {needed}: put it into the "
            "case, (steps, 1 or rows, 4, h, w)"
        )
    given = iter(drawn)
    name, changes = INSTRUCT_SCHEDULERS[case["scheduler"]]
    config = {**model.scheduler.config, **changes}
    scheduler = make_scheduler(
        getattr(diffusers, name).from_config(config),
        model.scheduler,
        noise=lambda: torch.as_tensor(next(given)),
    )
    scheduler.set_timesteps(case["num_inference_steps"])
    return scheduler
