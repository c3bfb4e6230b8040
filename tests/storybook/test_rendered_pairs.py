"""Rendered pairs: the truth, nothing that editors are measured with, and what a training reads."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import training_data
from storybook.test_unseen import EDITS, skeleton
from wordbrush.cli.app import app
from wordbrush.errors import DataError, InvalidInput
from wordbrush.storybook import font
from wordbrush.storybook.instructions import changed, objection
from wordbrush.storybook.recipe.rendered_pairs import RENDERED, rendered_triplet, write_rendered_pairs
from wordbrush.storybook.recipe.renders import is_held_out
from wordbrush.storybook.scene import KINDS, parse
from wordbrush.storybook.world import render
from wordbrush.training.config import Data
from wordbrush.training.data import pairs
from wordbrush.training.loop import train

TRIPLETS = [rendered_triplet(index) for index in range(100 * len(KINDS))]
COUNT = 8

needs_font = pytest.mark.skipif(not font.FONT_PATH.exists(), reason="renders need Noto Color Emoji")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rendered") / "run"
    assert write_rendered_pairs(out, COUNT).selected == COUNT
    return out


def test_every_triplet_is_true_and_the_kinds_come_in_turn():
    attributes = [kind.split()[0] for kind in KINDS]
    for number, one in enumerate(TRIPLETS):
        assert objection(one.before, one.instruction, one.after) is None, one.instruction
        assert changed(parse(one.before), parse(one.after)) == (attributes[number % len(KINDS)],)
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|None", one.instruction), one.instruction
    assert len({one.key for one in TRIPLETS}) == len(TRIPLETS)
    assert rendered_triplet(5) == TRIPLETS[5] != rendered_triplet(5, seed=1)


def test_nothing_that_editors_are_measured_with_is_among_them():
    assert any(is_held_out(edit.after) for edit in EDITS)
    assert not any(is_held_out(parse(text)) for one in TRIPLETS for text in (one.before, one.after))
    said = {skeleton(one.instruction) for one in TRIPLETS}
    assert len(said) > 200
    assert said & {skeleton(edit.instruction) for edit in EDITS} == set()


@needs_font
def test_a_training_reads_the_truth(made: Path):
    found = list(pairs(Data(source=[str(made)])))
    assert len(found) == COUNT
    for pair in found:
        assert pair.settings["control"] == RENDERED
        assert pair.before is not None
        assert pair.after is not None
        for text, picture in ((pair.before, pair.before_picture), (pair.after, pair.after_picture)):
            assert np.array_equal(np.asarray(picture.image), render(parse(text), pair.settings["seed"]))
    kinds = Counter(changed(parse(pair.before or ""), parse(pair.after or "")) for pair in found)
    assert set(kinds) == {(kind.split()[0],) for kind in KINDS}


@needs_font
def test_a_stopped_run_goes_on_with_the_same_bytes(made: Path, tmp_path: Path):
    out = tmp_path / "run"

    class Stop(Exception):
        pass

    def stop(report):
        if report.stage == "pairs":
            raise Stop

    with pytest.raises(Stop):
        write_rendered_pairs(out, COUNT, progress=stop)
    assert not (out / "selection.json").exists()
    write_rendered_pairs(out, COUNT)
    for name in ("triplets/00000.parquet", "pairs/00000.parquet", "selection.parquet"):
        assert (out / name).read_bytes() == (made / name).read_bytes()


@needs_font
def test_another_count_or_seed_is_another_folder(made: Path):
    with pytest.raises(DataError, match=r"rows = 8, not 9: go on with the same, or choose another folder"):
        write_rendered_pairs(made, COUNT + 1)
    with pytest.raises(DataError, match="seed = 0, not 1"):
        write_rendered_pairs(made, COUNT, seed=1)
    with pytest.raises(InvalidInput, match="at least 1 pair, not 0"):
        write_rendered_pairs(made, 0)


@needs_font
def test_an_editor_is_trained_on_them_and_their_paraphrases(made: Path, tiny_folder: Path, tmp_path: Path):
    def told(*words: str) -> dict:
        done = CliRunner().invoke(app, ["storybook", *words, "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    assert told("pairs", "-n", str(COUNT), "-o", str(made))["selected"] == COUNT
    file = tmp_path / "more.jsonl"
    assert told("paraphrase", str(made), "-o", str(file), "-n", "5")["count"] == COUNT
    data = {
        "source": str(made),
        "format": "run",
        "paraphrases": str(file),
        "long_instructions": "truncate",
    }
    config = training_data.config(tiny_folder, made, data=data, steps=1)
    assert train(config, tmp_path / "out", device="cpu").finished
