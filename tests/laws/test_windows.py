"""Windows of steps: our rule, exactly, and the published roundings."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pipelines
import wordbrush as wb
from wordbrush import Replace, Reweight
from wordbrush.edits.prompt import read_prompt
from wordbrush.edits.window import Clock, Rounding, Schedule, Window, from_fraction_on
from wordbrush.errors import InvalidInput

HUNDREDTHS = st.integers(0, 100)


@given(first=HUNDREDTHS, length=HUNDREDTHS, n=st.integers(1, 120))
def test_step_i_of_n_is_inside_if_start_le_i_over_n_lt_stop(first: int, length: int, n: int):
    last = min(first + length, 100)
    window = Window.of((first / 100, last / 100))
    inside = [i for i in range(n) if Fraction(first, 100) <= Fraction(i, n) < Fraction(last, 100)]
    if inside or first == last:
        assert list(window.steps(Clock(n, n))) == inside
    else:
        with pytest.raises(InvalidInput, match=f"holds none of the {n} steps"):
            window.steps(Clock(n, n))


@given(start=HUNDREDTHS, length=HUNDREDTHS, n=st.integers(1, 120))
def test_from_a_fraction_on_there_is_always_a_step(start: int, length: int, n: int):
    on = [i for i in range(n) if Fraction(i, n) >= Fraction(start, 100)] or [n - 1]
    assert list(from_fraction_on(start / 100, Clock(n, n))) == on
    stop = min(start + length, 100)
    inside = [i for i in on if Fraction(i, n) < Fraction(stop, 100)]
    assert list(from_fraction_on(start / 100, Clock(n, n), stop / 100)) == (inside or on[:1])


def test_pairs_share_as_many_steps_as_published():
    def shared(part: float) -> int:
        return len(Window.of(part).steps(Clock(100, 100), Rounding.PUBLISHED_PAIRS))

    assert (shared(0.1), shared(0.9)) == (10, 90)
    assert [shared(p / 1000) for p in range(1, 1000)] == [
        sum(p / 1000 > i / 99 for i in range(100)) for p in range(1, 1000)
    ]


def test_a_sum_of_fractions_means_the_fraction():
    assert len(Window.of(0.1 + 0.2).steps(Clock(10, 10))) == 3
    assert len(Window.of(0.7 + 0.1).steps(Clock(10, 10))) == 8


@pytest.mark.parametrize(
    ("n", "fraction", "cross", "own"),
    [(6, 0.8, 5, 4), (50, 0.8, 40, 40), (50, 1.0, 51, 50), (50, 0.4, 20, 20), (5, 0.4, 2, 2), (6, 0.5, 3, 3)],
)
def test_published_roundings(n: int, fraction: float, cross: int, own: int):
    window, clock = Window.of(fraction), Clock(n, n + 1)
    assert len(window.steps(clock, Rounding.PUBLISHED_CROSS)) == cross
    assert len(window.steps(clock, Rounding.PUBLISHED_SELF)) == own


@given(n=st.integers(1, 60), fraction=HUNDREDTHS)
def test_evaluations_bound_the_published_steps(n: int, fraction: int):
    for rounding in Rounding:
        steps = Window.of(fraction / 100).steps(Clock(n, n), rounding)
        assert len(steps) <= n


def test_schedule_of_words():
    prompt = read_prompt("a cat on the beach", pipelines.clip_tokenizer(), length=24)
    clock = Clock(10, 10)
    gates = Schedule.of({"default_": 0.8, "cat": (0.2, 0.5), 4: 0.0}).gates(prompt, clock)
    assert gates.shape == (10, 24)
    assert gates[:, 2].tolist() == [0, 0, 1, 1, 1, 0, 0, 0, 0, 0]
    assert gates[:, 5].sum() == 0
    assert gates[:, 1].sum() == gates[:, 23].sum() == 8
    assert Schedule.of({"cat": 0.5}).gates(prompt, clock)[:, 1].sum() == 10


@pytest.mark.parametrize(
    "until", [1.2, -0.1, (0.8, 0.2), (0.1, 0.2, 0.3), "0.8", True, float("nan"), {"cat": 2}, None]
)
def test_windows_that_make_no_sense(until: Any):
    with pytest.raises(wb.InvalidInput, match="window of steps"):
        wb.Replace(until=until)


def test_an_edit_keeps_what_it_was_given():
    windows, strengths = {"dog": 0.4, "default_": 0.8}, {"dog": 2.0}
    replace, reweight = Replace(until=windows), Reweight(strengths, until=windows)
    windows["dog"], strengths["dog"] = 0.9, 50.0
    assert replace == Replace(until={"dog": 0.4, "default_": 0.8})
    assert reweight.strengths == {"dog": 2.0}
    assert str(replace.schedule) == str(reweight.schedule) == "0 to 0.8, dog: 0 to 0.4"


@pytest.mark.parametrize("pair", [(0.8, 0.2), (-0.1, 0.5), (0.0, 1.5), (0.0, "1")])
def test_a_window_cannot_be_made_backwards_or_outside(pair: tuple):
    with pytest.raises(InvalidInput, match="a window of steps"):
        Window(*pair)
