"""SDEdit (Meng et al. 2022, arXiv:2108.01073): noise a picture in part, and denoise it under another prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from wordbrush.canvas import Canvas, Fitting, place
from wordbrush.checks import check_seed, is_number
from wordbrush.errors import InvalidInput, ModelError
from wordbrush.guidance import Distilled, Guidance
from wordbrush.instruct_run import chunks, part_of, telling_of_memory
from wordbrush.models import Model
from wordbrush.run import Run, check_finite, make_run
from wordbrush.sampling import (
    NOISY_SCHEDULERS,
    Progress,
    is_flow,
    make_scheduler,
    sample,
    start_noise,
)
from wordbrush.sizes import Size

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, eq=False)
class Redrawn:
    """Pictures drawn anew.

    Args:
        images: one for each picture and of its size.
        settings: how they were made, and ``forward_samples``, the rows of all network calls.
    """

    images: list[Image]
    settings: dict[str, Any]


class Shortened:
    """The last steps of a diffusers scheduler, in the shape of a scheduler; it is started from noised latents.

    Args:
        scheduler: with its timesteps set.
        steps: how many of them are left.
        strength: the share of them that is asked for, in (0, 1].
    """

    init_noise_sigma = 1.0

    def __init__(self, scheduler: Any, steps: int, strength: float) -> None:
        self._scheduler = scheduler
        left = min(int(steps * strength), steps)
        order = getattr(scheduler, "order", 1)
        begin = max(steps - left, 0) * order
        self.timesteps: Tensor = scheduler.timesteps[begin:]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(begin)

    def noised(self, clean: Tensor, noise: Tensor) -> Tensor:
        """Return (n, C, h, w) latents at the noise level of the first step that is left."""
        return self._scheduler.add_noise(clean, noise, self.timesteps[:1].repeat(len(clean)))

    def scale_model_input(self, latents: Tensor, timestep: Tensor) -> Tensor:
        """Return the latents as the network is to see them."""
        return self._scheduler.scale_model_input(latents, timestep)

    def step(self, *arguments: Any, **named: Any) -> Any:
        """Go one step on."""
        return self._scheduler.step(*arguments, **named)


def fitting_of(model: Model) -> Fitting:
    """Return the sizes that a text-to-image model works at."""
    grain = model.factor * max(model.backbone.patch, *(site.factor for site in model.backbone.sites))
    return Fitting(model.factor, grain, max(model.image_size))


def sdedit(
    model: Model,
    pictures: Sequence[str | Path | Image],
    prompts: Sequence[str],
    *,
    strength: float,
    seeds: Sequence[int],
    negative: str = "",
    steps: int | None = None,
    guidance: float | Guidance | None = None,
    scheduler: object = None,
    size: str | Size = "whole",
    batch: int = 4,
    progress: Progress | None = None,
) -> Redrawn:
    """Draw pictures anew under prompts, from where their noise is as strong as asked for.

    Args:
        pictures, prompts, seeds: one of each for every edit, of the same number.
        strength: the share of the noise, in (0, 1]: 1 keeps nothing of the picture, and a share s takes the last
            ⌊s · steps⌋ steps of the scheduler, as in diffusers.
        negative: the prompt to be guided away from.
        steps: of the whole schedule; this, ``guidance`` and ``scheduler`` are the model's defaults if None.
        guidance: scale of classifier-free guidance, or a guidance object.
        scheduler: a name from ``wordbrush.sampling.SCHEDULERS``, or a diffusers scheduler of one of these classes.
        size: as an editor's: ``"whole"``, ``"native"``, ``"published"`` or pixels.
        batch: how many pictures of one size are drawn at once.
        progress: called with (steps done, steps in all) after every step.

    Raises:
        InvalidInput: a picture, prompt, number, size or scheduler that cannot be used as given.
        PromptTooLong: a prompt has more tokens than the text encoder reads.
        ModelError: the model is of a kind that SDEdit is not defined for, made NaN, or memory ran out.
    """
    counts = {len(pictures), len(prompts), len(seeds)}
    if len(counts) != 1 or not pictures:
        raise InvalidInput(
            f"{len(pictures)} pictures, {len(prompts)} prompts and {len(seeds)} seeds are no edits: give one of each"
        )
    if not is_number(strength) or not 0 < strength <= 1:
        raise InvalidInput(f"strength is a share of the noise above 0 and at most 1, not {strength!r}")
    if is_flow(model.scheduler):
        raise ModelError(
            f"{model.name} was trained on straight paths, which have no noise to be added in part as SDEdit does: "
            "use a diffusion model such as Stable Diffusion 1 or 2"
        )
    canvases = [place(picture, None, size, fitting_of(model)) for picture in pictures]
    images: dict[int, Image] = {}
    forward_samples, run = 0, None
    groups = chunks([canvas.worked.size for canvas in canvases], batch)
    for number, group in enumerate(groups):
        own = [canvases[i] for i in group]
        run = _run(
            model,
            [prompts[i] for i in group],
            own,
            [check_seed(seeds[i]) for i in group],
            negative=negative,
            guidance=guidance,
            scheduler=scheduler,
            steps=steps,
        )
        width, height = own[0].worked.size
        with telling_of_memory(len(own), (height, width)):
            latents, rows = _redraw(run, own, strength, part_of(progress, number, len(groups)))
        forward_samples += rows
        made = zip(own, model.decode(latents), strict=True)
        images |= dict(zip(group, (canvas.finish(image) for canvas, image in made), strict=True))
    assert run is not None
    settings = {**run.settings, "strength": strength, "forward_samples": forward_samples}
    return Redrawn([images[number] for number in range(len(canvases))], settings)


def _check_scheduler(scheduler: Any) -> None:
    """Raise ``InvalidInput`` unless a run of the scheduler can begin in the middle."""
    noisy = {home.rpartition(".")[2] for home in NOISY_SCHEDULERS.values()}
    name = type(scheduler).__name__
    if name in noisy or not hasattr(scheduler, "add_noise"):
        raise InvalidInput(f"SDEdit cannot begin in the middle of a run of {name}: use 'ddim' or 'dpm++'")


def _run(
    model: Model, prompts: Sequence[str], canvases: Sequence[Canvas], seeds: Sequence[int], **rest: Any
) -> Run:
    """Return the run that would draw the prompts from noise alone, with all its numbers checked."""
    read = [model.backbone.read(text) for text in prompts]
    if not all(prompt.text.strip() for prompt in read):
        raise InvalidInput("an empty prompt describes no picture: say what it should show")
    width, height = canvases[0].worked.size
    shape = (model.backbone.latent_channels, height // model.factor, width // model.factor)
    noise = start_noise(seeds, shape).to(device=model.device, dtype=model.dtype)
    run = make_run(model, read, noise=noise, **rest)
    if isinstance(run.guidance, Distilled):
        raise ModelError(
            f"SDEdit needs a model whose guidance is classifier-free, which that of {model.name} is not"
        )
    return run


@torch.no_grad()
def _redraw(
    run: Run, canvases: Sequence[Canvas], strength: float, progress: Progress | None
) -> tuple[Tensor, int]:
    """Return the clean latents of pictures of one size, (n, C, h, w), and the rows the network was asked for."""
    model, backbone, count = run.model, run.model.backbone, len(canvases)
    scheduler = make_scheduler(run.scheduler, model.scheduler)
    height, width = run.noise.shape[-2:]
    backbone.schedule(scheduler, run.steps, (height, width), model.device)
    _check_scheduler(scheduler)
    shortened = Shortened(scheduler, run.steps, strength)
    if not len(shortened.timesteps):
        raise InvalidInput(
            f"a strength of {strength:g} is less than one of {run.steps} steps: give at least {1 / run.steps:.2g}"
        )
    clean = torch.cat([model.encode(canvas.worked) for canvas in canvases])
    assert isinstance(run.negative, str)
    texts = [backbone.read(run.negative)] * count if "uncond" in run.guidance.branches else []
    text = backbone.encode([*texts, *run.prompts])
    latents = sample(
        backbone,
        shortened,
        shortened.noised(clean, run.noise),
        text=lambda step: text,
        guidance=run.guidance,
        progress=progress,
    )
    check_finite(latents, model, run.numbers)
    return latents, len(shortened.timesteps) * count * len(run.guidance.branches)
