"""Rules of a selection: frozen settings that compile to SQL with bound parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from wordbrush.dataset.query import quoted
from wordbrush.errors import DataError, InvalidInput, nearest

Compiled = tuple[str, list[Any]]
"""An SQL expression and its parameters in order. Its value is the reason to reject a pair, or null."""

GROUPS = {"triplet": "triplet_key", "caption": "regexp_replace(triplet_key, '-[0-9]+$', '')"}
"""What ``Best`` can choose among, as SQL over the columns of the pairs."""


@dataclass(frozen=True)
class Keep:
    """Keep pairs whose score is in a range, both ends included; a pair without the score is rejected.

    Args:
        score: a column of the pairs, such as ``"clip_direction"``.
        at_least, at_most: in the score's own unit; at least one of them.

    Raises:
        InvalidInput: no bound, or one that is not a finite number.
    """

    score: str
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        bounds = [bound for bound in (self.at_least, self.at_most) if bound is not None]
        if not bounds or not all(math.isfinite(bound) for bound in bounds):
            raise InvalidInput(
                f"Keep({self.score!r}) needs at_least or at_most, finite numbers, not "
                f"{self.at_least!r} and {self.at_most!r}"
            )

    @property
    def gate(self) -> str:
        """The name by which rejected pairs are counted."""
        return self.score

    @property
    def scores(self) -> tuple[str, ...]:
        """The columns that the rule reads."""
        return (self.score,)

    def compile(self) -> Compiled:
        """Return the reason to reject a pair as SQL."""
        value, name = quoted(self.score), self.score
        # DuckDB holds NaN to be greater than every number, so it would pass every at_least.
        cases = f"WHEN {value} IS NULL THEN ? WHEN isnan({value}::DOUBLE) THEN ?"
        parameters: list[Any] = [f"{name}: missing", f"{name}: not a number"]
        for sign, bound in (("<", self.at_least), (">", self.at_most)):
            if bound is not None:
                cases += f" WHEN {value} {sign} ? THEN format('{{}}: {{:.6g}} {sign} {{:.6g}}', ?, {value}::DOUBLE, ?)"
                parameters += [bound, name, bound]
        return f"CASE {cases} END", parameters

    def __str__(self) -> str:
        bounds = ((self.at_least, "≥"), (self.at_most, "≤"))
        return " and ".join(f"{self.score} {sign} {bound:.6g}" for bound, sign in bounds if bound is not None)


@dataclass(frozen=True)
class Best:
    """Keep the ``k`` highest by ``score`` in each group, of the pairs that the rules before it let through.

    Ties go to the smaller key; a pair without the score comes last.

    Args:
        per: ``"triplet"`` or ``"caption"``.

    Raises:
        InvalidInput: another group, or k below 1.
    """

    score: str
    per: str = "triplet"
    k: int = 4

    def __post_init__(self) -> None:
        if self.per not in GROUPS:
            raise InvalidInput(f"Best chooses per 'triplet' or per 'caption', not per {self.per!r}")
        if isinstance(self.k, bool) or not isinstance(self.k, int) or self.k < 1:
            raise InvalidInput(f"Best keeps a whole number of at least 1, not {self.k!r}")

    @property
    def gate(self) -> str:
        """The name by which rejected pairs are counted."""
        return "best"

    @property
    def scores(self) -> tuple[str, ...]:
        """The columns that the rule reads."""
        return (self.score,)

    def compile(self) -> Compiled:
        """Return the reason to reject a pair as SQL; its value is only meant where ``reason`` is still null."""
        value = quoted(self.score)
        order = f"CASE WHEN isnan({value}::DOUBLE) THEN NULL ELSE {value} END DESC NULLS LAST, key"
        rank = f"row_number() OVER (PARTITION BY {GROUPS[self.per]}, reason IS NULL ORDER BY {order})"
        text = f"format('best: rank {{}} of its {self.per} by {{}}', {rank}, ?)"
        return f"CASE WHEN {rank} > ? THEN {text} END", [self.k, self.score]

    def __str__(self) -> str:
        return f"best {self.k} per {self.per} by {self.score}"


@dataclass(frozen=True)
class Where:
    """Keep pairs for which an SQL condition over their columns holds; null counts as no.

    The condition is SQL of the user's own and is not bound: do not make it of text from elsewhere.
    """

    condition: str

    @property
    def gate(self) -> str:
        """The name by which rejected pairs are counted."""
        return "where"

    @property
    def scores(self) -> tuple[str, ...]:
        """The columns that the rule reads are checked by the database."""
        return ()

    def compile(self) -> Compiled:
        """Return the reason to reject a pair as SQL."""
        return f"CASE WHEN NOT coalesce(({self.condition}\n), false) THEN ? END", [
            f"where: not {self.condition}"
        ]

    def __str__(self) -> str:
        return f"where {self.condition}"


Rule = Keep | Best | Where
RULES: Mapping[str, type[Rule]] = {"keep": Keep, "best": Best, "where": Where}


def published(clip_image: float) -> tuple[Rule, ...]:
    """Return the filter of InstructPix2Pix (arXiv:2211.09800, section 3.1) with that image-image threshold."""
    return (
        Keep("clip_image", at_least=clip_image),
        Keep("clip_before", at_least=0.2),
        Keep("clip_after", at_least=0.2),
        Keep("clip_direction", at_least=0.2),
        Best("clip_direction", per="triplet", k=4),
    )


PRESETS: Mapping[str, tuple[Rule, ...]] = {
    "published": published(0.7),
    "paper": published(0.75),
    "unfiltered": (Where("candidate = 0"),),
}
"""``published``: the defaults of the released code, for CLIP ViT-L/14; ``paper``: the text's image-image threshold;
``unfiltered``: the first candidate of every triplet, whatever its scores, as where there is no CLIP to choose by."""


def preset(name: str) -> tuple[Rule, ...]:
    """Return the rules of a preset.

    Raises:
        InvalidInput: there is none of that name.
    """
    if name not in PRESETS:
        raise InvalidInput(f"there is no preset {name!r}, only {', '.join(PRESETS)}{nearest(name, PRESETS)}")
    return PRESETS[name]


def to_json(rule: Rule) -> dict[str, Any]:
    """Return the rule as JSON; ``from_json`` reads it."""
    return {"rule": type(rule).__name__.lower(), **asdict(rule)}


def from_json(value: Mapping[str, Any]) -> Rule:
    """Return the rule that ``to_json`` wrote.

    Raises:
        DataError: it is not one.
    """
    settings = dict(value)
    try:
        return RULES[settings.pop("rule")](**settings)
    except (KeyError, TypeError) as error:
        raise DataError(f"not a rule of a selection: {dict(value)!r}") from error


def check(rules: Sequence[Rule], known: Mapping[str, str]) -> None:
    """Raise ``InvalidInput`` if two rules count under one name, or one reads a column that is not there."""
    gates = [rule.gate for rule in rules]
    twice = sorted({gate for gate in gates if gates.count(gate) > 1})
    if twice:
        raise InvalidInput(
            f"two rules are called {twice[0]!r}: join them, for a score with both at_least and at_most"
        )
    numbers = [name for name, kind in known.items() if kind in {"DOUBLE", "FLOAT", "INTEGER", "BIGINT"}]
    for score in (score for rule in rules for score in rule.scores):
        if score not in numbers:
            raise InvalidInput(
                f"the pairs have no score {score!r}{nearest(score, numbers)}; they have {', '.join(numbers)}"
            )
