"""Rows become records and records rows, and Hugging Face ``datasets`` knows what the columns are."""

from __future__ import annotations

import dataclasses
import json

import pyarrow as pa
import pytest

from wordbrush.dataset.records import (
    CAPTIONS,
    PAIRS,
    SCORES,
    TRIPLETS,
    Caption,
    Pair,
    Triplet,
    gate,
    with_features,
)
from wordbrush.errors import DataError

PAIR = Pair(
    key="c-0-001",
    triplet_key="c-0",
    before="a cat",
    instruction="make it a dog",
    after="a dog",
    candidate=1,
    seed=2**62,
    share=0.5,
    guidance=7.5,
    control="full",
    steps=20,
    forward_samples=80,
    before_image=b"png",
    clip_image=0.9,
    kept=False,
    reason="clip_image: too like",
)
RECORDS = (
    Caption("c", "a cat", "file.txt"),
    Triplet("c-0", "c", "a cat", "make it a dog", "a dog", "hand", raw="…", kept=False, reason="x: y"),
    PAIR,
)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_survives_its_row(record):
    row = record.to_row()
    assert list(row) == record.schema.names
    assert set(row) == {field.name for field in dataclasses.fields(record)}
    stored = pa.Table.from_pylist([row], schema=record.schema).to_pylist()[0]
    assert type(record).from_row(stored) == record
    assert type(record).from_row(stored | {"another": 1}) == record


def test_pictures_are_stored_as_hugging_face_does():
    row = PAIR.to_row()
    assert row["before_image"] == {"bytes": b"png", "path": None}
    assert row["after_image"] is None


def test_a_missing_column_is_named():
    row = RECORDS[1].to_row()
    row["instructions"] = row.pop("instruction")
    with pytest.raises(DataError, match=r"no column 'instruction' \(did you mean 'instructions'"):
        Triplet.from_row(row)


def test_features_describe_every_column():
    described = {
        schema: json.loads(schema.metadata[b"huggingface"]) for schema in (CAPTIONS, TRIPLETS, PAIRS)
    }
    assert [list(info["info"]["features"]) for info in described.values()] == [
        CAPTIONS.names,
        TRIPLETS.names,
        PAIRS.names,
    ]
    features = described[PAIRS]["info"]["features"]
    assert features["before_image"] == {"_type": "Image"}
    assert features["seed"] == {"dtype": "int64", "_type": "Value"}
    assert {features[name]["dtype"] for name in SCORES} == {"float64"}


def test_a_type_without_counterpart_is_refused():
    with pytest.raises(DataError, match="column 'when' of type date32"):
        with_features([pa.field("when", pa.date32())])


def test_reasons_are_counted_by_their_gate():
    assert gate("clip_direction: 0.11 < 0.2") == "clip_direction"
    assert gate("duplicate") == "duplicate"
