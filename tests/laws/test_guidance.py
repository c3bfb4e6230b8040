"""Guidance of two scales: the formula, its limits, and steps that ask fewer branches."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import wordbrush as wb
from wordbrush.edits.window import Clock
from wordbrush.guidance import ClassifierFree, Intermittent, Renormalised

scales = st.floats(-3, 12)


def predictions(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    both, image, none = torch.randn(3, 2, 4, 3, 3, generator=generator, dtype=torch.float64)
    return both, image, none


@given(scales, scales)
def test_equation_3(text: float, image: float):
    both, alone, none = predictions()
    expected = none + image * (alone - none) + text * (both - alone)
    assert torch.equal(wb.TextImage(text, image).combine((both, alone, none)), expected)


@given(scales, scales)
def test_what_all_branches_say_is_said(text: float, image: float):
    """The coefficients sum to 1, so guidance of noise is guidance of the clean picture."""
    (same, _, _) = predictions()
    torch.testing.assert_close(wb.TextImage(text, image).combine((same, same, same)), same)


def test_scales_of_one_leave_the_prediction_under_both():
    both, alone, none = predictions()
    torch.testing.assert_close(wb.TextImage(1, 1).combine((both, alone, none)), both)
    torch.testing.assert_close(wb.TextImage(0, 1).combine((both, alone, none)), alone)
    assert torch.equal(wb.TextImage(0, 0).combine((both, alone, none)), none)


@pytest.mark.parametrize(("text", "image"), [(7.5, 0.9), (1.0, 1.5), (0.5, 0.5)])
def test_it_never_switches_itself_off(text: float, image: float):
    both, alone, none = predictions()
    guided = wb.TextImage(text, image).combine((both, alone, none))
    assert (guided - both).abs().max() > 0.1


def test_branches_are_named():
    assert wb.TextImage(7.5, 1.5).branches == ("image+text", "image", "none")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: wb.TextImage(math.nan, 1.5), "text guidance scale must be a finite number such as 7.5"),
        (lambda: wb.TextImage(7.5, True), "image guidance scale .* such as 1.5, not True"),
        (lambda: wb.TextImage("7.5", 1.5), "not '7.5'"),
        (lambda: wb.GuidedSteps(during=0.0), "none at all"),
        (lambda: wb.GuidedSteps(during=1.5), "window of steps"),
        (lambda: wb.GuidedSteps(every=0), "every must be a whole number"),
    ],
)
def test_bad_numbers(make: Any, message: str):
    with pytest.raises(wb.InvalidInput, match=message):
        make()


def test_steps_that_ask_all_branches():
    clock = Clock(10, 10)
    assert list(wb.GuidedSteps().steps(clock)) == list(range(10))
    assert list(wb.GuidedSteps(0.5).steps(clock)) == [0, 1, 2, 3, 4]
    assert list(wb.GuidedSteps((0.2, 0.9), every=3).steps(clock)) == [2, 5, 8]


def test_steps_between_reuse_what_was_added_or_nothing():
    both, alone, none = predictions()
    later, _, _ = predictions(1)
    whole = wb.TextImage(7.5, 1.5)
    for reuse in (True, False):
        run = Intermittent(whole, [1], reuse)
        first, guided, between = run(0), run(1), run(2)
        assert first.branches == between.branches == ("image+text",)
        assert guided.branches == whole.branches
        assert torch.equal(first.combine((both,)), both), "nothing is known yet"
        combined = guided.combine((both, alone, none))
        assert torch.equal(combined, whole.combine((both, alone, none)))
        expected = later + combined - both if reuse else later
        torch.testing.assert_close(between.combine((later,)), expected)


@pytest.mark.parametrize("per", ["patch", "row"])
def test_renormalised_guidance_keeps_every_length(per: Any):
    uncond, cond = torch.randn(2, 3, 4, 6, 8, generator=torch.Generator().manual_seed(0)).double()
    made, plain = (kind.combine((uncond, cond)) for kind in (Renormalised(4.0, per), ClassifierFree(4.0)))
    parts = [made, cond, plain]
    if per == "patch":  # 4 channels of 2 × 2 latent pixels
        parts = [torch.nn.functional.pixel_unshuffle(part, 2).movedim(1, -1) for part in parts]
    lengths = [part.norm(dim=-1) for part in parts]
    torch.testing.assert_close(lengths[0], lengths[1])
    assert (lengths[2] - lengths[1]).abs().mean() > 0.1
    torch.testing.assert_close(parts[0] / lengths[0][..., None], parts[2] / lengths[2][..., None])
    with pytest.raises(wb.InvalidInput, match="must be a finite number such as 4"):
        Renormalised(float("inf"), per)
