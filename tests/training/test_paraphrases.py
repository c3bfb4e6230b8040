"""An instruction in other words: which one is read is drawn anew at every visit, and the same after a stop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import training_data
from wordbrush.errors import DataError, PromptTooLong
from wordbrush.training.batches import Batches, open_batches
from wordbrush.training.loop import train
from wordbrush.training.paraphrases import read
from wordbrush.training.widen import load_base


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training_data.write_data(tmp_path_factory.mktemp("paraphrases") / "data")


def written(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def opened(model: Path, data: Path, out: Path, /, **changes: Any) -> Batches:
    return open_batches(training_data.config(model, data, **changes), load_base(model), out)


def first(tiny_folder: Path, data: Path, out: Path) -> dict[str, str]:
    """The prompt and the instruction of the first pair."""
    columns = opened(tiny_folder, data, out).pictures.columns
    return {"prompt": columns["prompt"][0], "instruction": columns["instruction"][0]}


def texts_of_the_first(batches: Batches, steps: int = 40) -> list[str]:
    """What is read at each visit of the first pair."""
    found = []
    for step in range(steps):
        rows, draws = batches.drawn(step, range(4))
        found += [text for row, text in zip(rows, batches._said(rows, draws), strict=True) if row == 0]
    return found


@pytest.mark.parametrize("cached", [True, False])
def test_every_wording_is_read(tiny_folder: Path, data: Path, tmp_path: Path, cached: bool):
    own = first(tiny_folder, data, tmp_path / "plain")
    file = written(tmp_path / "more.jsonl", {**own, "paraphrases": ["let it be number 0", "zero, please"]})
    changes = {"data": {"paraphrases": file}, "cache": {"text": cached}}
    batches = opened(tiny_folder, data, tmp_path / "out", **changes)
    texts = texts_of_the_first(batches)
    assert set(texts) == {own["instruction"], "let it be number 0", "zero, please"}
    assert texts == texts_of_the_first(opened(tiny_folder, data, tmp_path / "again", **changes))
    step = next(step for step in range(40) if 0 in batches.drawn(step, range(4))[0])
    rows, draws = batches.drawn(step, range(4))
    read_there = batches.read(step, range(4)).text
    assert (read_there is None) is not cached
    if read_there is not None:
        torch.testing.assert_close(read_there, batches._texts(batches._said(rows, draws)))


def test_they_decide_what_can_be_continued(tiny_folder: Path, data: Path, tmp_path: Path):
    own = first(tiny_folder, data, tmp_path / "plain")
    file = written(tmp_path / "more.jsonl", {**own, "paraphrases": ["let it be number 0"]})

    def trained(steps: int, **changes: Any) -> None:
        train(training_data.config(tiny_folder, data, steps=steps, **changes), tmp_path / "out", device="cpu")

    several = {"data": {"paraphrases": file}, "cache": {"text": False}}
    trained(2, **several)
    trained(4, **several)
    with pytest.raises(DataError, match=r"holds a training with paraphrases = '.*', not None"):
        trained(6, cache={"text": False})
    written(Path(file), {**own, "paraphrases": ["let it be number 1"]})
    with pytest.raises(DataError, match="holds a training with paraphrases = "):
        trained(6, **several)


def test_files_that_are_none(tiny_folder: Path, data: Path, tmp_path: Path):
    own = first(tiny_folder, data, tmp_path / "plain")
    for row in ({}, {**own, "paraphrases": "one"}, {**own, "paraphrases": [""]}, {**own, "prompt": 3}):
        file = written(tmp_path / "bad.jsonl", row)
        with pytest.raises(
            DataError, match=r"bad\.jsonl, line 1: expected 'prompt' and 'instruction', both text"
        ):
            read([file])
    other = written(tmp_path / "other.jsonl", {**own, "prompt": "another", "paraphrases": ["one"]})
    with pytest.raises(DataError, match="has 1 instruction, but none of these pairs"):
        opened(tiny_folder, data, tmp_path / "other", data={"paraphrases": other})
    with pytest.raises(DataError, match=r"no\.jsonl"):
        opened(tiny_folder, data, tmp_path / "none", data={"paraphrases": str(tmp_path / "no.jsonl")})
    long = written(tmp_path / "long.jsonl", {**own, "paraphrases": ["make it night " * 20]})
    with pytest.raises(PromptTooLong, match="has 222 tokens"):
        opened(tiny_folder, data, tmp_path / "long", data={"paraphrases": long})
