"""Other wordings of storybook instructions: true, many, and none that an editor is measured with."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from storybook.test_unseen import EDITS, skeleton
from wordbrush.cli.app import app
from wordbrush.errors import DataError
from wordbrush.storybook.instructions import objection
from wordbrush.storybook.recipe.paraphrases import WORDINGS, paraphrase, paraphrased

SAID = [
    (before, text, after)
    for before, after in [
        *(edit.captions for edit in EDITS[:140]),
        ("a cat with a kite on a beach", "a cat with a balloon on a beach"),
        ("a car in a city", "an orange car in a city"),
        ("a red car in a city", "a car in a city"),
    ]
    for text in paraphrase(before, after, 99, np.random.default_rng(0))
]


def test_no_wording_is_one_that_editors_are_measured_with():
    unseen = {skeleton(edit.instruction) for edit in EDITS}
    assert unseen & {skeleton(text) for _, text, _ in SAID} == set()


def test_each_is_true_and_in_plain_english():
    for before, text, after in SAID:
        assert objection(before, text, after) is None, text
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|None", text), text


def test_there_are_many_and_all_are_said():
    assert len(SAID) > 5_000
    for wordings in WORDINGS.values():
        assert len(set(wordings)) == len(wordings)
    few = paraphrase(*EDITS[0].captions, 5, np.random.default_rng(0))
    assert len(set(few)) == 5
    assert set(few) < {text for before, text, _ in SAID if before == EDITS[0].captions[0]}


def test_what_is_no_single_edit_of_the_storybook_has_none():
    rng = np.random.default_rng(0)
    assert paraphrase("a cat on a beach", "a dog in a city", 5, rng) == []
    assert paraphrase("a cat on a beach", "a cat on a beach", 5, rng) == []
    assert paraphrase("two unicorns", "a cat on a beach", 5, rng) == []


def test_a_file_of_a_run(tmp_path: Path):
    run = write_triplets(tmp_path / "run", "a cat on a beach", "a dog on a beach")
    file = tmp_path / "more.jsonl"
    told = CliRunner().invoke(
        app, ["storybook", "paraphrase", str(run), "-o", str(file), "-n", "7", "--json"]
    )
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["count"] == 1
    (row,) = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    assert (row["prompt"], row["instruction"], len(row["paraphrases"])) == ("k", "make it a dog", 7)
    with pytest.raises(DataError, match=r"none of the 1 triplets .* is of the storybook"):
        paraphrased(write_triplets(tmp_path / "other", "two unicorns", "a dog on a beach"), 3)


def write_triplets(folder: Path, before: str, after: str) -> Path:
    """A folder of a run that has one kept triplet, and one that was rejected."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    (folder / "triplets").mkdir(parents=True)
    row = {"key": "k", "before": before, "instruction": "make it a dog", "after": after, "kept": True}
    pq.write_table(
        pa.Table.from_pylist([row, {**row, "key": "l", "kept": False}]), folder / "triplets" / "00000.parquet"
    )
    return folder
