"""The loop: every method on every example, measured and kept; the same call goes on where it stopped."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from wordbrush.checks import check_count
from wordbrush.dataset.keys import key_seed
from wordbrush.errors import DataError, InvalidInput, ModelError
from wordbrush.evaluation.example import Example
from wordbrush.evaluation.measures import Measure, Scores
from wordbrush.evaluation.method import Edited, Method
from wordbrush.evaluation.rows import Row, name_of, open_rows

if TYPE_CHECKING:
    from PIL.Image import Image

Progress = Callable[[int, int | None], None]


def evaluate(
    examples: Iterable[Example],
    methods: Sequence[Method],
    measures: Sequence[Measure],
    *,
    out: Path | None = None,
    made_with: Mapping[str, Any] | None = None,
    seed: int = 0,
    batch: int = 4,
    limit: int | None = None,
    total: int | None = None,
    progress: Progress | None = None,
) -> list[Row]:
    """Edit every example by every method, and measure what comes out.

    The seed of an edit is a function of ``seed`` and the example's key alone, so all methods have the same noise, and
    neither the batch nor what was done before matters.

    Args:
        out: a folder, to which results are appended example by example; what it has already is not made again.
        made_with: what scores depend on beside the methods' settings, as JSON values; see ``rows.open_rows``.
        batch: how many examples a method is given at once.
        limit: the first examples only.
        total: how many examples there are, for ``progress``.
        progress: called with (examples done, in all).

    Returns:
        The rows of these methods and examples, in their order; those of edits that could not be made, or not be
        measured in full, say why.

    Raises:
        InvalidInput: no method, one that stands twice, or a batch that is none.
        DataError: two examples have one key, the data set lacks what a method needs, or ``out`` was made otherwise;
            what was measured so far is kept.
    """
    batch = check_count("batch", batch)
    if not methods:
        raise InvalidInput("there is nothing to evaluate: name a method")
    settings = [name_of(method.name, method.settings, "") for method in methods]
    for number, one in enumerate(settings):
        if one in settings[:number]:
            raise InvalidInput(f"the method {methods[number].name} is given twice with the same settings")
    wanted: list[str] = []
    seen: set[str] = set()
    known = {"seed": seed, **(made_with or {})}
    with open_rows(None if out is None else Path(out), known) as rows:
        for chunk in _chunks(islice(iter(examples), limit), batch):
            for example in chunk:
                if example.key in seen:
                    raise DataError(f"two examples have the key {example.key!r}: results are kept by it")
                seen.add(example.key)
            for method in methods:
                names = [name_of(method.name, method.settings, example.key) for example in chunk]
                missing = [one for one, name in zip(chunk, names, strict=True) if name not in rows]
                if missing:
                    rows.add(_measured(method, missing, measures, seed))
                wanted += names
            if progress is not None:
                progress(len(seen), total)
        made = {row.name: row for row in rows}
    return [made[name] for name in wanted]


def _chunks(examples: Iterator[Example], size: int) -> Iterator[list[Example]]:
    while chunk := list(islice(examples, size)):
        yield chunk


def _measured(
    method: Method, examples: Sequence[Example], measures: Sequence[Measure], seed: int
) -> list[Row]:
    """Return the rows of examples; if they cannot be edited together, of each by itself."""
    seeds = [key_seed(seed, example.key, "edit") for example in examples]

    def row(number: int, **rest: Any) -> Row:
        example = examples[number]
        named = {"method": method.name, "along": method.along, "settings": method.settings}
        return Row(**named, key=example.key, kind=example.kind, seed=seeds[number], **rest)

    try:
        edited, seconds, memory = _timed(method, examples, seeds)
    except (InvalidInput, ModelError) as error:
        failed = str(error)
    else:
        found = _scored(measures, examples, edited.images)
        share = {
            "forward_samples": edited.forward_samples / len(examples),
            "seconds": round(seconds / len(examples), 4),
            "memory": memory,
        }
        return [
            row(number, scores=scores, unmeasured=why, **share) for number, (scores, why) in enumerate(found)
        ]
    # Only here, after the error and with it what it still held in memory are gone.
    if len(examples) > 1:
        return [one for example in examples for one in _measured(method, [example], measures, seed)]
    return [row(0, failed=failed)]


def _scored(
    measures: Sequence[Measure], examples: Sequence[Example], images: Sequence[Image]
) -> list[tuple[Scores, str | None]]:
    """Return the scores of every picture, and why some are missing if they are."""
    scores: list[Scores] = [{} for _ in examples]
    missing: list[list[str]] = [[] for _ in examples]
    for measure in measures:
        for number, (found, why) in enumerate(_taken(measure, examples, images)):
            scores[number] |= found
            missing[number] += [why] if why is not None else []
    reasons = ["; ".join(dict.fromkeys(why)) or None for why in missing]
    return list(zip(scores, reasons, strict=True))


def _taken(
    measure: Measure, examples: Sequence[Example], images: Sequence[Image]
) -> list[tuple[Scores, str | None]]:
    """Return what a measure says of every picture, or why it cannot be taken; if not of all together, one by one."""
    try:
        return [(found, None) for found in measure(examples, images)]
    except (InvalidInput, ModelError) as error:
        reason = str(error)
    if len(examples) == 1:
        return [({}, reason)]
    return [
        one
        for example, image in zip(examples, images, strict=True)
        for one in _taken(measure, [example], [image])
    ]


def _timed(
    method: Method, examples: Sequence[Example], seeds: Sequence[int]
) -> tuple[Edited, float, int | None]:
    """Return what a method made, the seconds that took, and the most memory as ``Row`` defines it."""
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    edited = method.edit(examples, seeds)
    if gpu:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    return edited, seconds, torch.cuda.max_memory_allocated() if gpu else _resident()


def _resident() -> int | None:
    """Return the most bytes that this process has held in memory, if the system says so."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held if sys.platform == "darwin" else held * 1024
