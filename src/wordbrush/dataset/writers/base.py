"""What a writer is, and how several attempts become the drafts of a caption.

A writer is a light, picklable object of settings; ``open`` loads the model, once per process, and returns the function
that writes. Every text has a seed that is a function of its record's key and attempt, so that what is written depends
neither on the batch nor on the worker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from wordbrush.dataset.filters import Filter, Length, first_objection, settings
from wordbrush.dataset.keys import key_seed, normalise
from wordbrush.errors import InvalidInput

ATTEMPTS = 4
"""One and three more, as published."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One text of a writer, read.

    Args:
        instruction, after: empty where the text could not be read.
        raw: the text as it came.
        fault: why it cannot be used, ``"<gate>: <detail>"``; None if it was understood.
        tokens_in, tokens_out: tokens that the writer read and wrote for it.
    """

    instruction: str = ""
    after: str = ""
    raw: str = ""
    fault: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0


Write = Callable[[Sequence[str], Sequence[int]], list[Answer]]
"""``write(captions, seeds)`` → one answer for each, in order; answer i is a function of caption i and seed i."""


class Writer(Protocol):
    """What writes instructions; light and picklable."""

    @property
    def name(self) -> str:
        """What is recorded as the writer of a triplet."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """Return everything that what it writes depends on, as JSON values; no keys and no addresses."""
        ...

    def check(self) -> None:
        """Raise now for what ``open`` would not find, without loading it."""
        ...

    def open(self) -> Write:
        """Load what is needed."""
        ...


class Check(Protocol):
    """Looks at a whole triplet."""

    @property
    def name(self) -> str:
        """The gate that rejects are counted under."""
        ...

    def __call__(self, before: str, instruction: str, after: str) -> str | None:
        """Return why the triplet is rejected, or None."""
        ...


@dataclass(frozen=True)
class Changed:
    """The caption has to become another one: compared by ``keys.normalise``, as published."""

    name: str = "unchanged"

    def __call__(self, before: str, instruction: str, after: str) -> str | None:
        return "the caption after is the caption before" if normalise(before) == normalise(after) else None


@dataclass(frozen=True)
class Texts:
    """Instruction and caption pass the same filters as captions do; of instructions one word is enough.

    Args:
        filters: those of the captions.
    """

    filters: tuple[Filter, ...]
    name: str = "text"

    def __call__(self, before: str, instruction: str, after: str) -> str | None:
        briefer = [
            replace(one, words=(1, one.words[1])) if isinstance(one, Length) else one for one in self.filters
        ]
        for part, filters, text in (
            ("instruction", briefer, instruction),
            ("caption", self.filters, after),
        ):
            objection = first_objection(filters, text)
            if objection:
                return f"{part}: {objection}"
        return None

    def settings(self) -> dict[str, Any]:
        """Return the filters as JSON values."""
        return {"name": self.name, "filters": settings(self.filters)}


@dataclass(frozen=True)
class StorybookTruth:
    """Triplets that are true of the storybook: see ``wordbrush.storybook.instructions.objection``."""

    name: str = "storybook"

    def __call__(self, before: str, instruction: str, after: str) -> str | None:
        from wordbrush.storybook.instructions import objection

        return objection(before, instruction, after)


@dataclass(frozen=True, slots=True)
class Draft:
    """The outcome of all attempts at one triplet: the last answer, with the tokens of all.

    Args:
        number: which triplet of its caption, from 0.
        attempts: how many texts were written, at least 1.
    """

    number: int
    answer: Answer
    attempts: int


@dataclass
class _Pending:
    """The drafts of one caption."""

    caption: str
    keys: Sequence[str]
    drafts: dict[int, Draft] = field(default_factory=dict)
    accepted: set[tuple[str, str]] = field(default_factory=set)

    def open_numbers(self) -> list[int]:
        return [
            number
            for number in range(len(self.keys))
            if number not in self.drafts or self.drafts[number].answer.fault is not None
        ]


def write_drafts(
    write: Write,
    captions: Sequence[str],
    keys: Sequence[Sequence[str]],
    *,
    seed: int,
    checks: Sequence[Check],
    attempts: int = ATTEMPTS,
) -> list[list[Draft]]:
    """Write the triplets of some captions; what is rejected is tried again, up to ``attempts`` times in all.

    Args:
        write: an opened writer.
        keys: for each caption, the keys of its triplets.
        seed: of the run; attempt k at a triplet has the seed ``key_seed(seed, key, "write", k)``.
        checks: asked in order; that no two triplets of a caption are the same is checked always.

    Returns:
        For each caption its drafts, as many as it has keys; one whose answer has a fault is rejected.

    Raises:
        InvalidInput: there is no attempt.
    """
    if attempts < 1:
        raise InvalidInput(f"a writer needs at least 1 attempt, not {attempts}")
    pending = [_Pending(caption, own) for caption, own in zip(captions, keys, strict=True)]
    for attempt in range(attempts):
        asked = [(one, number) for one in pending for number in one.open_numbers()]
        if not asked:
            break
        seeds = [key_seed(seed, one.keys[number], "write", attempt) for one, number in asked]
        answers = write([one.caption for one, _ in asked], seeds)
        for (one, number), answer in zip(asked, answers, strict=True):
            one.drafts[number] = _draft(one, number, answer, checks)
    return [[one.drafts[number] for number in range(len(one.keys))] for one in pending]


def _draft(one: _Pending, number: int, answer: Answer, checks: Sequence[Check]) -> Draft:
    fault = answer.fault or find_fault(one.caption, answer, checks)
    content = (normalise(answer.instruction), normalise(answer.after))
    if fault is None and content in one.accepted:
        fault = "duplicate: the caption has this triplet already"
    if fault is None:
        one.accepted.add(content)
    before = one.drafts.get(number)
    if before is None:
        return Draft(number, replace(answer, fault=fault), 1)
    spent = before.answer
    answer = replace(
        answer,
        fault=fault,
        tokens_in=answer.tokens_in + spent.tokens_in,
        tokens_out=answer.tokens_out + spent.tokens_out,
    )
    return Draft(number, answer, before.attempts + 1)


def find_fault(caption: str, answer: Answer, checks: Sequence[Check]) -> str | None:
    """Return ``"<gate>: <detail>"`` of the first check that rejects ``answer``, or None."""
    for check in checks:
        detail = check(caption, answer.instruction, answer.after)
        if detail is not None:
            return f"{check.name}: {detail}"
    return None


@dataclass(frozen=True)
class Prices:
    """What a million tokens cost, in any one currency."""

    read: float = 0.0
    written: float = 0.0

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """Return the cost of so many tokens read and written."""
        return (self.read * tokens_in + self.written * tokens_out) / 1e6


FREE = Prices()
