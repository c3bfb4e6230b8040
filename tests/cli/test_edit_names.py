"""The names of what ``wordbrush edit`` writes tell one edit, and one strength, from another."""

from __future__ import annotations

import pipelines
import wordbrush as wb
from wordbrush.cli.edit import folder_name, strengths_in_name
from wordbrush.edits.prompt import Prompt, read_prompt


def prompt(text: str) -> Prompt:
    return read_prompt(text, pipelines.clip_tokenizer(), length=500)


def test_another_edit_of_a_source_goes_elsewhere():
    edits = [(["a dog"], 0.8), (["a dog"], 0.4), (["a cow"], 0.8), (["a dog", "a cow"], 0.8)]
    names = [folder_name("A cat!", 3, edit) for edit in edits]
    assert len(set(names)) == 4
    assert all(name.startswith("a-cat-seed3-") for name in names)
    assert folder_name("A cat!", 3, edits[0]) == names[0]
    assert folder_name("A cat?", 3, edits[0]) != names[0]


def test_strengths_are_told_apart():
    target = prompt("a cat in the snow on snow")
    assert strengths_in_name(target, [wb.Replace()]) == ""
    for strength, shown in [(-1, "-1"), (0, "0"), (0.5, "0.5"), (2, "2")]:
        assert strengths_in_name(prompt("snow"), [wb.Reweight({"snow": strength})]) == f"-snow-{shown}"
    edits = [wb.Replace(), wb.Reweight({("snow", 1): 2, "cat": 3})]
    assert strengths_in_name(target, edits) == "-snow-1-2-cat-3"
    edits = [wb.Reweight({wb.Word("snow", "all"): 2, 1: 3, 4: 0.5, "dog": 7})]
    assert strengths_in_name(target, edits) == "-snow-all-2-cat-3-snow-0-0.5"


def test_many_strengths_keep_a_name_that_can_be_written():
    words = [f"word{number}" for number in range(50)]
    strengths = {word: number for number, word in enumerate(words)}
    name = strengths_in_name(prompt(" ".join(words)), [wb.Reweight(strengths)])
    assert name.startswith("-word0-0-word1-1")
    assert len(name.encode()) <= 100
