"""The names of what ``wordbrush edit`` writes tell one edit, and one strength, from another."""

from __future__ import annotations

import wordbrush as wb
from wordbrush.cli.edit import folder_name, strengths_in_name


def test_another_edit_of_a_source_goes_elsewhere():
    edits = [(["a dog"], 0.8), (["a dog"], 0.4), (["a cow"], 0.8), (["a dog", "a cow"], 0.8)]
    names = [folder_name("A cat!", 3, edit) for edit in edits]
    assert len(set(names)) == 4
    assert all(name.startswith("a-cat-seed3-") for name in names)
    assert folder_name("A cat!", 3, edits[0]) == names[0]
    assert folder_name("A cat?", 3, edits[0]) != names[0]


def test_strengths_are_told_apart():
    assert strengths_in_name([wb.Replace()]) == ""
    for strength, shown in [(-1, "-1"), (0, "0"), (0.5, "0.5"), (2, "2")]:
        assert strengths_in_name([wb.Reweight({"snow": strength})]) == f"-snow-{shown}"
    assert strengths_in_name([wb.Replace(), wb.Reweight({("snow", 1): 2, "cat": 3})]) == "-snow-1-2-cat-3"


def test_many_strengths_keep_a_name_that_can_be_written():
    name = strengths_in_name([wb.Reweight({f"word{number}": number for number in range(50)})])
    assert name.startswith("-word0-0-word1-1")
    assert len(name.encode()) <= 100
