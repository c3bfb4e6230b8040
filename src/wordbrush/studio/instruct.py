"""The tab Instruct: a picture is edited by sentences, one after the other, and every one can be taken back."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageChops

from wordbrush.changed import AUTO
from wordbrush.checks import check_seed
from wordbrush.contact import contact_sheet
from wordbrush.errors import BadPicture, InvalidInput
from wordbrush.pictures import read_picture
from wordbrush.results import padded
from wordbrush.studio.state import Limits
from wordbrush.studio.turns import Report

if TYPE_CHECKING:
    from torch import Tensor

    from wordbrush.instruct import Editor, EditorDefaults
    from wordbrush.studio.preview import LinearPreview

Work = Callable[["Editor", "History", "Wish", "Image.Image | str | None", Report], "Moment"]
"""``work(editor, history, wish, mask, report)`` → the picture that it makes of the one that is looked at."""

CHANGED = "Where the edit changed something"
BRUSHED = "Only where it is brushed"
WHERE = ("Everywhere", CHANGED, BRUSHED)
"""Where an edit may change the picture; elsewhere the picture keeps its pixels."""

SURPRISES = (
    "make it night",
    "make it snow",
    "as if it were foggy",
    "make it a watercolor",
    "turn it into a pencil sketch",
    "make it pixel art",
    "move it to the desert",
    "put it on the moon",
    "add a balloon",
    "add a kite",
)


@dataclass(frozen=True)
class Wish:
    """What is to be changed, and how closely to follow instruction and picture."""

    instruction: str
    text_guidance: float
    image_guidance: float
    steps: int
    seed: int

    @classmethod
    def of(
        cls, instruction: str, text: float, image: float, steps: int, seed: object, limits: Limits
    ) -> Wish:
        """Return the wish of the page's controls.

        Raises:
            InvalidInput: a seed that no generator takes, or too many steps.
        """
        limits.check_steps(steps)
        return cls(instruction, text, image, steps, check_seed(seed))


@dataclass(frozen=True)
class Asked:
    """What was asked for to make a picture.

    Args:
        picture: the file that was edited, or the one that Save makes of it.
        masked: whether it was brushed where the picture may change; or ``"auto"``, where the edit changed something.
    """

    wish: Wish
    picture: str
    masked: bool | str


@dataclass(frozen=True, eq=False)
class Moment:
    """A picture in the history, what was said to make it, and how it was made.

    Args:
        file: the name it was uploaded with, or is saved by.
        asked: None for one that was not edited here.
    """

    image: Image.Image
    told: str
    settings: dict[str, Any]
    file: str = "picture.png"
    asked: Asked | None = None


@dataclass(frozen=True, eq=False)
class History:
    """The pictures from the first to the last, and which of them is looked at; a new one drops those after it."""

    moments: tuple[Moment, ...] = ()
    at: int = -1

    @property
    def now(self) -> Moment | None:
        """The picture that is looked at, the input of the next edit."""
        return self.moments[self.at] if self.moments else None

    @property
    def before(self) -> Moment | None:
        """The picture before it."""
        return self.moments[self.at - 1] if self.at > 0 else None

    def add(self, moment: Moment) -> History:
        """Return the history with a new picture behind the one that is looked at."""
        return History((*self.moments[: self.at + 1], moment), self.at + 1)

    def step(self, by: int) -> History:
        """Return the history at a picture further on, or back if ``by`` is negative; it stops at its ends."""
        return replace(self, at=min(max(self.at + by, 0), len(self.moments) - 1)) if self.moments else self


def opened(path: str | None, limits: Limits) -> Moment:
    """Return an uploaded picture.

    Raises:
        InvalidInput: there is none, it does not decode, or it has too many pixels.
    """
    if path is None:
        raise InvalidInput("there is no picture: drop one, or choose a file")
    name = Path(path).name
    try:
        read = read_picture(path)
    except BadPicture as error:
        raise BadPicture(str(error).replace(path, name)) from error  # where uploads lie concerns nobody
    limits.check_pixels(read.image.height, read.image.width)
    return Moment(read.image, ", ".join([name, *read.notes]), {}, name)


def edited(
    editor: Editor,
    history: History,
    wish: Wish,
    mask: Image.Image | str | None,
    report: Report,
    preview: LinearPreview | None = None,
) -> Moment:
    """Edit the picture that is looked at.

    Args:
        mask: mode L, white where it may change; None for everywhere; or as the editor takes it.
        preview: draws what ``report`` is told with every step; None for nothing.

    Raises:
        InvalidInput: there is no picture, or as the editor raises.
        Stopped: at the next step, once the work is not wanted any more.
    """

    def watch(latents: Tensor) -> None:
        if preview:
            report.seen(preview(latents)[0])

    result = _run(editor, history, wish, mask, report.progress, watch)
    assert history.now is not None
    asked = Asked(wish, history.now.file, mask if isinstance(mask, str) else mask is not None)
    settings = _described(history, result.described(0))
    return Moment(result.images[0], wish.instruction, settings, "edited.png", asked)


def grid(
    editor: Editor, history: History, wish: Wish, mask: Image.Image | str | None, report: Report
) -> Moment:
    """Edit the picture with nine pairs of scales: text guidance downwards, image guidance to the right."""
    down, right = editor.defaults.grid
    scales = list(product(down, right))
    results = []
    for number, (text, image) in enumerate(scales):

        def progress(step: int, steps: int, done: int = number) -> None:
            report.progress(done * steps + step, len(scales) * steps)

        one = replace(wish, text_guidance=text, image_guidance=image)
        results.append(_run(editor, history, one, mask, progress))
    captions = [f"text {text:g}, image {image:g}" for text, image in scales]
    sheet = contact_sheet(padded([result.images[0] for result in results]), captions, columns=len(right))
    settings = _described(history, results[0].described(0))
    for one in ("text_guidance", "image_guidance"):
        settings.pop(one)
    cost = sum(result.settings["forward_samples"] for result in results)
    settings |= {"scales": scales, "forward_samples": cost}
    return Moment(sheet, wish.instruction, settings)


def surprise(chance: random.Random, defaults: EditorDefaults) -> tuple[str, float, float]:
    """Return an instruction, and two scales in the range of the editor's grid, rounded to the steps of the sliders."""
    text, image = (chance.uniform(scales[0], scales[-1]) for scales in defaults.grid)
    return chance.choice(SURPRISES), round(2 * text) / 2, round(image, 1)


