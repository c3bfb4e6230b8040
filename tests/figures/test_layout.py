"""Laws of the page: text fits where it is put, nothing is lost, PNG and PDF agree."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from wordbrush.figures import layout
from wordbrush.figures.caption import Run, changed, prompt
from wordbrush.figures.grid import Cell, row
from wordbrush.figures.heat import evenly, heat
from wordbrush.figures.layout import Page, balanced, text_width, wrap

WORDS = st.lists(st.text("abcWi“”…", min_size=1, max_size=12), min_size=1, max_size=12)
STYLES = st.sampled_from(["roman", "italic", "bold", "bold italic"])


def read(lines: list[list[Run]]) -> str:
    return " ".join("".join(run.text for run in line) for line in lines)


@given(WORDS, st.lists(STYLES, min_size=1, max_size=4), st.floats(0.2, 3))
def test_wrapping_keeps_every_word_and_the_width(words: list[str], styles: list[str], width: float):
    text = [Run(word + " ", styles[number % len(styles)]) for number, word in enumerate(words)]
    for lines in (wrap(text, 8, width), balanced(text, 8, width)):
        assert read(lines) == " ".join(words)
        for line in lines:
            alone = " " not in "".join(run.text for run in line)
            assert alone or text_width(line, 8) <= width + 1e-9
    assert len(balanced(text, 8, width)) == len(wrap(text, 8, width))


def test_runs_that_touch_are_one_word():
    assert len(wrap([Run("“", "italic"), Run("dog", "bold"), Run("”")], 8, 0.01)) == 1


def test_captions_say_what_changed():
    def marked(runs: list[Run]) -> list[str]:
        return [run.text for run in runs if run.style.startswith("bold")]

    source = "a cat on a beach"
    assert marked(changed(source, "a dog on a beach")) == ["dog"]
    assert marked(changed(source, "a cat on a beach at sunset")) == ["at sunset"]
    assert marked(changed(source, source)) == []
    shortened = changed(source, "a cat on a beach at sunset", shorten=True)
    assert "".join(run.text for run in shortened) == "“… at sunset”"
    struck = changed(source, "a dog on a beach", strike=True)
    assert [run.text for run in struck if run.struck] == ["cat"]
    assert marked(prompt("in the snow", {"snow": "↑"})) == ["snow", "↑"]


def test_a_page_has_the_same_size_in_both_formats(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(layout, "DPI", 72)
    page = Page()
    row(page, [Cell(Image.new("RGB", (8, 4), "red"), "a caption")] * 3, 0, 0)
    files = page.render({})
    width, height = (round(side) for side in np.multiply(page.size, 72))
    with page.image() as image:
        assert image.size == (width, height)
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", files["pdf"])
    assert box
    assert np.allclose([float(box[1]), float(box[2])], [width, height], atol=1)
    assert files == page.render({})


def test_pictures_stand_where_they_are_put(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(layout, "DPI", 100)
    page = Page()
    row(page, [Cell(Image.new("RGB", (5, 5), colour)) for colour in ("red", "blue")], 0, 0, cell=1.0, gap=0.5)
    pixels = np.asarray(page.image())
    margin = round(layout.MARGIN * 100)
    assert page.size == pytest.approx((2.5 + 2 * layout.MARGIN, 1.0 + 2 * layout.MARGIN))
    assert pixels[margin + 50, margin + 50].tolist() == [255, 0, 0]
    assert pixels[margin + 50, margin + 125].tolist() == [255, 255, 255]
    assert pixels[margin + 50, margin + 200].tolist() == [0, 0, 255]


def test_heat_keeps_place_and_order():
    weights = np.zeros((4, 8))
    weights[1, 6] = 3.0
    shown = np.asarray(heat(weights, 80), dtype=float).sum(axis=2)
    assert shown.shape == (40, 80)
    y, x = np.unravel_index(shown.argmax(), shown.shape)
    assert (y // 10, x // 10) == (1, 6)
    assert heat(np.zeros((4, 4))).getextrema()[0][1] < 10
    assert np.asarray(heat(weights, 80, top=6.0), dtype=float).sum(axis=2).max() < shown.max()


@given(st.integers(1, 60), st.integers(1, 12))
def test_moments_are_spread_from_first_to_last(count: int, moments: int):
    steps = evenly(count, moments)
    assert len(steps) == len(set(steps)) == min(count, moments)
    assert steps[0] == 0
    assert steps[-1] == count - 1 or moments == 1
