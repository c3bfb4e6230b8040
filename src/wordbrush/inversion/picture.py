"""Real pictures, the front door: ``wordbrush.invert`` takes a picture, ``wordbrush.edit`` what it returns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from wordbrush.fitting import fitted
from wordbrush.guidance import check_strengthening
from wordbrush.inversion.flow_edit import FlowEdit
from wordbrush.inversion.methods import method_for
from wordbrush.inversion.start import Start
from wordbrush.inversion.task import Method, Task
from wordbrush.models import Model
from wordbrush.pictures import read_picture
from wordbrush.run import Size, latent_size
from wordbrush.sampling import Progress

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image


@dataclass(frozen=True, eq=False)
class Fitted:
    """A picture at the size a model works at; the names are those of ``Start``.

    Args:
        picture: RGB.
        given_size: (height, width) of the picture as it was given.
        cropped: whether it was cut to the shape of ``picture``.
        notes: what else was done to it, in words.
    """

    picture: Image
    given_size: tuple[int, int]
    cropped: bool
    notes: tuple[str, ...]


def invert(
    model: Model,
    picture: str | Path | Image | np.ndarray,
    prompt: str,
    *,
    method: str | Method | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    scheduler: object = None,
    size: Size | None = None,
    crop: bool = False,
    progress: Progress | None = None,
) -> Start:
    """Find what a real picture starts from, so that it can be edited like a generated one.

    Args:
        picture: a path, a Pillow image, or a uint8 array of shape (h, w, 3).
        prompt: what the picture shows, in the words that are to be edited.
        method: ``"direct"``, ``"null-text"``, ``"negative-prompt"``, ``"edit-friendly"``, ``"exact"`` or ``"ddim"``; of
            models that were trained on straight paths (rectified flow) ``"rectified-flow"`` or ``"flow-edit"``; or one
            of their classes, with settings of your own. None for ``"direct"`` or ``"rectified-flow"``.
        steps: of the scheduler; this and ``guidance`` are the model's defaults if None, or for ``"flow-edit"`` what is
            published for the model.
        guidance: the scale of classifier-free guidance that the picture will be edited with, at least 1.
        scheduler: a ``DDIMScheduler`` with settings of your own, or of models of straight paths a
            ``FlowMatchEulerDiscreteScheduler``; None for the model's noise schedule in one of these.
        size: pixels to resize the picture to, one number or (height, width); None if it has the model's own size.
        crop: whether to cut it, around its middle, to the shape of ``size`` or of the model's own size.
        progress: called with (steps done, steps in all).

    Raises:
        InvalidInput: a picture, size, number, method or scheduler that cannot be used as given.
        PromptTooLong: the prompt has more tokens than the text encoder reads.
    """
    chosen = method_for(model, method)
    _check_guidance(guidance)
    known = fit_picture(model, picture, size, crop=crop)
    start = invert_latents(
        model,
        model.encode(known.picture),
        prompt,
        method=chosen,
        steps=steps,
        guidance=guidance,
        scheduler=scheduler,
        progress=progress,
    )
    return replace(start, **vars(known))


def fit_picture(
    model: Model, picture: str | Path | Image | np.ndarray, size: Size | None, *, crop: bool
) -> Fitted:
    """Read a picture and bring it to the size that ``invert`` would invert it at; the arguments are those of it.

    Raises:
        InvalidInput: a picture or size that cannot be used as given.
    """
    opened = read_picture(picture)
    image, grain = opened.image, model.factor * model.backbone.patch
    rows, columns = latent_size(model, size)
    height, width = rows * model.factor, columns * model.factor
    given = (image.height, image.width)
    cut = crop and given[0] * width != given[1] * height
    notes = opened.notes + (() if given == (height, width) else (_fitting(given, cut),))
    pixels = fitted(image, (height, width), grain=grain, resize=size is not None, crop=crop)
    return Fitted(pixels, given, crop, notes)


def _check_guidance(guidance: float | None) -> None:
    """Raise ``InvalidInput`` for a guidance that the edits would refuse, before anything is computed for it."""
    if guidance is not None:
        check_strengthening(guidance)


def _fitting(given: tuple[int, int], cut: bool) -> str:
    """Say what was done to the size of a picture."""
    return f"{'cut around its middle and ' if cut else ''}resized from {given[0]} × {given[1]} pixels"


def invert_latents(
    model: Model,
    latents: Tensor,
    prompt: str,
    *,
    method: str | Method | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    scheduler: object = None,
    progress: Progress | None = None,
) -> Start:
    """Do the same for a picture that is encoded already.

    Args:
        latents: (1, C, h, w), the mean of the autoencoder's posterior, shifted and scaled for the network.

    Raises:
        InvalidInput: latents of another shape or not finite, or anything else that cannot be used as given.
        PromptTooLong: the prompt has more tokens than the text encoder reads.
    """
    chosen = method_for(model, method)
    _check_guidance(guidance)
    if isinstance(chosen, FlowEdit):
        chosen, steps, guidance = chosen.settled(model, steps, guidance)
    usual = (
        1.0 if model.defaults.guidance is None else model.defaults.guidance
    )  # None asks one branch, as 1 does
    task = Task(
        model,
        latents,
        prompt,
        model.defaults.steps if steps is None else steps,
        usual if guidance is None else guidance,
        scheduler,
    )
    return chosen(task, progress)
