"""The tab Compare: one edit made in several ways from the same noise, with what changed beneath in numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import wordbrush
from wordbrush.errors import InvalidInput
from wordbrush.metrics.pixels import l1, psnr, ssim
from wordbrush.studio.state import Order
from wordbrush.studio.turns import Report
from wordbrush.studio.view import source_of, table

if TYPE_CHECKING:
    from PIL.Image import Image

    from wordbrush.metrics.clip import Clip
    from wordbrush.models import Model
    from wordbrush.storybook.judges import Judges

NOTHING, PUBLISHED, DEFAULT, OWN = "no injection", "published", "default", "own"
WAYS = (NOTHING, PUBLISHED, DEFAULT, OWN)
SECOND = "second own"
"""What the tab calls a further way of one's own."""

Measure = Callable[["Image", "Image"], Mapping[str, str]]
"""From the picture before and after to named numbers, as they are shown."""


@dataclass(frozen=True, eq=False)
class Compared:
    """One edit made in several ways.

    Args:
        before: the picture that was edited.
        after: way → what became of it.
        measures: way → named numbers.
    """

    order: Order
    before: Image
    after: Mapping[str, Image]
    measures: Mapping[str, Mapping[str, str]]


def how(way: str, order: Order, others: Mapping[str, Order] = MappingProxyType({})) -> dict[str, Any]:
    """Return the arguments of ``wb.edit`` that make an edit in one way; ``others`` are further ways by their names."""
    if way in others:
        return others[way].editing
    if way == NOTHING:
        return {"edits": [], "self_attention": 0.0, "blend": "none"}
    if way == PUBLISHED:
        same = len(order.source.split()) == len(str(order.target).split())
        return {"edits": wordbrush.published.stable("replace" if same else "refine")}
    return order.editing if way == OWN else {}


def compare(
    model: Model,
    order: Order,
    ways: Sequence[str],
    measures: Sequence[Measure],
    report: Report,
    others: Mapping[str, Order] = MappingProxyType({}),
) -> Compared:
    """Make an edit in several ways, one after the other.

    Args:
        order: with a target; its own settings are those of the way ``"own"``.
        others: further ways by their names, each with settings of its own; prompts and sampling are those of ``order``.

    Raises:
        InvalidInput: fewer than two ways, or one that there is not.
        WordbrushError: as ``wb.edit`` raises.
    """
    known = [*WAYS, *others]
    if len(ways) < 2 or not set(ways) <= set(known):
        raise InvalidInput(f"choose two or more ways to compare of {', '.join(known)}, not {list(ways)}")
    before, after = None, {}
    for number, way in enumerate(ways):

        def progress(step: int, steps: int, done: int = number) -> None:
            report.progress(done * steps + step, len(ways) * steps)

        result = wordbrush.edit(
            model,
            order.source,
            to=str(order.target),
            **how(way, order, others),
            **order.sampling,
            progress=progress,
        )
        before, after[way] = result.source, result.images[0]
    assert before is not None
    told = {
        way: {name: value for measure in measures for name, value in measure(before, image).items()}
        for way, image in after.items()
    }
    return Compared(order, before, after, told)


def pixels(before: Image, after: Image) -> dict[str, str]:
    """Measure how much changed, pixel by pixel."""
    return {
        "PSNR to before (dB)": f"{psnr(before, after):.1f}",
        "SSIM to before": f"{ssim(before, after):.3f}",
        "L1 to before": f"{l1(before, after):.3f}",
    }


def judged(judges: Judges, source: str, target: str) -> Measure | None:
    """Return what the storybook judges see of an edit; None for prompts that are no captions of that world."""
    from wordbrush.storybook.evaluate import described
    from wordbrush.storybook.judges import SIDE
    from wordbrush.storybook.recipe.judge import NONE
    from wordbrush.storybook.scene import UnknownCaption, parse

    try:
        old, new = described(parse(source)), described(parse(target))
    except UnknownCaption:
        return None
    changed = [name for name in new if new[name] != old[name]]
    rest = [name for name in new if new[name] == old[name]]

    def measure(before: Image, after: Image) -> dict[str, str]:
        if after.size != (SIDE, SIDE):
            return {}
        reading = judges.read([before, after])
        was, now = (reading.of(row, coloured=new["colour"] != NONE) for row in (0, 1))
        seen = sum(now[name] == new[name] for name in changed)
        kept = sum(was[name] == now[name] for name in rest)
        return {
            "Judges: what was to change is seen": f"{seen} of {len(changed)}",
            "Judges: the rest is as before": f"{kept} of {len(rest)}",
        }

    return measure


def clip_measure(clip: Clip, source: str, target: str) -> Measure:
    """Return the cosines of an edit that InstructPix2Pix filters by."""

    def measure(before: Image, after: Image) -> dict[str, str]:
        scores = clip.pairs([before], [after], before=[source], after=[target])
        return {
            "CLIP: both pictures": f"{scores.image[0]:.3f}",
            "CLIP: after and its prompt": f"{scores.after[0]:.3f}",
            "CLIP: direction of the change": f"{scores.direction[0]:.3f}",
        }

    return measure


def shown(compared: Compared) -> str:
    """Return the pictures side by side and the table of their measures."""
    pictures = [("before", compared.before), *compared.after.items()]
    figures = "".join(
        f'<figure><img src="{source_of(image)}" alt="{escape(name)}: '
        f'{escape(compared.order.source if name == "before" else str(compared.order.target))}">'
        f"<figcaption>{escape(name)}</figcaption></figure>"
        for name, image in pictures
    )
    names = dict.fromkeys(name for told in compared.measures.values() for name in told)
    rows = [[name, *(told.get(name, "–") for told in compared.measures.values())] for name in names]
    numbers = table(["", *compared.measures], rows, caption="What changed")
    return f'<div class="side">{figures}</div>{numbers}'
