"""The second stage: for every caption, instructions and the captions after them, checked, with what was rejected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from wordbrush.dataset.filters import DEFAULTS, Filter
from wordbrush.dataset.keys import triplet_key
from wordbrush.dataset.records import TRIPLETS, Triplet
from wordbrush.dataset.shards import read_shard
from wordbrush.dataset.stage import Worker
from wordbrush.dataset.threads import Computing
from wordbrush.dataset.writers.base import (
    ATTEMPTS,
    FREE,
    Changed,
    Check,
    Draft,
    Prices,
    Texts,
    Write,
    Writer,
    write_drafts,
)
from wordbrush.errors import InvalidInput


def checks_of(filters: Sequence[Filter]) -> tuple[Check, ...]:
    """Return what the triplets of captions that passed ``filters`` have to pass themselves.

    What was written in another form never gets so far.
    """
    return Changed(), Texts(tuple(filters))


CHECKS = checks_of(DEFAULTS)
"""What triplets have to pass unless told otherwise."""


@dataclass(frozen=True)
class TripletStage:
    """Writes ``per_caption`` triplets for every caption.

    Args:
        writer: its settings; it is opened once per process.
        seed: of the run.
        checks: asked in order.
        attempts: texts written for a triplet at most.
        rows_per_unit: captions of one unit; what a killed worker has to write again.
    """

    writer: Writer
    seed: int = 0
    per_caption: int = 1
    checks: tuple[Check, ...] = CHECKS
    attempts: int = ATTEMPTS
    rows_per_unit: int = 256
    name: str = "triplets"
    schema: pa.Schema = TRIPLETS

    def __post_init__(self) -> None:
        for what, number in (("triplets per caption", self.per_caption), ("attempts", self.attempts)):
            if number < 1:
                raise InvalidInput(f"there has to be at least 1 of {what}, not {number}")

    def fingerprint(self) -> dict[str, Any]:
        """Return the writer, the checks and the counts."""
        return {
            "writer": {"name": self.writer.name, **self.writer.fingerprint()},
            "seed": self.seed,
            "per_caption": self.per_caption,
            "attempts": self.attempts,
            "checks": [_settings(check) for check in self.checks],
        }

    def computes_on(self, found: str) -> str | None:
        """Return the kind of device that the writer computes on; None if it is a server."""
        return self.writer.computes_on(found) if isinstance(self.writer, Computing) else None

    def check(self) -> None:
        """Raise now for a writer that is not there."""
        self.writer.check()

    def open(self) -> Worker:
        """Load the writer."""
        write = self.writer.open()
        return lambda captions: self._rows(write, captions)

    def _rows(self, write: Write, captions: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        keys = [[triplet_key(row["key"], n) for n in range(self.per_caption)] for row in captions]
        drafts = write_drafts(
            write,
            [row["text"] for row in captions],
            keys,
            seed=self.seed,
            checks=self.checks,
            attempts=self.attempts,
        )
        for row, own in zip(captions, drafts, strict=True):
            for draft in own:
                yield self._triplet(row, draft).to_row()

    def _triplet(self, caption: Mapping[str, Any], draft: Draft) -> Triplet:
        answer = draft.answer
        return Triplet(
            key=triplet_key(caption["key"], draft.number),
            caption_key=caption["key"],
            before=caption["text"],
            instruction=answer.instruction,
            after=answer.after,
            writer=self.writer.name,
            attempts=draft.attempts,
            tokens_in=answer.tokens_in,
            tokens_out=answer.tokens_out,
            raw=None if answer.fault is None else answer.raw,
            url=caption["url"],
            kept=answer.fault is None,
            reason=answer.fault,
        )


@dataclass(frozen=True)
class Spent:
    """What a stage of triplets has cost: texts written, tokens read and written, and their price."""

    attempts: int
    tokens_in: int
    tokens_out: int
    cost: float


def spent(folder: Path, prices: Prices = FREE) -> Spent:
    """Add up what the finished units in ``folder`` (``OUT/triplets``) have cost, rejects included.

    Raises:
        DataError: a shard is damaged.
    """
    totals = dict.fromkeys(("attempts", "tokens_in", "tokens_out"), 0)
    for path in sorted(folder.glob("*.parquet")):
        table = read_shard(path)
        for name in totals:
            totals[name] += pc.sum(table[name]).as_py() or 0
    return Spent(**totals, cost=prices.cost(totals["tokens_in"], totals["tokens_out"]))


def _settings(check: Check) -> dict[str, Any]:
    return check.settings() if isinstance(check, Texts) else asdict(check)  # pyright: ignore[reportArgumentType]
