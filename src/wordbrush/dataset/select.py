"""Selection: a query over the scored pairs that says of every one whether it is taken, and if not, why.

Nothing is thrown away when pairs are made, so that thresholds can be chosen, and chosen again, afterwards.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wordbrush.dataset import rules as presets
from wordbrush.dataset.query import PICTURES, columns, connection, first_line, names, shards
from wordbrush.dataset.records import PAIRS, SCORES
from wordbrush.dataset.rules import Best, Keep, Rule, Where, check
from wordbrush.dataset.selection import GateCount, Selection
from wordbrush.dataset.shards import encode
from wordbrush.errors import DataError, InvalidInput

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


def select(
    folder: Path,
    preset: str = "published",
    *,
    rules: Sequence[Rule] | None = None,
    where: str | None = None,
) -> Selection:
    """Judge every pair of a data set.

    A pair is rejected by the first rule that objects. A pair that its own stage rejected stays rejected, unless the
    stage only found a score too low: then the rules here decide.

    Args:
        folder: a run, with its pairs in ``pairs/``, or a folder of pair shards.
        preset: ``"published"`` or ``"paper"``; with ``rules``, only the name the selection is given.
        rules: in order; instead of the preset's.
        where: an SQL condition over the columns of the pairs, applied before the first ``Best``.

    Raises:
        InvalidInput: an unknown preset or score, two rules on one score, or a condition that is not SQL.
        DataError: no pairs, a shard that cannot be read, or two pairs with one key.
    """
    chosen = _with_where(tuple(rules) if rules is not None else presets.preset(preset), where)
    files = shards(Path(folder), "pairs")
    with connection() as database:
        known = columns(database, files)
        check(chosen, known)
        base = _base(known)
        verdicts = _verdicts(database, base, chosen, files)
        alone = _alone(database, base, chosen, files)
    _check_unique(verdicts)
    return Selection(preset, chosen, _counts(verdicts, chosen, alone), verdicts)


def check_query(rules: Sequence[Rule], where: str | None) -> None:
    """Judge no pairs at all, so that rules that cannot be used are known before there are any.

    Raises:
        InvalidInput: as ``select``.
    """
    with tempfile.TemporaryDirectory(prefix="wordbrush-") as folder:
        (Path(folder) / "none.parquet").write_bytes(encode([], PAIRS, {}))
        select(Path(folder), rules=rules, where=where)


def _with_where(rules: tuple[Rule, ...], where: str | None) -> tuple[Rule, ...]:
    if where is None:
        return rules
    first = next((place for place, rule in enumerate(rules) if isinstance(rule, Best)), len(rules))
    return (*rules[:first], Where(where), *rules[first:])


def _base(known: dict[str, str]) -> str:
    """Return the query of all pairs, with ``reason`` null where the rules are to decide."""
    missing = sorted({"key", "triplet_key", "kept", "reason"} - set(known))
    if missing:
        raise DataError(f"the shards hold no pairs: the column {missing[0]!r} is missing")
    scores = [name for name in SCORES if name in known]
    measured = f"coalesce({', '.join(scores)}) IS NOT NULL" if scores else "false"
    judged_again = f"list_contains({list(SCORES)!r}, split_part(reason, ':', 1)) AND {measured}"
    pictures = ", ".join(name for name in PICTURES if name in known)
    return (
        f"SELECT * {f'EXCLUDE ({pictures})' if pictures else ''} REPLACE (CASE WHEN kept OR ({judged_again}) "
        "THEN NULL ELSE coalesce(reason, 'rejected: no reason was given') END AS reason) "
        "FROM read_parquet(?, union_by_name = true)"
    )


def _verdicts(
    database: duckdb.DuckDBPyConnection, base: str, rules: tuple[Rule, ...], files: list[Path]
) -> pa.Table:
    import duckdb

    steps, parameters = [f"judged_0 AS ({base})"], [names(files)]
    for number, rule in enumerate(rules):
        sql, bound = rule.compile()
        steps.append(
            f"judged_{number + 1} AS "
            f"(SELECT * REPLACE (coalesce(reason, {sql}) AS reason) FROM judged_{number})"
        )
        parameters += bound
    query = (
        f"WITH {', '.join(steps)} SELECT key, triplet_key, reason IS NULL AS kept, "
        f"split_part(reason, ':', 1) AS gate, reason FROM judged_{len(rules)} ORDER BY key"
    )
    try:
        return database.sql(query, params=parameters).to_arrow_table()
    except (duckdb.ProgrammingError, duckdb.DataError) as error:
        if isinstance(error, duckdb.InvalidInputException) or not any(isinstance(r, Where) for r in rules):
            raise
        condition = next(rule.condition for rule in rules if isinstance(rule, Where))
        raise InvalidInput(f"where {condition!r} is not a condition: {first_line(error)}") from error


def _alone(
    database: duckdb.DuckDBPyConnection, base: str, rules: tuple[Rule, ...], files: list[Path]
) -> dict[str, int]:
    """Count for every threshold the judged pairs it would reject if it were the only rule."""
    keeps = [rule for rule in rules if isinstance(rule, Keep)]
    if not keeps:
        return {}
    compiled = [rule.compile() for rule in keeps]
    counted = ", ".join(f"count(*) FILTER (({sql}) IS NOT NULL)" for sql, _ in compiled)
    parameters = [value for _, bound in compiled for value in bound]
    row = database.execute(
        f"SELECT {counted} FROM ({base}) WHERE reason IS NULL", [*parameters, names(files)]
    ).fetchone()
    assert row is not None
    return dict(zip([rule.gate for rule in keeps], row, strict=True))


def _check_unique(verdicts: pa.Table) -> None:
    import pyarrow.compute as pc

    keys = verdicts["key"].combine_chunks()
    same = pc.equal(keys[1:], keys[:-1]) if len(keys) > 1 else None  # they are sorted
    if same is not None and pc.any(same).as_py():
        key = keys[pc.index(same, True).as_py()].as_py()
        raise DataError(
            f"two pairs have the key {key!r}: a shard is there twice, or two runs share the folder"
        )


def _counts(verdicts: pa.Table, rules: tuple[Rule, ...], alone: dict[str, int]) -> tuple[GateCount, ...]:
    grouped = verdicts.group_by("gate").aggregate([("key", "count")]).to_pylist()
    rejected = {row["gate"]: row["key_count"] for row in grouped if row["gate"] is not None}
    gates = [rule.gate for rule in rules]
    earlier = sorted(set(rejected) - set(gates))
    return (
        *(GateCount(gate, rejected[gate]) for gate in earlier),
        *(
            GateCount(rule.gate, rejected.get(rule.gate, 0), str(rule), alone.get(rule.gate))
            for rule in rules
        ),
    )
