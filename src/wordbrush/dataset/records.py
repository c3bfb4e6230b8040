"""The rows of every stage: a frozen dataclass, and the parquet schema that it is stored in.

The schemas carry the ``features`` metadata of Hugging Face ``datasets``, which therefore reads the shards as they
stand, with pictures as PIL images.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import pyarrow as pa

from wordbrush.errors import DataError, nearest

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""How Hugging Face ``datasets`` stores a picture."""

HF_DTYPES = {
    pa.string(): "string",
    pa.binary(): "binary",
    pa.bool_(): "bool",
    pa.int32(): "int32",
    pa.int64(): "int64",
    pa.float32(): "float32",
    pa.float64(): "float64",
}

SCORES = (
    "clip_image",
    "clip_before",
    "clip_after",
    "clip_direction",
    "l1",
    "ssim",
    "alignment_shift",
    "truth_before",
    "truth_after",
)
"""Columns of the pairs that measure; null where a measure was not made."""


def with_features(fields: Iterable[pa.Field]) -> pa.Schema:
    """Return a schema whose metadata tell Hugging Face ``datasets`` what every column is.

    A column of type ``IMAGE`` becomes an ``Image`` feature. Raises ``DataError`` for a type without a counterpart.
    """
    fields = list(fields)
    features = {field.name: _feature(field) for field in fields}
    info = json.dumps({"info": {"features": features}}, separators=(",", ":"))
    return pa.schema(fields, metadata={"huggingface": info})


def _feature(field: pa.Field) -> dict[str, str]:
    if field.type == IMAGE:
        return {"_type": "Image"}
    if field.type not in HF_DTYPES:
        raise DataError(
            f"column {field.name!r} of type {field.type} has no counterpart in Hugging Face datasets; "
            f"use a picture or one of {', '.join(HF_DTYPES.values())}"
        )
    return {"dtype": HF_DTYPES[field.type], "_type": "Value"}


DRAFT = "draft "
"""What the reason begins with where a draft was rejected: the row has its scores, and no pictures."""


def gate(reason: str) -> str:
    """Return the gate of a reason ``"<gate>: <detail>"``, by which rejected rows are counted."""
    return reason.partition(":")[0].strip()


class Record:
    """What the rows of all stages can do; a subclass is a frozen dataclass whose fields are its columns."""

    schema: ClassVar[pa.Schema]

    def to_row(self) -> dict[str, Any]:
        """Return the row as it is stored, pictures as ``{"bytes": …, "path": None}``."""
        return {field.name: _stored(getattr(self, field.name), field.type) for field in self.schema}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Return the record that ``row`` stores; columns it does not know are left aside.

        Raises:
            DataError: a column without a default is missing.
        """
        values = {field.name: _read(row[field.name]) for field in cls.schema if field.name in row}
        for field in dataclasses.fields(cls):  # pyright: ignore[reportArgumentType]
            if field.name not in values and field.default is dataclasses.MISSING:
                raise DataError(
                    f"a row of {cls.__name__.lower()}s has no column {field.name!r}{nearest(field.name, row)}"
                )
        return cls(**values)


def _stored(value: Any, kind: pa.DataType) -> Any:
    return {"bytes": value, "path": None} if kind == IMAGE and value is not None else value


def _read(value: Any) -> Any:
    return value["bytes"] if isinstance(value, Mapping) else value


@dataclass(frozen=True, slots=True)
class Caption(Record):
    """A description of a picture, and where it comes from.

    Args:
        key: ``keys.caption_key(text)``.
        source: the file, data set or generator it was read from.
        reason: why it was rejected, ``"<gate>: <detail>"``; None if it was kept.
    """

    key: str
    text: str
    source: str
    url: str | None = None
    kept: bool = True
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Triplet(Record):
    """A caption, an instruction that changes the picture, and the caption of the changed picture.

    Args:
        key: ``keys.triplet_key(caption_key, n)``.
        writer: the name of the writer.
        attempts: how many texts the writer wrote for this row, at least 1.
        tokens_in, tokens_out: tokens that the writer read and wrote for this row.
        raw: the writer's text as it came, where it was rejected.
    """

    key: str
    caption_key: str
    before: str
    instruction: str
    after: str
    writer: str
    attempts: int = 1
    tokens_in: int = 0
    tokens_out: int = 0
    raw: str | None = None
    url: str | None = None
    kept: bool = True
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Pair(Record):
    """One candidate for a triplet: how it was made, its two pictures, and its measures.

    Args:
        key: ``keys.pair_key(triplet_key, candidate)``.
        seed: of the starting noise, in [0, 2⁶³).
        share: p, the part of the denoising steps, in [0, 1], that share attention.
        guidance: scale of classifier-free guidance; 1 is none.
        control: which attention is shared: ``"published"`` or ``"full"``.
        steps: denoising steps.
        forward_samples: rows that the denoiser evaluated for this candidate (batch rows × calls).
        before_image, after_image: PNG files; None when the candidate was given up before it was decoded.
        clip_image: cosine of the two pictures, in [-1, 1] like all of ``clip_…``.
        clip_before, clip_after: cosines of each picture and its caption.
        clip_direction: cosine of the change between the pictures and the change between the captions.
        l1: mean absolute difference of the pictures, in [0, 1].
        ssim: structural similarity of the pictures, in [-1, 1].
        truth_before, truth_after: share of the caption's attributes that are seen, where the truth is known.
    """

    key: str
    triplet_key: str
    before: str
    instruction: str
    after: str
    candidate: int
    seed: int
    share: float
    guidance: float
    control: str
    steps: int
    forward_samples: int
    before_image: bytes | None = None
    after_image: bytes | None = None
    clip_image: float | None = None
    clip_before: float | None = None
    clip_after: float | None = None
    clip_direction: float | None = None
    l1: float | None = None
    ssim: float | None = None
    alignment_shift: float | None = None
    truth_before: float | None = None
    truth_after: float | None = None
    kept: bool = True
    reason: str | None = None


def _needed(names: Iterable[str], kind: pa.DataType) -> list[pa.Field]:
    return [pa.field(name, kind, nullable=False) for name in names]


def _optional(names: Iterable[str], kind: pa.DataType) -> list[pa.Field]:
    return [pa.field(name, kind) for name in names]


VERDICT = [*_needed(["kept"], pa.bool_()), *_optional(["reason"], pa.string())]
"""The columns that every stage's rows end with."""

CAPTIONS = with_features(
    [*_needed(["key", "text", "source"], pa.string()), *_optional(["url"], pa.string()), *VERDICT]
)
TRIPLETS = with_features(
    [
        *_needed(["key", "caption_key", "before", "instruction", "after", "writer"], pa.string()),
        *_needed(["attempts", "tokens_in", "tokens_out"], pa.int32()),
        *_optional(["raw", "url"], pa.string()),
        *VERDICT,
    ]
)
PAIRS = with_features(
    [
        *_needed(["key", "triplet_key", "before", "instruction", "after"], pa.string()),
        *_needed(["candidate"], pa.int32()),
        *_needed(["seed"], pa.int64()),
        *_needed(["share", "guidance"], pa.float64()),
        *_needed(["control"], pa.string()),
        *_needed(["steps", "forward_samples"], pa.int32()),
        *_optional(["before_image", "after_image"], IMAGE),
        *_optional(SCORES, pa.float64()),
        *VERDICT,
    ]
)
Caption.schema, Triplet.schema, Pair.schema = CAPTIONS, TRIPLETS, PAIRS
