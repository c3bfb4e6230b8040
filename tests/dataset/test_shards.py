"""Shards: the same rows give the same bytes, damage is seen, and Hugging Face ``datasets`` reads them as they stand."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from PIL import Image

import toy
from wordbrush.dataset import query
from wordbrush.dataset.records import CAPTIONS, PAIRS
from wordbrush.dataset.shards import (
    DamagedShard,
    check_shard,
    describe,
    encode,
    in_order,
    read_shard,
    set_aside,
    shard_name,
)
from wordbrush.errors import DataError

TAG = {"stage": "pairs", "unit": 3, "config": "c0ffee"}


@pytest.fixture
def rows() -> list[dict]:
    return list(toy.Pairs().work([{"key": f"{n:016x}", "text": f"a cat {n}"} for n in range(4)]))


def picture(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(buffer, format="PNG")
    return buffer.getvalue()


def test_the_same_rows_give_the_same_bytes(rows: list[dict]):
    content = encode(rows, PAIRS, TAG)
    assert encode([dict(reversed(row.items())) for row in rows], PAIRS, TAG) == content
    assert encode(rows[:-1], PAIRS, TAG) != content
    assert encode(rows, PAIRS, TAG | {"unit": 4}) != content


def test_rows_come_back(rows: list[dict], tmp_path: Path):
    path = tmp_path / "00003.parquet"
    path.write_bytes(encode(rows, PAIRS, TAG))
    assert read_shard(path).to_pylist() == rows


def test_a_unit_without_rows_is_a_file_too(tmp_path: Path):
    path = tmp_path / "00003.parquet"
    path.write_bytes(encode([], CAPTIONS, TAG))
    assert check_shard(path, TAG, 5).rows == 0
    assert read_shard(path).schema.names == CAPTIONS.names


def test_what_a_file_holds_is_counted_alike_when_written_and_when_read(rows: list[dict], tmp_path: Path):
    path = tmp_path / "00003.parquet"
    content = encode(rows, PAIRS, TAG)
    path.write_bytes(content)
    written = describe(3, 4, [(row["kept"], row["reason"]) for row in rows], content, path.name)
    assert check_shard(path, TAG, 4) == written
    assert (written.rows, written.file) == (12, "00003.parquet")
    assert 0 < written.kept < 12
    assert written.reasons == {"clip_image": 12 - written.kept}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"share": None}, "column 'share' may not be empty"),
        ({"steps": 2**31}, "column 'steps' takes int32"),
        ({"steps": "many"}, "column 'steps' takes int32"),
        ({"kept": False, "reason": None}, "a row has a reason if it was rejected, and only then"),
        ({"kept": True, "reason": "l1: 0"}, "a row has a reason if it was rejected, and only then"),
        ({"clip_images": 0.5}, r"unknown column 'clip_images' \(did you mean 'clip_image'"),
        ({"key": "double"}, "key 'double' occurs twice"),
    ],
)
def test_rows_that_do_not_fit_are_refused(rows: list[dict], change: dict, sentence: str):
    changed = [row | change for row in rows[:2]]
    with pytest.raises(DataError, match=sentence):
        encode(changed, PAIRS, TAG)


def test_a_missing_column_is_named(rows: list[dict]):
    del rows[1]["guidance"]
    with pytest.raises(DataError, match="no column 'guidance'"):
        encode(rows, PAIRS, TAG)


def test_every_truncation_is_seen(rows: list[dict], tmp_path: Path):
    path = tmp_path / "00003.parquet"
    content = encode(rows, PAIRS, TAG)
    for length in range(0, len(content), 97):
        path.write_bytes(content[:length])
        with pytest.raises(DamagedShard, match=r"00003\.parquet is damaged"):
            check_shard(path, TAG, 4)


def test_every_changed_byte_is_seen(rows: list[dict], tmp_path: Path):
    """By the manifest's checksum, and where a killed run left the file out of the manifest, by the pages' own."""
    path = tmp_path / "00003.parquet"
    content = encode(rows, PAIRS, TAG)
    path.write_bytes(content)
    known = check_shard(path, TAG, 4)
    pages = content.index(rows[0]["before_image"]["bytes"][:50])  # noise cannot be compressed
    for position in range(pages, pages + 150):
        path.write_bytes(content[:position] + bytes([content[position] ^ 16]) + content[position + 1 :])
        with pytest.raises(DamagedShard):
            check_shard(path, TAG, 4, known)
        with pytest.raises(DamagedShard):
            check_shard(path, TAG, 4)


def test_names_sort_as_the_units_do_however_many_there_are():
    assert [shard_name(7, units) for units in (0, 8, 100_000, 100_001, 2_000_000)] == [
        "00007.parquet", "00007.parquet", "00007.parquet", "000007.parquet", "0000007.parquet"
    ]  # fmt: skip
    before = [Path(f"{unit:05d}.parquet") for unit in (7, 99_999, 100_000, 100_001)]
    assert in_order(sorted(before)) == before != sorted(before)
    assert shards_of([path.name for path in reversed(before)]) == before


def shards_of(names: list[str]) -> list[Path]:
    with TemporaryDirectory() as folder:
        for name in names:
            (Path(folder) / name).touch()
        return [Path(path.name) for path in query.shards(Path(folder), "pairs")]


def test_a_whole_file_of_another_run_is_refused(rows: list[dict], tmp_path: Path):
    path = tmp_path / "00003.parquet"
    path.write_bytes(encode(rows, PAIRS, TAG | {"config": "decaf"}))
    with pytest.raises(DataError, match="is not of this run") as caught:
        check_shard(path, TAG, 4)
    assert not isinstance(caught.value, DamagedShard)
    assert path.exists()


def test_what_cannot_be_read_is_not_called_damaged(tmp_path: Path):
    folder = tmp_path / "00003.parquet"
    folder.mkdir()
    with pytest.raises(DataError, match=r"cannot read .*00003\.parquet: is a directory") as caught:
        check_shard(folder, TAG, 4)
    assert not isinstance(caught.value, DamagedShard)


def test_a_damaged_file_keeps_its_name_and_gets_another(tmp_path: Path):
    path = tmp_path / "00003.parquet"
    path.write_bytes(b"x")
    assert set_aside(path) == tmp_path / "00003.parquet.corrupt"
    assert (tmp_path / "00003.parquet.corrupt").read_bytes() == b"x"
    assert not path.exists()


def test_hugging_face_datasets_reads_pictures(tmp_path: Path):
    datasets = pytest.importorskip("datasets")
    pair = replace(toy.Pairs().pair({"key": "00", "text": "a cat"}, 0), before_image=picture("red"))
    rows = [
        replace(pair, after_image=None).to_row(),
        replace(pair, key="x", after_image=picture("blue")).to_row(),
    ]
    path = tmp_path / "00000.parquet"
    path.write_bytes(encode(rows, PAIRS, TAG))
    read = datasets.load_dataset(
        "parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert read[0]["before_image"].getpixel((0, 0)) == (255, 0, 0)
    assert read[0]["after_image"] is None
    assert read[1]["after_image"].getpixel((3, 3)) == (0, 0, 255)
    assert read[1]["seed"] == pair.seed
    assert read.features["share"].dtype == "float64"
