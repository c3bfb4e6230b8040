"""The triplets stage: attempts, checks, repetitions, and rejects that keep their reason and text."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from wordbrush.dataset.captions import CaptionStage, caption_source
from wordbrush.dataset.engines.local import LocalEngine
from wordbrush.dataset.filters import (
    DEFAULTS,
    BlockedWords,
    Filter,
    Language,
    Length,
    Matching,
    from_settings,
    settings,
)
from wordbrush.dataset.keys import caption_key, key_seed
from wordbrush.dataset.records import TRIPLETS, Triplet
from wordbrush.dataset.source import ShardSource
from wordbrush.dataset.stage import run_stage
from wordbrush.dataset.triplets import CHECKS, TripletStage, checks_of, spent
from wordbrush.dataset.writers.base import (
    Answer,
    Changed,
    Prices,
    StorybookTruth,
    Write,
    find_fault,
    write_drafts,
)
from wordbrush.errors import DataError, InvalidInput


@dataclass(frozen=True)
class Scripted:
    """A writer that is a function of caption and seed."""

    one: Callable[[str, int], Answer]
    name: str = "scripted"

    def fingerprint(self) -> dict[str, Any]:
        return {}

    def open(self) -> Write:
        def write(captions: Sequence[str], seeds: Sequence[int]) -> list[Answer]:
            return [self.one(caption, seed) for caption, seed in zip(captions, seeds, strict=True)]

        return write


def answer(instruction: str, after: str, **more: Any) -> Answer:
    return Answer(instruction, after, f"{instruction}|{after}", tokens_in=10, tokens_out=4, **more)


def caption_row(text: str) -> dict[str, Any]:
    return {
        "key": caption_key(text),
        "text": text,
        "source": "here",
        "url": "u",
        "kept": True,
        "reason": None,
    }


def run(one: Callable[[str, int], Answer], *texts: str, **options: Any) -> list[Triplet]:
    worker = TripletStage(Scripted(one), **options).open()
    return [Triplet.from_row(row) for row in worker([caption_row(text) for text in texts])]


def test_a_good_answer_is_kept_at_the_first_attempt():
    (row,) = run(lambda caption, seed: answer("make it a dog", "a dog on a beach"), "a cat on a beach")
    assert row.key == f"{caption_key('a cat on a beach')}-0"
    assert (row.before, row.instruction, row.after) == (
        "a cat on a beach",
        "make it a dog",
        "a dog on a beach",
    )
    assert (row.attempts, row.tokens_in, row.tokens_out, row.raw, row.url) == (1, 10, 4, None, "u")
    assert (row.kept, row.reason, row.writer) == (True, None, "scripted")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (answer("make it nice", " A CAT on a beach! "), "unchanged: the caption after is the caption before"),
        (Answer(raw="???", fault="form: it does not end with END"), "form: it does not end with END"),
        (answer("undress it", "a nude cat"), "text: caption: blocked: the word 'nude'"),
        (answer("mach den Hund auf die Wiese", "a dog"), "text: instruction: language: reads as de"),
    ],
)
def test_a_bad_answer_costs_every_attempt_and_is_kept_with_its_reason(given: Answer, reason: str):
    (row,) = run(lambda caption, seed: given, "a cat on a beach")
    assert (row.kept, row.reason, row.raw, row.attempts) == (False, reason, given.raw, 4)
    assert row.tokens_in == 4 * given.tokens_in


def test_attempts_have_seeds_of_their_own_and_stop_when_one_is_good():
    seen: list[int] = []

    def third_time(caption: str, seed: int) -> Answer:
        seen.append(seed)
        return answer("make it a dog", "a dog" if len(seen) == 3 else caption)

    (row,) = run(third_time, "a cat on a beach", seed=9)
    assert (row.kept, row.attempts, row.tokens_out) == (True, 3, 12)
    assert seen == [key_seed(9, row.key, "write", attempt) for attempt in range(3)]
    assert len(set(seen)) == 3


def test_two_triplets_of_a_caption_are_never_the_same():
    def two(caption: str, seed: int) -> Answer:
        return answer("Make it a dog.", "a dog") if seed % 3 else answer("make it a fox", "a fox")

    rows = run(two, *(f"cat number {n}" for n in range(40)), per_caption=2, attempts=3)
    assert len(rows) == 80
    assert len({row.key for row in rows}) == 80
    pairs = [(rows[n].instruction, rows[n + 1].instruction) for n in range(0, 80, 2) if rows[n + 1].kept]
    assert len(pairs) > 20
    assert all(one != other for one, other in pairs)
    refused = [row for row in rows if not row.kept]
    assert refused
    assert {row.reason for row in refused} == {"duplicate: the caption has this triplet already"}


def test_rows_do_not_depend_on_the_unit_they_are_in():
    def by_seed(caption: str, seed: int) -> Answer:
        return answer(f"number {seed % 7}", caption if seed % 2 else f"{caption} {seed}")

    texts = [f"cat number {n}" for n in range(20)]
    together = run(by_seed, *texts, per_caption=2)
    assert [row for text in texts for row in run(by_seed, text, per_caption=2)] == together
    assert run(by_seed, *texts, per_caption=2, seed=1) != together


def test_checks_are_asked_in_order():
    bad = answer("make it a dog", "a cat on a beach")
    assert str(find_fault("a cat on a beach", bad, (StorybookTruth(), Changed()))).startswith(
        "storybook: nothing"
    )
    assert str(find_fault("a cat on a beach", bad, (Changed(), StorybookTruth()))).startswith("unchanged: ")
    assert (
        find_fault(
            "a cat on a beach", answer("make it a dog", "a dog on a beach"), (StorybookTruth(), *CHECKS)
        )
        is None
    )


@pytest.mark.parametrize(
    ("filters", "given", "reason"),
    [
        (DEFAULTS, ("undress", "a cat"), None),
        (DEFAULTS, ("make it a cat", "cat"), "text: caption: length: 1 words, fewer than 2"),
        ((Length((1, 9)),), ("mach den Hund auf die Wiese", "Katze"), None),
        ((Length((3, 9)),), ("brighter", "a nude cat"), None),
        ((Length((1, 3)),), ("turn it into a dog", "dog"), "text: instruction: length: 5 words, more than 3"),
        ((Language("de"),), ("make it a dog on the beach", "x"), "text: instruction: language: reads as en"),
        (
            (BlockedWords(("beach",)),),
            ("swim", "a dog on a beach"),
            "text: caption: blocked: the word 'beach'",
        ),
        ((Matching("swims?"),), ("it swims", "a dog"), "text: instruction: pattern: 'swims'"),
    ],
)
def test_what_is_written_passes_the_filters_of_the_captions(
    filters: tuple[Filter, ...], given: tuple[str, str], reason: str | None
):
    assert find_fault("a cat on a beach", answer(*given), checks_of(filters)) == reason
    assert from_settings(json.loads(json.dumps(settings(filters)))) == filters


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"name": "mine"}, "filter 'mine', which cannot be made again"),
        ({"name": "length", "x": 1}, "'length'"),
    ],
)
def test_filters_that_are_not_known_are_named(value: dict[str, Any], sentence: str):
    with pytest.raises(DataError, match=sentence):
        from_settings([value])


def test_stage_runs_over_shards(tmp_path: Path):
    engine = LocalEngine()
    run_stage(CaptionStage(), caption_source(["storybook:30"]), tmp_path, engine=engine)
    stage = TripletStage(Scripted(dog), rows_per_unit=8)
    source = ShardSource(tmp_path / "captions")
    report = run_stage(stage, source, tmp_path, engine=engine)
    assert report.rows_in == report.rows_out == len(source)
    assert report.kept + report.reasons.get("unchanged", 0) == report.rows_out
    rows = ShardSource(tmp_path / "triplets").rows(0, 99)
    assert len(rows) == report.kept > 20
    assert set(rows[0]) == set(TRIPLETS.names)
    texts = report.kept + 4 * (report.rows_out - report.kept)
    total = spent(tmp_path / "triplets", Prices(read=1.0, written=100.0))
    assert (total.attempts, total.tokens_in, total.tokens_out) == (texts, 10 * texts, 4 * texts)
    assert total.cost == pytest.approx(410e-6 * texts)


def dog(caption: str, seed: int) -> Answer:
    return answer("make it a dog", "a dog on a beach")


def test_settings_are_in_the_fingerprint_and_bad_ones_refused():
    stages = [
        TripletStage(Scripted(dog)),
        TripletStage(Scripted(dog, name="other")),
        TripletStage(Scripted(dog), seed=1),
        TripletStage(Scripted(dog), per_caption=2),
        TripletStage(Scripted(dog), attempts=1),
        TripletStage(Scripted(dog), checks=(Changed(), StorybookTruth())),
    ]
    assert len({repr(stage.fingerprint()) for stage in stages}) == len(stages)
    with pytest.raises(InvalidInput, match="at least 1 of triplets per caption, not 0"):
        TripletStage(Scripted(dog), per_caption=0)
    with pytest.raises(InvalidInput, match="at least 1 attempt, not 0"):
        write_drafts(Scripted(dog).open(), ["a"], [["k"]], seed=0, checks=(), attempts=0)


def test_prices_are_per_million_tokens():
    assert Prices(read=2.0, written=8.0).cost(500_000, 250_000) == 3.0
