"""The plan of an edit: frozen data, made and read before any computing is spent.

A plan needs the prompts as the model's tokenizer reads them, but no network, device or file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from wordbrush.checks import is_whole
from wordbrush.edits.align import Match, Relation, align
from wordbrush.edits.blend import AutoBlend, BlendChoice, BlendRule, followed
from wordbrush.edits.mix import TokenMix
from wordbrush.edits.prompt import Prompt, WordLike, named
from wordbrush.edits.refine import Refine
from wordbrush.edits.replace import Replace
from wordbrush.edits.reweight import Reweight
from wordbrush.edits.self_attention import SelfAttention
from wordbrush.edits.window import Clock, Fraction, Schedule, Until, covers, only_of
from wordbrush.errors import InvalidInput


class Gated(Protocol):
    """When an edit acts on each token of a target."""

    def gates(self, target: Prompt, clock: Clock) -> np.ndarray:
        """Return the gates in [0, 1], (evaluations, tokens)."""
        ...


class Edit(Protocol):
    """One edit of the cross-attention. To add one, write a frozen dataclass with these four members."""

    @property
    def schedule(self) -> Gated:
        """When the edit acts."""
        ...

    @property
    def words(self) -> tuple[WordLike, ...]:
        """The words it names; each must occur in at least one of its targets."""
        ...

    def fold(self, mix: TokenMix, gate: np.ndarray, *, source: Prompt, target: Prompt) -> TokenMix:
        """Return ``mix`` with this edit applied on top, gate in [0, 1] per target token."""
        ...

    def describe(self) -> str:
        """Say in one line what it does."""
        ...


Edits = Edit | Sequence[Edit] | Sequence[Sequence[Edit] | None]


TRANSFERS = (Replace, Refine)
"""The edits that take the source's maps over, and leave nothing of what was done to a target's before."""


@dataclass(frozen=True)
class Recipe:
    """Edits, self-attention and blend that belong together, such as the published ones.

    Args:
        edits: as for ``wordbrush.edit``, or a function of the source and its targets that returns them.
    """

    edits: Edits | Callable[[Prompt, Sequence[Prompt]], Edits]
    self_attention: SelfAttention
    blend: BlendRule | None = None

    def edits_for(self, source: Prompt, targets: Sequence[Prompt]) -> Edits:
        """Return the edits of these prompts."""
        return self.edits(source, targets) if callable(self.edits) else self.edits


Injection = Fraction | SelfAttention | list[Fraction | SelfAttention]
"""For all targets, or a list with one for each."""


@dataclass(frozen=True)
class EditPlan:
    """Everything an edit will do.

    Args:
        source: the prompt whose picture is edited.
        targets: the prompts of the edited pictures.
        edits: one tuple per target, applied in order.
        self_attention: when and where each target attends to itself as the source does.
        blend: where the pictures may change at all, or None for everywhere.
        blocks: numbers of the transformer blocks in which attention is edited, or None for all of them.

    Raises:
        UnknownWord: an edit or the blend names a word that none of its prompts contains.
        AmbiguousWord: it names a word that occurs more than once.
        InvalidInput: an edit gives a strength or a window to the same word of a target twice.
    """

    source: Prompt
    targets: tuple[Prompt, ...]
    edits: tuple[tuple[Edit, ...], ...]
    self_attention: tuple[SelfAttention, ...]
    blend: BlendRule | None = None
    blocks: frozenset[int] | None = None

    def __post_init__(self) -> None:
        pairs = [(edit, t) for t, own in zip(self.targets, self.edits, strict=True) for edit in own]
        for edit in {id(edit): edit for edit, _ in pairs}.values():
            own = [target for other, target in pairs if other is edit]
            _check_words(edit.words, own)
            if isinstance(edit, Reweight):
                _check_apart(edit.strengths, own, "strength")
            if isinstance(edit.schedule, Schedule):
                _check_apart(edit.schedule.named, own, "window")
        if self.blend is not None:
            self.blend.indicators(self.source, self.targets)

    def mixes(self, clock: Clock) -> tuple[tuple[TokenMix, ...], ...]:
        """Return the mix of every target at every step; steps that do the same share one tuple."""
        gates = [
            [edit.schedule.gates(target, clock) for edit in edits]
            for target, edits in zip(self.targets, self.edits, strict=True)
        ]
        distinct: dict[bytes, tuple[TokenMix, ...]] = {}
        timeline = []
        for step in range(clock.evaluations):
            now = [[gate[step] for gate in per_target] for per_target in gates]
            key = b"".join(gate.tobytes() for per_target in now for gate in per_target)
            if key not in distinct:
                distinct[key] = tuple(map(self._fold, self.targets, self.edits, now))
            timeline.append(distinct[key])
        return tuple(timeline)

    def describe(self) -> str:
        """Return the table to read before an edit is run."""
        lines = [f"source: {self.source.text}"]
        shared = len(set(self.self_attention)) == 1
        for number, (target, edits) in enumerate(zip(self.targets, self.edits, strict=True), 1):
            lines += [f"target {number}: {target.text}", *_word_table(self.source, target)]
            lines += [f"  {edit.describe()}{_absent(edit, target)}" for edit in edits] or [
                "  no edit of the cross-attention"
            ]
            if not shared:
                lines.append(f"  {self.self_attention[number - 1].describe()}")
        if shared:
            lines.append(self.self_attention[0].describe())
        lines.append(self._blend_line())
        if self.blocks is not None:
            lines.append(f"in blocks {', '.join(map(str, sorted(self.blocks)))} only")
        return "\n".join(lines)

    def _blend_line(self) -> str:
        """Return what the blend does and, unless its own line names them, the words that it found."""
        if self.blend is None:
            return "blend: none, the whole picture may change"
        if not self.blend.own_columns:
            return self.blend.describe()
        found = [
            ", ".join(dict.fromkeys((*before, *after))) or "none"
            for before, after in followed(self.blend, self.source, self.targets)
        ]
        each = [f"{words} (target {number})" for number, words in enumerate(found, 1)]
        return f"{self.blend.describe()}; its words: {'; '.join(each) if len(set(found)) > 1 else found[0]}"

    def _fold(self, target: Prompt, edits: Sequence[Edit], gates: Sequence[np.ndarray]) -> TokenMix:
        mix = TokenMix.identity(target.length)
        for edit, gate in zip(edits, gates, strict=True):
            mix = edit.fold(mix, gate, source=self.source, target=target)
        return mix


def make_plan(
    source: Prompt,
    targets: Sequence[Prompt],
    *,
    edits: Edits | Recipe | None,
    until: Until,
    self_attention: Injection,
    blend: BlendChoice,
    blocks: Iterable[int] | None = None,
    renormalise: bool = False,
) -> EditPlan:
    """Read what the caller of ``wordbrush.edit`` wrote into a plan.

    Args:
        edits: None infers one edit per target from the words; an edit or a list of edits goes to every target; a
            list of lists has one per target, or None for the inferred one; ``Reweight`` alone acts on top of the
            inferred edit. An empty list is no edit of the cross-attention at all. ``Replace`` and ``Refine`` take
            whole maps over, so they come before ``Reweight`` in whatever order they are given.
        until: the steps in which inferred edits use the source's maps; a word that it names must occur in at least one
            of their targets.
        self_attention: for all targets, or a list with one for each; ignored when ``edits`` is a ``Recipe``, which
            brings its own.
        blend: a rule; ``"auto"`` for ``AutoBlend()`` where words are changed by an edit; or ``"none"``. Ignored when
            ``edits`` is a ``Recipe``, which brings its own.
        blocks: numbers of the transformer blocks to edit attention in; None for all.
        renormalise: what ``Reweight`` does that leaves it open; a ``Recipe`` is as published, without.

    Raises:
        InvalidInput: an empty prompt, a target equal to the source with nothing else to change, something that is no
            edit or blend, or an edit of which a later one leaves nothing.
    """
    if blend not in ("auto", "none") and not hasattr(blend, "indicators"):
        raise InvalidInput(f"blend is Blend(source=…, target=…), 'auto' or 'none', not {blend!r}")
    for prompt in (source, *targets):
        if not prompt.text.strip():
            raise InvalidInput("an empty prompt cannot be edited: describe the picture in words")
    if not targets:
        raise InvalidInput("there is no target prompt: say with to= what the picture should become")
    within = None if blocks is None else check_blocks(blocks)
    if isinstance(edits, Recipe):
        given = _per_target(edits.edits_for(source, targets), len(targets))
        chosen = _settled([own or () for own in given], renormalise=False)
        injected = (edits.self_attention,) * len(targets)
        return EditPlan(source, tuple(targets), chosen, injected, edits.blend, within)
    per_target = _per_target(edits, len(targets))
    inferring = [target for target, own in zip(targets, per_target, strict=True) if _is_inferred(own)]
    if inferring:
        _check_words(Schedule.of(until).named, inferring)
    complete = _settled(
        [_completed(source, t, own, until) for t, own in zip(targets, per_target, strict=True)],
        renormalise=renormalise,
    )
    _check_overwritten(targets, complete)
    injected = _injections(self_attention, len(targets))
    rule = _automatic(source, targets, complete) if blend == "auto" else None if blend == "none" else blend
    return EditPlan(source, tuple(targets), complete, injected, rule, within)  # pyright: ignore[reportArgumentType]


def infer(source: Prompt, target: Prompt, until: Until) -> Edit:
    """Return the edit that the words call for: ``Replace`` if any was swapped, else ``Refine``."""
    swapped = any(match.relation is Relation.SWAPPED for match in align(source, target))
    window = only_of(until, target)
    return Replace(window) if swapped else Refine(window)


def infers(edits: Edits | Recipe | None, targets: int) -> bool:
    """Tell whether what the caller wrote leaves the edit of any target to be inferred."""
    return not isinstance(edits, Recipe) and any(map(_is_inferred, _per_target(edits, targets)))


def _is_inferred(edits: tuple[Edit, ...] | None) -> bool:
    return edits is None or (bool(edits) and all(isinstance(edit, Reweight) for edit in edits))


def check_blocks(blocks: object) -> frozenset[int]:
    """Return the numbers of transformer blocks. Raises ``InvalidInput`` unless they are whole numbers."""
    numbers = list(blocks) if isinstance(blocks, Iterable) else [blocks]
    if isinstance(blocks, str) or not all(map(is_whole, numbers)):
        raise InvalidInput(f"blocks are the numbers of transformer blocks, as in [0, 1, 2], not {blocks!r}")
    return frozenset(numbers)  # pyright: ignore[reportArgumentType, reportReturnType]


def _automatic(
    source: Prompt, targets: Sequence[Prompt], edits: Sequence[Sequence[Edit]]
) -> AutoBlend | None:
    """Return the blend of what the edits change; None where no word is swapped, added or deleted by an edit."""
    rule = AutoBlend(
        unedited=tuple(number for number, own in enumerate(edits) if not own),
        weighted=tuple(
            tuple(
                word
                for edit in own
                if isinstance(edit, Reweight)
                for word, strength in edit.strengths.items()
                if strength != 1
            )
            for own in edits
        ),
    )
    return rule if rule.indicators(source, targets).any() else None


def _injections(given: Injection, targets: int) -> tuple[SelfAttention, ...]:
    if not isinstance(given, list):
        return (SelfAttention.of(given),) * targets
    if len(given) != targets:
        raise InvalidInput(f"self_attention lists {len(given)} windows but there are {targets} targets")
    return tuple(SelfAttention.of(one) for one in given)


def _per_target(edits: Edits | None, targets: int) -> list[tuple[Edit, ...] | None]:
    if edits is None:
        return [None] * targets
    listed = list(edits) if isinstance(edits, Sequence) and not isinstance(edits, str) else [edits]
    nested = [
        own if own is None else tuple(own) for own in listed if own is None or isinstance(own, list | tuple)
    ]
    if not nested:
        return [tuple(edit for edit in listed if not isinstance(edit, list | tuple))] * targets  # pyright: ignore[reportReturnType]
    if len(nested) != len(listed) or len(nested) != targets:
        raise InvalidInput(
            f"edits per target must be {targets} lists of edits, one for each of the targets, or None for a target "
            "whose edit is to be inferred"
        )
    return nested


def _completed(
    source: Prompt, target: Prompt, edits: tuple[Edit, ...] | None, until: Until
) -> tuple[Edit, ...]:
    """Return the edits of one target, with the inferred one where the caller left it to us."""
    for edit in edits or ():
        if isinstance(edit, type) or not hasattr(edit, "fold"):
            raise InvalidInput(f"an edit is Replace(…), Refine(…) or Reweight(…), not {edit!r}")
    transfers_only = edits is None or (bool(edits) and all(isinstance(e, Replace | Refine) for e in edits))
    if transfers_only and [t.id for t in source.tokens] == [t.id for t in target.tokens]:
        raise same_prompts(source.text)
    inferred = (infer(source, target, until),) if _is_inferred(edits) else ()
    return (*inferred, *(edits or ()))


def same_prompts(source: str) -> InvalidInput:
    """Return the error for a target that equals its source, with nothing else to change."""
    told = (
        f"the target prompt equals the source prompt {source!r}: change a word, or turn one up or down with"
    )
    return InvalidInput(
        f"{told} edits=[Reweight({{word: strength}})]", command=f"{told} --weight WORD=STRENGTH"
    )


def _settled(edits: Sequence[Sequence[Edit]], *, renormalise: bool) -> tuple[tuple[Edit, ...], ...]:
    """Return the edits per target as they are done, with nothing left open; one that targets share stays one."""
    settled = {
        id(edit): edit.settled(renormalise=renormalise) if isinstance(edit, Reweight) else edit
        for own in edits
        for edit in own
    }
    return tuple(tuple(settled[id(edit)] for edit in _ordered(own)) for own in edits)


def _ordered(edits: Sequence[Edit]) -> list[Edit]:
    """Return edits with every ``Reweight`` after the last of the transfers, which would erase what it did."""
    last = max((number for number, edit in enumerate(edits) if isinstance(edit, TRANSFERS)), default=-1)
    before, after = edits[: last + 1], edits[last + 1 :]
    moved = [edit for edit in before if isinstance(edit, Reweight)]
    return [*(edit for edit in before if not isinstance(edit, Reweight)), *moved, *after]


def _check_overwritten(targets: Sequence[Prompt], edits: Sequence[Sequence[Edit]]) -> None:
    """Raise ``InvalidInput`` for a transfer of which later ones leave nothing in any of its targets."""
    overwritten: dict[int, tuple[Edit, Sequence[Edit]]] = {}
    left: set[int] = set()
    for target, own in zip(targets, edits, strict=True):
        transfers = [edit for edit in own if isinstance(edit, TRANSFERS)]
        for number, edit in enumerate(transfers):
            later = transfers[number + 1 :]
            if later and covers([one.schedule for one in later], edit.schedule, target):
                overwritten[id(edit)] = edit, later
            else:
                left.add(id(edit))
    for edit, later in (pair for number, pair in overwritten.items() if number not in left):
        raise InvalidInput(
            f"{edit} does nothing, because {' and '.join(map(str, later))} after it takes over wherever it acts: leave "
            "it out, or give them different parts of the run, as until=(0, 0.4) and until=(0.4, 0.8)"
        )


def _check_words(words: Iterable[WordLike], targets: Sequence[Prompt]) -> None:
    for word in words:
        found = [target.has(word) for target in targets]
        if not any(found):
            targets[0].find(word)  # raises, naming the tokens and the nearest word


def _check_apart(words: Iterable[WordLike], targets: Sequence[Prompt], what: str) -> None:
    """Raise ``InvalidInput`` if two of ``words`` are the very same tokens of a target."""
    words = tuple(words)
    for target in targets:
        seen: dict[tuple[int, ...], WordLike] = {}
        for word in words:
            tokens = target.find(word) if target.has(word) else ()
            if tokens and seen.setdefault(tokens, word) is not word:
                raise InvalidInput(
                    f"{named(seen[tokens])!r} and {named(word)!r} are the same word of {target.text!r}: give it one "
                    f"{what}"
                )


def related(source: Prompt, target: Prompt) -> list[tuple[Match, str, str]]:
    """Return every match of words with the source's and the target's words by name, empty where one has none.

    Where several tokenizers read the prompts, they are those of the first reading.
    """
    source, target = source.reading, target.reading
    matches = [(m, _named(source, m.source), _named(target, m.target)) for m in align(source, target)]
    return [(match, old, new) for match, old, new in matches if old or new]


def _absent(edit: Edit, target: Prompt) -> str:
    """Return which of the words that an edit names for several targets are not in this one."""
    absent = " and ".join(named(word) for word in edit.words if not target.has(word))
    return f" (no {absent} here)" if absent else ""


def _word_table(source: Prompt, target: Prompt) -> list[str]:
    """Return one line per target word (and deleted word): its tokens and the source words it corresponds to."""
    rows = [
        (new or "-", ",".join(map(str, match.target)), _origin(match, old))
        for match, old, new in related(source, target)
    ]
    width = max(len(row[0]) for row in rows)
    return [
        f"  {word:<{width}}  {'token ' + tokens if tokens else '':<14} {origin}"
        for word, tokens, origin in rows
    ]


def _origin(match: Match, old: str) -> str:
    return {
        Relation.SAME: f"same as {old!r}",
        Relation.SWAPPED: f"swapped for {old!r}",
        Relation.ADDED: "added",
        Relation.DELETED: f"{old!r} deleted",
    }[match.relation]


def _named(prompt: Prompt, tokens: tuple[int, ...]) -> str:
    """Return the words that own ``tokens``; nothing for padding and the tokens added at the ends."""
    words = [word.text for word in prompt.words if set(word.tokens) & set(tokens)]
    marks = [prompt.tokens[i] for i in tokens if i < len(prompt.tokens)]
    return " ".join(words) or "".join(token.text for token in marks if token.end > token.start)
