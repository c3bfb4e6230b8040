"""The report: numbers that add up, a page that needs nothing else, and texts that cannot break it."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edit_data import pair, write_pairs
from wordbrush.dataset.report import write_report
from wordbrush.dataset.rules import Keep
from wordbrush.dataset.select import select
from wordbrush.dataset.statistics import BINS, examples, histograms
from wordbrush.errors import DataError


class Page(HTMLParser):
    """The tags of a page, and whether every one is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.links += [value for name, value in attrs if name in {"src", "href"} and value]
        if tag == "img":
            self.images.append(known["src"] or "")
        if tag not in {"img", "meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Pairs of which some are selected, some fail, one was given up, and one has a text that looks like HTML."""
    pairs = [
        *(pair(1, number, clip_direction=0.2 + number / 50) for number in range(6)),
        *(pair(number, 0, clip_image=0.5 + number / 20) for number in range(2, 9)),
        pair(9, 0, instruction="</div><script>alert(1)</script> & more", ssim=None),
        pair(10, 0, kept=False, reason="abandoned: <early>", before_image=None, after_image=None),
    ]
    return write_pairs(tmp_path / "run", pairs)


def test_the_page_stands_alone(run: Path, tmp_path: Path):
    report = write_report(run, selection=select(run), out=tmp_path / "report")
    page = Page(report.html.read_text(encoding="utf-8"))
    assert page.open == []
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    pictures = [Image.open(io.BytesIO(base64.b64decode(src.partition(",")[2]))) for src in page.images]
    assert pictures[0].tobytes() == Image.open(report.png).tobytes()
    assert pictures[1].size == (24, 16)
    assert "<script>alert(1)</script> & more" in page.text
    assert "abandoned: <early>" in page.text
    assert "given up before it was decoded" in page.text
    assert "http" not in report.html.read_text(encoding="utf-8")


def test_the_page_shows_the_numbers(run: Path, tmp_path: Path):
    selection = select(run)
    text = Page(write_report(run, selection=selection, out=tmp_path / "report").html.read_text()).text
    assert (selection.pairs, selection.selected) == (15, 10)
    for number in ("15pairs", "10selected", "67 %of the pairs", "7triplets with a selected pair"):
        assert number in text
    assert re.search(r"clip_image ≥ 0\.7\s*12\s*2\s*13 %\s*2", text)


def test_a_report_is_the_same_every_time_and_replaces_the_one_before(run: Path, tmp_path: Path):
    selection = select(run)
    first = write_report(run, selection=selection, out=tmp_path / "report")
    before = first.html.read_bytes(), first.png.read_bytes()
    write_report(run, selection=select(run, "paper"), out=tmp_path / "report")
    assert (first.html.read_bytes(), first.png.read_bytes()) != before
    write_report(run, selection=selection, out=tmp_path / "report")
    assert (first.html.read_bytes(), first.png.read_bytes()) == before


def test_nothing_selected_and_nothing_scored(tmp_path: Path):
    bare = dict.fromkeys(("clip_image", "clip_before", "clip_after", "clip_direction", "l1", "ssim"))
    folder = write_pairs(tmp_path / "run", [pair(1, **bare), pair(2, **bare)])
    report = write_report(folder, selection=select(folder), out=tmp_path / "report")
    text = Page(report.html.read_text()).text
    assert "Nothing was selected." in text
    assert "clip_image: missing" in text


def test_histograms_count_every_pair_once(run: Path):
    selection = select(run)
    found = {one.score: one for one in histograms(run, selection)}
    assert list(found) == ["clip_image", "clip_before", "clip_after", "clip_direction", "l1", "ssim"]
    for one in found.values():
        assert len(one.edges) == BINS + 1
        assert one.selected.sum() == selection.selected - (one.score == "ssim")
        assert one.selected.sum() + one.rejected.sum() + one.missing == selection.pairs
    image = found["clip_image"]
    assert image.bounds == (0.7,)
    border = int(np.argmin(abs(image.edges - 0.7)))
    assert image.edges[border] == pytest.approx(0.7)  # no bin has pairs from both sides of the threshold
    assert image.rejected[:border].sum() == 2
    assert image.selected[:border].sum() == 0


def test_both_bounds_and_equal_scores_are_drawn(run: Path, tmp_path: Path):
    selection = select(run, "mine", rules=[Keep("clip_before", at_least=0.1, at_most=0.5)])
    found = {one.score: one for one in histograms(run, selection)}
    assert found["clip_before"].bounds == (0.1, 0.5)
    assert found["clip_before"].edges[0] <= 0.1 < 0.5 <= found["clip_before"].edges[-1]
    assert found["l1"].edges[0] < 0.1 < found["l1"].edges[-1]  # all pairs have 0.1
    assert write_report(run, selection=selection, out=tmp_path / "report").png.stat().st_size > 10_000


def test_examples_are_of_every_gate_and_of_different_triplets(run: Path):
    selection = select(run)
    found = examples(run, selection, kept=3, per_gate=1)
    assert [(one.reason or "selected").partition(":")[0] for one in found] == [
        "selected", "selected", "selected", "abandoned", "clip_image", "best",
    ]  # fmt: skip
    assert len({one.before for one in found[:3]}) == 3
    assert found[0].pictures is not None
    assert found[3].pictures is None


def test_an_example_that_does_not_decode_is_named(tmp_path: Path):
    folder = write_pairs(tmp_path / "run", [pair(1, after_image=b"broken")])
    with pytest.raises(
        DataError, match=rf"00000\.parquet, pair '{pair(1).key}': the picture does not decode"
    ):
        write_report(folder, selection=select(folder), out=tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_matplotlib_comes_late():
    code = "import sys, wordbrush.dataset.report; print('matplotlib' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