def mask_of(layers: Sequence[Image.Image]) -> Image.Image | None:
    """Return where something was brushed, mode L; None where nothing was.

    Args:
        layers: transparent pictures of one size with the strokes.
    """
    found: Image.Image | None = None
    for layer in layers:
        strokes = layer.convert("RGBA").getchannel("A").point(lambda level: 255 if level else 0)
        found = strokes if found is None else ImageChops.lighter(found, strokes)
    return found if found is not None and found.getbbox() else None


def wanted_mask(where: str, layers: Sequence[Image.Image]) -> Image.Image | str | None:
    """Return the mask of an edit as the editor takes it.

    Args:
        where: one of ``WHERE``.
        layers: as for ``mask_of``.

    Raises:
        InvalidInput: it is ``BRUSHED``, and nothing was brushed.
    """
    if where == CHANGED:
        return AUTO
    if where != BRUSHED:
        return None
    mask = mask_of(layers)
    if mask is None:
        raise InvalidInput(
            f"nothing is brushed: brush where the picture may change, or choose another than “{BRUSHED}”"
        )
    return mask


def _run(
    editor: Editor,
    history: History,
    wish: Wish,
    mask: Image.Image | str | None,
    progress: Any,
    watch: Any = None,
) -> Any:
    if history.now is None:
        raise InvalidInput("there is no picture: drop one, or choose a file")
    return editor(
        history.now.image,
        wish.instruction,
        text_guidance=wish.text_guidance,
        image_guidance=wish.image_guidance,
        steps=wish.steps,
        seed=wish.seed,
        mask=mask,
        progress=progress,
        watch=watch,
    )


def _described(history: History, settings: dict[str, Any]) -> dict[str, Any]:
    """Return how a picture was made, with the instructions that came before."""
    earlier = [moment.told for moment in history.moments[1 : history.at + 1]]
    return {**settings, "before": earlier} if earlier else settings
