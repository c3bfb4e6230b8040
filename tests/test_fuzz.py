"""The fuzzer: a few cases of each kind, and that it would notice."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import outside
import wordbrush as wb
from wordbrush.models import EMBEDDED

FUZZ = outside.module("scripts/fuzz.py")
CASES = 4


@pytest.mark.skipif(not EMBEDDED["storybook"].exists(), reason="the weights are not part of this checkout")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FUZZ.TARGETS)
def test_a_result_or_a_sentence(name: str):
    assert [FUZZ.attempt(FUZZ.TARGETS[name], seed) for seed in range(CASES)] == [None] * CASES


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyError("x"), "KeyError at scripts/fuzz.py"),
        (wb.InvalidInput("two\nlines"), "InvalidInput that is not one line"),
        (wb.InvalidInput(""), "InvalidInput that is not one line"),
        (wb.InvalidInput("a sentence"), None),
    ],
)
def test_anything_else_is_told(error: Exception, told: str | None):
    folders: list[Path] = []

    def target(rng: random.Random, folder: Path) -> Any:
        folders.append(folder)
        assert folder.is_dir()
        raise error

    failed = FUZZ.attempt(target, 1)
    assert (failed and failed[0]) == told
    assert not folders[0].exists()
