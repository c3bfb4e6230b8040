"""Thresholds for another CLIP model: the same percentiles instead of the same numbers.

The published thresholds belong to CLIP ViT-L/14. Cosines of another model lie elsewhere, so that 0.2 may let everything
through, or nothing. What carries over is how strict a threshold is: the share of pairs that lies below it. To carry it
over, score a sample of pairs with both models:

    reference = percentiles(folder_scored_with_vit_l_14)      # {"clip_image": 41.3, ...}
    rules = calibrate(folder_scored_with_the_other, reference)
    select(folder_scored_with_the_other, "published, calibrated", rules=rules)

Percentiles depend on the pairs as well as on the model, so both folders must hold the same pairs, or pairs made in the
same way, and all of them must be scored: candidates that were given up early are missing from the lower end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from wordbrush.dataset.query import columns, connection, drafted, names, quoted, shards
from wordbrush.dataset.rules import PRESETS, Keep, Rule, check
from wordbrush.errors import DataError, InvalidInput, nearest


def percentiles(folder: Path, rules: Sequence[Rule] = PRESETS["published"]) -> dict[str, float]:
    """Return, for every ``Keep`` with ``at_least``, the percentage in [0, 100] of scored pairs that lies below it.

    Pairs count whatever their verdict; those without the score (null or NaN) do not, nor do drafts that were given up.

    Raises:
        InvalidInput: a score that the pairs do not have.
        DataError: no pair has the score.
    """
    files = shards(Path(folder), "pairs")
    found = {}
    with connection() as database:
        known = columns(database, files)
        check(rules, known)
        for rule in _thresholds(rules):
            value = quoted(rule.score)
            row = database.execute(
                f"SELECT count(*) FILTER ({value} < ?), count(*) FROM read_parquet(?, union_by_name = true) "
                f"WHERE {value} IS NOT NULL AND NOT isnan({value}::DOUBLE) AND NOT {drafted(known)}",
                [rule.at_least, names(files)],
            ).fetchone()
            assert row is not None
            if not row[1]:
                raise DataError(f"no pair in {folder} has the score {rule.score!r}: score them first")
            found[rule.score] = 100 * row[0] / row[1]
    return found


def calibrate(
    folder: Path, reference: Mapping[str, float], rules: Sequence[Rule] = PRESETS["published"]
) -> tuple[Rule, ...]:
    """Return ``rules`` with every ``at_least`` moved to where the reference's percentage of this folder lies below it.

    With n scored pairs, counted as ``percentiles`` does, and percentage q, the new threshold is the score that exactly
    round(q n / 100) scores precede, so that calibrating a folder on itself selects the same pairs. ``at_most``,
    ``Best`` and ``Where`` stay.

    Args:
        reference: percentages in [0, 100] by score, as ``percentiles`` returns them.

    Raises:
        InvalidInput: a score without a percentage, a percentage out of range or for a score without ``at_least``.
        DataError: no pair has the score.
    """
    wanted = [rule.score for rule in _thresholds(rules)]
    for score, percentage in reference.items():
        if score not in wanted:
            raise InvalidInput(f"no rule has an at_least for {score!r}{nearest(score, wanted)}")
        if not 0 <= percentage <= 100:
            raise InvalidInput(f"{score!r} needs a percentage from 0 to 100, not {percentage!r}")
    missing = [score for score in wanted if score not in reference]
    if missing:
        raise InvalidInput(f"the reference has no percentage for {missing[0]!r}")
    files = shards(Path(folder), "pairs")
    with connection() as database:
        known = columns(database, files)
        check(rules, known)
        moved = {}
        for score in wanted:
            value = quoted(score)
            rows = database.execute(
                f"SELECT {value}::DOUBLE FROM read_parquet(?, union_by_name = true) "
                f"WHERE {value} IS NOT NULL AND NOT isnan({value}::DOUBLE) AND NOT {drafted(known)} ORDER BY 1",
                [names(files)],
            ).fetchnumpy()
            moved[score] = _at(np.asarray(next(iter(rows.values()))), reference[score], score, folder)
    return tuple(
        replace(rule, at_least=moved[rule.score])
        if isinstance(rule, Keep) and rule.at_least is not None
        else rule
        for rule in rules
    )


def _thresholds(rules: Sequence[Rule]) -> list[Keep]:
    return [rule for rule in rules if isinstance(rule, Keep) and rule.at_least is not None]


def _at(ordered: np.ndarray, percentage: float, score: str, folder: Path) -> float:
    """Return the value that the percentage of the sorted values precedes; beyond the last one nothing is kept."""
    if not len(ordered):
        raise DataError(f"no pair in {folder} has the score {score!r}: score them first")
    place = round(percentage * len(ordered) / 100)
    return float(ordered[place] if place < len(ordered) else np.nextafter(ordered[-1], np.inf))
