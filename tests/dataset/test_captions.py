"""Captions from every kind of input, with a reason for every one that is left out."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wordbrush.dataset.captions import CaptionSource, CaptionStage, caption_source, tidy
from wordbrush.dataset.filters import BlockedWords, Language, Length, Matching, first_objection
from wordbrush.dataset.keys import caption_key
from wordbrush.dataset.readers import Found, reader
from wordbrush.errors import DataError, InvalidInput
from wordbrush.storybook.scene import parse


def rows(*names: Path | str, **options: Any) -> list[dict[str, Any]]:
    source = caption_source([str(name) for name in names], **options)
    return source.rows(0, len(source))


def judged(*found: tuple[str | None, str | None]) -> list[dict[str, Any]]:
    source = CaptionSource([[Found(text, f"list:{n}", url) for n, (text, url) in enumerate(found)]])  # type: ignore[list-item]
    return source.rows(0, len(source))


def test_text_file_gives_a_caption_a_line(tmp_path: Path):
    path = tmp_path / "some.txt"
    path.write_bytes("\ufeffa cat on a beach\r\n\r\n  A dog \t in\u00a0a  forest \n".encode())
    found = rows(path)
    assert [row["text"] for row in found] == ["a cat on a beach", "A dog in a forest"]
    assert [row["source"] for row in found] == ["some.txt:1", "some.txt:3"]
    assert found[0]["key"] == caption_key("a cat on a beach")
    assert all(row["kept"] and row["reason"] is None for row in found)


@pytest.mark.parametrize("name", ["caption", "input", "TEXT"])
def test_json_lines_by_any_known_name(tmp_path: Path, name: str):
    path = tmp_path / "some.jsonl"
    lines = [{name: "a cat on a beach", "url": "http://x/1"}, {name: "a dog in a forest"}]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    found = rows(path)
    assert [(row["text"], row["url"]) for row in found] == [
        ("a cat on a beach", "http://x/1"),
        ("a dog in a forest", None),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"caption": "a cat', r"some\.jsonl, line 2: not JSON"),
        ("[1]", r"some\.jsonl, line 2: expected a JSON object, got '\[1\]'"),
        ('{"captoin": "a cat"}', r"some\.jsonl, line 2 has none of the columns caption, .*; it has captoin"),
        ('{"caption": 3}', r"some\.jsonl, line 2: a caption is text, not 3"),
        ('{"caption": "a \\ud800 cat"}', r"some\.jsonl, line 2: holds half of a surrogate pair"),
        ("[" * 100_000, r"some\.jsonl, line 2: not JSON"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str):
    path = tmp_path / "some.jsonl"
    path.write_text('{"caption": "a cat on a beach"}\n' + line + "\n")
    with pytest.raises(DataError, match=message):
        rows(path)


def test_parquet_with_the_columns_of_laion(tmp_path: Path):
    path = tmp_path / "part.parquet"
    table = {
        "URL": ["u1", "u2", "u1"],
        "TEXT": ["a cat on a beach", None, "a fox in a city"],
        "WIDTH": [1, 2, 3],
    }
    pq.write_table(pa.table(table), path)
    found = rows(path)
    assert [row["reason"] for row in found] == [
        None,
        "empty: no text",
        "duplicate: the address of part.parquet:1",
    ]
    assert [row["url"] for row in found] == ["u1", "u2", "u1"]
    assert len({row["key"] for row in found}) == 3
    with pytest.raises(
        DataError, match=r"has no column 'TEXTS' \(did you mean 'TEXT'\?\); it has URL, TEXT, WIDTH"
    ):
        rows(path, column="TEXTS")
    with pytest.raises(DataError, match=r"has no column 'address'; it has URL"):
        rows(path, url_column="address")


def test_an_address_that_no_line_has_is_named(tmp_path: Path):
    """Where only some lines have one, the others go without."""
    path = tmp_path / "captions.jsonl"
    path.write_text('{"caption": "a cat"}\n{"caption": "a dog", "link": "http://d"}\n')
    found = list(reader(str(path), url_column="link"))
    assert [one.url for one in found] == [None, "http://d"]
    with pytest.raises(
        DataError, match=r"has no column 'lnk' \(did you mean 'link'\?\); it has caption, link"
    ):
        caption_source([str(path)], url_column="lnk", limit=1).rows(0, 1)


def test_damaged_parquet_and_other_encodings_are_named(tmp_path: Path):
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match=r"broken\.parquet cannot be read as parquet"):
        rows(tmp_path / "broken.parquet")
    (tmp_path / "latin.txt").write_bytes(b"fine\ncaf\xe9\n")
    with pytest.raises(DataError, match=r"latin\.txt is not UTF-8"):
        rows(tmp_path / "latin.txt")


def test_hugging_face_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    data = datasets.Dataset.from_dict(
        {"original_prompt": ["a cat on a beach", "a dog in a city"], "n": [1, 2]}
    )
    data.save_to_disk(tmp_path / "saved")
    datasets.DatasetDict({"dev": data}).save_to_disk(tmp_path / "splits")
    (tmp_path / "folder").mkdir()
    data.to_parquet(tmp_path / "folder" / "train-00000.parquet")
    data.to_csv(tmp_path / "table.csv")
    for name, split in (("saved", "train"), ("splits", "dev"), ("folder", "train"), ("table.csv", "train")):
        found = rows(tmp_path / name, split=split)
        assert [row["text"] for row in found] == ["a cat on a beach", "a dog in a city"], name
        assert found[1]["source"] == f"{name}:2"
    with pytest.raises(DataError, match=r"has no column 'nn' \(did you mean 'n'"):
        rows(tmp_path / "saved", column="nn")
    with pytest.raises(DataError, match=r"splits cannot be read as a data set with a split 'test'"):
        rows(tmp_path / "splits", split="test")


def test_storybook_captions_are_functions_of_their_number():
    few, many = rows("storybook:20"), rows("storybook:60")
    assert many[:20] == few
    assert len({row["text"] for row in many if row["kept"]}) > 40
    for row in many:
        parse(row["text"])
    with pytest.raises(InvalidInput, match="storybook:1000"):
        rows("storybook:many")


def test_what_cannot_be_read_is_named(tmp_path: Path):
    (tmp_path / "captions.txt").write_text("a cat\n")
    with pytest.raises(DataError, match=r"no captions at .*caption\.txt' \(did you mean 'captions\.txt'"):
        rows(tmp_path / "caption.txt")
    (tmp_path / "captions.docx").write_bytes(b"")
    with pytest.raises(DataError, match=r"captions\.docx is of no kind"):
        rows(tmp_path / "captions.docx")


def test_repetitions_are_those_of_kept_captions_only():
    found = judged(
        ("a nude on a beach", "u"),  # rejected, so its address is still free
        ("A cat on a beach.", "u"),
        ("a  CAT on a beach", "v"),
        ("a dog on a beach", "u"),
        ("a fox on a beach", "v"),
        ("a nude on a beach", None),
    )
    assert [row["reason"] for row in found] == [
        "blocked: the word 'nude'",
        None,
        "duplicate: the text of list:1",
        "duplicate: the address of list:1",
        None,
        "blocked: the word 'nude'",
    ]
    assert [row["kept"] for row in found].count(True) == 2
    assert len({row["key"] for row in found}) == 6


@pytest.mark.parametrize(
    ("text", "objection"),
    [
        ("a cat on a beach", None),
        ("cat", "length: 1 words, fewer than 2"),
        ("very " * 61, "length: 61 words, more than 60"),
        ("x" * 395 + " cat cat", "length: 403 characters, more than 400"),
        ("красивый кот на пляже", "language: 0% of its letters are Latin, fewer than 90%"),
        ("ein Hund auf einer Wiese mit dem Ball", "language: reads as de"),
        ("un chat dans la neige", "language: reads as fr"),
        ("Café de Flore, Paris", None),
        ("12 34", "language: no letters"),
        ("a sexy cat", "blocked: the word 'sexy'"),
        ("a cat from Essex", None),
    ],
)
def test_filters_say_why(text: str, objection: str | None):
    assert first_objection((Length(), Language(), BlockedWords()), text) == objection


def test_filters_take_settings(tmp_path: Path):
    (tmp_path / "words.txt").write_text("Cat\ndog\n")
    assert BlockedWords.read(tmp_path / "words.txt")("the cats and a CAT") == "the word 'cat'"


@pytest.mark.parametrize(
    ("text", "objection"),
    [
        ("a T-Shirt on a line", "the word 't-shirt'"),
        ("a shirt, a t", None),
        ("a hot   dog stand", "the words 'hot dog'"),
        ("a dog that is hot", None),
        ("a hot doghouse", None),
        ("a dog's bone", None),
        ("rock'n'roll", "the word \"rock'n'roll\""),
        ("rock", None),
        ("STRASSE, at night", "the word 'strasse'"),
        ("# this is what it is", None),
        ("a c++ compiler", "the word 'c++'"),
    ],
)
def test_a_file_of_blocked_words_has_a_phrase_a_line(text: str, objection: str | None, tmp_path: Path):
    lines = ["# this is", "t-shirt", "", "  Hot dog ", "bone dog", "rock'n'roll", "Straße", "c++"]
    (tmp_path / "words.txt").write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    blocked = BlockedWords.read(tmp_path / "words.txt")
    assert blocked.words == ("t-shirt", "Hot dog", "bone dog", "rock'n'roll", "Straße", "c++")
    assert blocked(text) == objection
    assert BlockedWords(())(text) is None
    assert Matching(r"https?://\S+")("see http://x.org now") == "'http://x.org'"
    assert Language("de")("ein Hund auf einer Wiese") is None
    with pytest.raises(InvalidInput, match="not a regular expression"):
        Matching("(")
    with pytest.raises(InvalidInput, match="languages that can be told apart"):
        Language("xx")


def test_tidy_composes_and_removes_control_characters():
    assert tidy("e\u0301te\u0301\x00 \x85now") == "été now"


def test_source_is_light_to_send_and_reads_again(tmp_path: Path):
    path = tmp_path / "some.txt"
    path.write_text("a cat on a beach\na dog in a city\n")
    source = caption_source([str(path)])
    before = source.fingerprint()
    sent = pickle.loads(pickle.dumps(source))
    assert sent._read is None
    assert sent.rows(0, 2) == source.rows(0, 2)
    path.write_text("a cat on a beach\na fox in a city\n")
    changed = caption_source([str(path)])
    assert changed.fingerprint() != before == source.fingerprint()
    assert caption_source([str(path)], filters=()).fingerprint() != changed.fingerprint()


def test_limit_reads_no_further(tmp_path: Path):
    path = tmp_path / "some.jsonl"
    path.write_text('{"caption": "a cat on a beach"}\n{"caption": "a dog in a city"}\nbroken\n')
    assert len(rows(path, limit=2)) == 2


def test_stage_writes_every_row(tmp_path: Path):
    from wordbrush.dataset.engines.local import LocalEngine
    from wordbrush.dataset.stage import run_stage

    source = caption_source(["storybook:50", "storybook:30"])
    report = run_stage(CaptionStage(rows_per_unit=25), source, tmp_path, engine=LocalEngine())
    assert (report.rows_out, report.units) == (80, 4)
    assert report.reasons == {"duplicate": 80 - report.kept}
    assert report.kept <= 50
    again = run_stage(CaptionStage(rows_per_unit=25), source, tmp_path, engine=LocalEngine())
    assert (again.made, again.reused) == (0, 4)
