"""The tab Write: a prompt becomes a picture, and its words are changed one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import wordbrush
from wordbrush.cli.edit import described
from wordbrush.cli.output import with_versions
from wordbrush.contact import overlay
from wordbrush.results import EditResult, Generation
from wordbrush.studio.instruct import opened
from wordbrush.studio.preview import LinearPreview
from wordbrush.studio.state import Draft, Limits, Order, Photo
from wordbrush.studio.turns import Report
from wordbrush.studio.view import source_of, stage

if TYPE_CHECKING:
    from PIL.Image import Image

    from wordbrush.inversion.start import Start
    from wordbrush.models import Model


@dataclass(frozen=True, eq=False)
class Painting:
    """A picture and, if its words were changed, what became of it.

    Args:
        draft: its words.
        order: what was asked for.
        result: what came of it; of two pictures, the source is the first.
        start: what a picture of one's own was edited from.
    """

    draft: Draft
    order: Order
    result: Generation
    start: Start | None = None

    @property
    def pictures(self) -> list[Image]:
        """The picture, and after it the edited one if there is one."""
        if isinstance(self.result, EditResult):
            edited = [] if self.order.target is None else self.result.images
            return [self.result.source, *edited]
        return self.result.images

    def heat(self, number: int) -> list[Image]:
        """Return the pictures with what the word attends to drawn over them.

        A word that was deleted from the second picture leaves it as it is.
        """
        before, *after = self.pictures
        maps = self.result.maps
        shown = [overlay(before, maps.of(number, image=0))]
        for image in after:
            there = number in self.draft.places()
            place = self.draft.address(number, self.result.prompts[1]) if there else None
            shown.append(image if place is None else overlay(image, maps.of(place, image=1)))
        return shown

    @property
    def settings(self) -> dict[str, Any]:
        """What is written into the saved picture, as the command line does."""
        if isinstance(self.result, EditResult):
            targets = [] if self.order.target is None else [self.order.target]
            return described(self.result, [self.order.source, *targets])
        return with_versions(self.result.settings, prompt=self.order.source)

    @property
    def caption(self) -> str:
        """What the last picture shows."""
        return names_of(self.order)[1] if self.order.target is not None else self.order.source

    @property
    def told(self) -> str:
        """What it cost, in one line."""
        settings = self.result.settings
        height, width = settings["size"]
        done = f"{height} × {width} pixels, {settings['steps']} steps, {settings['forward_samples']} forward-samples"
        photo, notes = self.order.photo, self.start.notes if self.start else ()
        return ", ".join([done, *([photo.told] if photo else []), *notes])


def paint(
    model: Model,
    draft: Draft,
    order: Order,
    report: Report,
    preview: LinearPreview | None = None,
    last: Painting | None = None,
) -> Painting:
    """Paint what is ordered, telling ``report`` of every step with the stage that shows its previews.

    Args:
        last: the painting before; if it is of the same picture of one's own, that is not inverted again.

    Raises:
        Stopped: at the next step, once the work is not wanted any more.
        WordbrushError: as ``wb.generate``, ``wb.invert`` and ``wb.edit`` raise.
    """
    watch = (lambda latents: report.seen(heading(order, preview(latents)))) if preview else None
    common = {"maps": True, "progress": report.progress, "watch": watch}
    start = None
    if order.photo:
        start = last.start if last and last.order.starts_as(order) else None
        start = start or wordbrush.invert(
            model, order.photo.image, order.source, progress=report.progress, **order.inverting
        )
        editing = {"edits": [], "blend": "none"} if order.target is None else order.editing
        result = wordbrush.edit(
            model, start, to=order.target or order.source, negative=order.negative, **editing, **common
        )
    elif order.target is None:
        result = wordbrush.generate(model, order.source, **order.sampling, **common)
    else:
        result = wordbrush.edit(
            model, order.source, to=order.target, **order.editing, **order.sampling, **common
        )
    _ = result.images, result.maps  # decoded here, while it is this work's turn
    return Painting(draft, order, result, start)


def photo_at(path: str, limits: Limits) -> Photo:
    """Return an uploaded picture. Raises as ``instruct.opened``."""
    moment = opened(path, limits)
    return Photo(path, moment.file, moment.image, moment.told)


def shown(painting: Painting, heated: int | None = None) -> str:
    """Return the stage with a painting, or with the heat of one of its words over it."""
    names, pictures = names_of(painting.order), painting.pictures
    ratio = pictures[0].width / pictures[0].height
    if heated is not None and heated < len(painting.draft.spans):
        return stage(*map(source_of, painting.heat(heated)), names=names, ratio=ratio)
    written = [source_of(image, painting.settings) for image in pictures]
    return stage(
        *written, names=names, ratio=ratio, save="edited.png" if len(pictures) > 1 else "picture.png"
    )


def heading(order: Order, previews: Sequence[Image]) -> str:
    """Return the stage with what the pictures are heading for."""
    previews = previews[:1] if order.target is None else previews
    ratio = previews[0].width / previews[0].height
    return stage(*map(source_of, previews), names=names_of(order), ratio=ratio, rough=True)


def names_of(order: Order) -> tuple[str, str]:
    """Return what the two pictures show."""
    strengths = "".join(f", {_text(word)} × {strength:g}" for word, strength in order.weights.items())
    source = f"reconstruction: {order.source}" if order.photo else order.source
    return source, f"{order.target}{strengths}"


def _text(word: object) -> str:
    return str(word[0]) if isinstance(word, tuple) else str(word)
