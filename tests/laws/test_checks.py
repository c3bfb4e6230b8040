"""Numbers that callers give: what counts as one, and what is refused."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import wordbrush as wb
from wordbrush.checks import check_count, check_seed, is_number, is_whole


@pytest.mark.parametrize(
    ("value", "whole", "number"),
    [
        (0, True, True),
        (np.int64(-7), True, True),
        (10**400, True, False),
        (0.5, False, True),
        (-1e308, False, True),
        (np.float32(2), False, True),
        (Fraction(1, 3), False, True),
        (True, False, False),
        (np.True_, False, False),
        (float("nan"), False, False),
        (-float("inf"), False, False),
        (1j, False, False),
        ("1", False, False),
        (None, False, False),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_a_number_is(value: object, whole: bool, number: bool):
    assert is_whole(value) is whole
    assert is_number(value) is number


def test_counts_and_seeds():
    assert check_count("steps", np.int64(3), 3, "all") == 3
    assert type(check_seed(np.uint8(5))) is int
    with pytest.raises(wb.InvalidInput, match="steps must be a whole number of at least 1, not 0"):
        check_count("steps", 0)
    with pytest.raises(wb.InvalidInput, match="steps must be a whole number from 1 to 3, all, not 4"):
        check_count("steps", 4, 3, "all")
    for seed in (-1, 2**63, 1.0, True, None):
        with pytest.raises(wb.InvalidInput, match="a seed is a whole number"):
            check_seed(seed)


@pytest.mark.parametrize(
    "make",
    [
        lambda: wb.ClassifierFree(10**400),
        lambda: wb.Reweight({"cat": 10**400}),
        lambda: wb.Exact(momentum=float("nan")),
        lambda: wb.NullText(epsilon=float("inf")),
        lambda: wb.SelfAttention(float("nan")),
    ],
)
def test_numbers_that_no_float_holds_are_refused(make: Any):
    with pytest.raises(wb.InvalidInput):
        make()
