"""The tab Compare: one edit made in several ways, with what changed beneath in numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import wordbrush
from wordbrush.baselines.sdedit import sdedit
from wordbrush.errors import InvalidInput
from wordbrush.metrics.pixels import l1, psnr, ssim
from wordbrush.studio.state import Order
from wordbrush.studio.turns import Report
from wordbrush.studio.view import source_of, table

if TYPE_CHECKING:
    from PIL.Image import Image

    from wordbrush.instruct import Editor
    from wordbrush.metrics.clip import Clip
    from wordbrush.models import Model
    from wordbrush.sampling import Progress
    from wordbrush.storybook.judges import Judges

NOTHING, PUBLISHED, DEFAULT, OWN = "no injection", "published", "default", "own"
WORDS = (NOTHING, PUBLISHED, DEFAULT, OWN)
"""Ways to edit by the words of the prompt."""

SECOND = "second own"
"""What the tab calls a further way of one's own."""

REDRAWN, INSTRUCTED = "SDEdit", "instruction"
"""Ways to edit the picture itself: drawn anew under the target from part of the noise, or as a sentence says."""

Measure = Callable[["Image", "Image"], Mapping[str, str]]
"""From the picture before and after to named numbers, as they are shown."""


@dataclass(frozen=True, eq=False)
class Match:
    """What is edited, and what the ways need beyond it.

    Args:
        order: with a target; its own settings are those of the way ``"own"``.
        others: further ways by their names, each with settings of its own; prompts, picture and sampling are those of
            ``order``.
        strength: of SDEdit, the share of the noise.
        editor: follows ``instruction``; None for none.
    """

    model: Model
    order: Order
    others: Mapping[str, Order] = field(default_factory=dict)
    strength: float = 0.6
    editor: Editor | None = None
    instruction: str = ""

    @property
    def ways(self) -> tuple[str, ...]:
        """All that there are."""
        return (*WORDS, *self.others, REDRAWN, *([INSTRUCTED] if self.editor else []))


@dataclass(frozen=True, eq=False)
class Compared:
    """One edit made in several ways.

    Args:
        before: the picture that was edited.
        after: way → what became of it.
        measures: way → named numbers.
        notes: what was done to a picture of one's own before it was edited.
    """

    order: Order
    before: Image
    after: Mapping[str, Image]
    measures: Mapping[str, Mapping[str, str]]
    notes: Sequence[str] = ()


def how(way: str, order: Order, others: Mapping[str, Order] = MappingProxyType({})) -> dict[str, Any]:
    """Return the arguments of ``wb.edit`` that make an edit in one way of ``WORDS`` or of ``others``."""
    if way in others:
        return others[way].editing
    if way == NOTHING:
        return {"edits": [], "self_attention": 0.0, "blend": "none"}
    if way == PUBLISHED:
        same = len(order.source.split()) == len(str(order.target).split())
        return {"edits": wordbrush.published.stable("replace" if same else "refine")}
    return order.editing if way == OWN else {}


def compare(match: Match, ways: Sequence[str], measures: Sequence[Measure], report: Report) -> Compared:
    """Make an edit in several ways, one after the other.

    Raises:
        InvalidInput: fewer than two ways, one that there is not, or no instruction for the one that follows it.
        WordbrushError: as ``wb.edit``, ``wb.invert``, ``sdedit`` and the editor raise.
    """
    if len(ways) < 2 or not set(ways) <= set(match.ways):
        raise InvalidInput(f"choose two or more ways to compare of {', '.join(match.ways)}, not {list(ways)}")
    if INSTRUCTED in ways and not match.instruction.strip():
        raise InvalidInput("the way “instruction” has none: say what is to change, as “make it night”")
    order, notes = match.order, ()
    by_words = [way for way in ways if way not in (REDRAWN, INSTRUCTED)]
    parts = _parts(report, len(ways) + (order.photo is not None or not by_words))
    start: dict[str, Any] = {"source": order.source, **order.sampling}
    before: Image | None = None
    if order.photo:
        found = wordbrush.invert(
            match.model, order.photo.image, order.source, progress=next(parts), **order.inverting
        )
        before, notes = found.picture, found.notes
        start = {"source": found, **({"negative": order.negative} if order.negative else {})}
    elif not by_words:
        made = wordbrush.generate(match.model, order.source, progress=next(parts), **order.sampling)
        before = made.images[0]
    after: dict[str, Image] = {}
    for way in by_words:
        result = wordbrush.edit(
            match.model, to=str(order.target), progress=next(parts), **start, **how(way, order, match.others)
        )
        before, after[way] = before or result.source, result.images[0]
    assert before is not None
    if REDRAWN in ways:
        after[REDRAWN] = _redrawn(match, before, next(parts))
    if INSTRUCTED in ways:
        assert match.editor is not None
        done = match.editor(before, match.instruction.strip(), seed=order.seed, progress=next(parts))
        after[INSTRUCTED] = done.images[0]
    told = {
        way: {name: value for measure in measures for name, value in measure(before, after[way]).items()}
        for way in ways
    }
    return Compared(order, before, {way: after[way] for way in ways}, told, notes)


def _parts(report: Report, count: int) -> Iterator[Progress]:
    """Yield what tells ``report`` of each of ``count`` pieces of work."""
    for number in range(count):

        def progress(step: int, steps: int, done: int = number) -> None:
            report.progress(done * steps + step, count * steps)

        yield progress


def _redrawn(match: Match, before: Image, progress: Progress) -> Image:
    """Return the picture drawn anew under the target."""
    given = {name: value for name, value in match.order.sampling.items() if name not in ("seed", "size")}
    made = sdedit(
        match.model,
        [before],
        [str(match.order.target)],
        strength=match.strength,
        seeds=[match.order.seed],
        progress=progress,
        **given,
    )
    return made.images[0]


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


def summed_up(compared: Compared) -> str:
    """Return the line that is said of a comparison that is done."""
    photo = compared.order.photo
    return f"{', '.join([photo.told, *compared.notes])}." if photo else "All from the same seed."


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
