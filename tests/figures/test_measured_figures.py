"""The figures that compare methods: curves where the numbers say, from an evaluation on disk or measured now."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import storybook_like
import wordbrush as wb
from drawn_pages import assert_written, figures
from wordbrush.cli.app import app
from wordbrush.evaluation.rows import ROWS, Row
from wordbrush.figures import FIGURES, GROUPS, layout, load, plot
from wordbrush.figures.brush import Brush
from wordbrush.figures.layout import Page
from wordbrush.figures.plot import Dot, Line
from wordbrush.files import read_settings
from wordbrush.storybook import font
from wordbrush.storybook.scene import parse

MEASURED = [name for name, entry in FIGURES.items() if entry.measured]
assert MEASURED == ["ip2p-8", "ip2p-10"]

needs_font = pytest.mark.skipif(not font.FONT_PATH.exists(), reason="renders need Noto Color Emoji")


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "DPI", 100)


@pytest.fixture(scope="module")
def editor_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return storybook_like.save_editor(tmp_path_factory.mktemp("models") / "editor")


@pytest.fixture(scope="module")
def editor(editor_folder: Path) -> wb.Editor:
    return wb.load_editor(editor_folder, device="cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> wb.Model:
    return wb.load(storybook_like.save_model(tmp_path_factory.mktemp("models") / "model"), device="cpu")


def rows(method: str, along: str, model: str, start: float) -> Iterator[Row]:
    for at in (1.0, 1.5, 2.0):
        for key in range(4):
            scores = {"clip_direction": start - at / 10 + key / 100, "clip_image": 0.5 + at / 10 + key / 100}
            yield Row(method, along, {"model": model, along: at}, str(key), "place", 0, scores)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """An evaluation of two editors, of SDEdit and of a control."""
    found = [
        *rows("instruct", "image_guidance", "one", 0.5),
        *rows("instruct", "image_guidance", "two", 0.4),
        *rows("sdedit", "strength", "drawer", 0.3),
        Row("identity", "", {}, "0", "place", 0, {"clip_image": 1.0}),
    ]
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / ROWS).write_text("".join(json.dumps(asdict(row)) + "\n" for row in found))
    return folder


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Line]:
    """The lines that are plotted."""
    seen: list[Line] = []

    def noted(page: Page, lines: list[Line], y: float, **rest: Any) -> float:
        seen.extend(lines)
        return plot.plot(page, lines, y, **rest)

    monkeypatch.setattr("wordbrush.figures.measured.plot", noted)
    return seen


# Plots -----------------------------------------------------------------------------------------------------------


def test_dots_stand_where_their_numbers_say():
    """A dot of its own colour is found at the place that the axes' own numbers give it."""
    page = Page()
    dots = [Dot(x, y, (x, x), (y, y)) for x, y in ((0.0, 0.0), (1.0, 0.5), (0.5, 1.0))]
    plot.plot(page, [Line("a", dots)], 0, across="x", up="y", width=3.0, height=2.0)
    pixels = np.asarray(page.image(), dtype=int)
    colour = np.array([int(plot.COLOURS[0][start : start + 2], 16) for start in (1, 3, 5)])
    found = np.abs(pixels - colour).max(axis=2) < 8
    low, high = -plot.AIR, 1 + plot.AIR
    for dot in dots:
        x = 0.55 + 3.0 * (dot.x - low) / (high - low) - page.left + layout.MARGIN
        y = 2.0 * (high - dot.y) / (high - low) - page.top + layout.MARGIN
        around = found[round(y * 100) - 2 : round(y * 100) + 3, round(x * 100) - 2 : round(x * 100) + 3]
        assert around.mean() > 0.8
    assert found.mean() < 0.03


def test_a_single_value_has_axes():
    page = Page()
    bottom = plot.plot(
        page, [Line("a", [Dot(0.3, 0.3, (0.3, 0.3), (0.3, 0.3), "1.5")])], 0, across="x", up="y", width=2, height=1
    )  # fmt: skip
    assert bottom > 1


# Curves ----------------------------------------------------------------------------------------------------------


def test_curves_of_an_evaluation_on_disk(results: Path, drawn: list[Line], tmp_path: Path):
    assert_written(load("ip2p-8")(Brush(results=results)), "ip2p-8", tmp_path)
    assert [line.label for line in drawn] == [
        "instruction editor, image guidance (instruct (one))",
        "instruction editor, image guidance (instruct (two))",
        "SDEdit with the output caption, strength",
    ]
    first = drawn[0].dots[0]
    assert (first.x, first.y, first.mark) == (pytest.approx(0.415), pytest.approx(0.615), "1")
    assert first.x_interval[0] < first.x < first.x_interval[1]
    drawn.clear()
    assert_written(load("ip2p-10")(Brush(results=results)), "ip2p-10", tmp_path)
    assert [line.label for line in drawn] == ["instruct (one)", "instruct (two)"]
    drawn.clear()
    load("ip2p-10")(Brush(results=results, labels={"two": "10 %"}))
    assert [line.label for line in drawn] == ["instruct (one)", "10 %"]


def test_an_evaluation_without_curves_is_refused(results: Path):
    failed = Row(
        "instruct", "image_guidance", {"model": "one", "image_guidance": 1.0}, "0", "", 0, failed="why"
    )
    (results / ROWS).write_text(json.dumps(asdict(failed)) + "\n")
    with pytest.raises(wb.DataError, match=r"no curve to draw.*: why"):
        load("ip2p-8")(Brush(results=results))
    with pytest.raises(wb.DataError, match="holds no evaluation"):
        load("ip2p-8")(Brush(results=results.parent))


@needs_font
def test_curves_that_are_measured_now(model: wb.Model, editor: wb.Editor, drawn: list[Line], tmp_path: Path):
    seen: list[tuple[int, int]] = []
    brush = Brush(model, steps=4, editors={"tiny": editor}, examples=2,
                  progress=lambda done, of: seen.append((done, of)))  # fmt: skip
    assert_written(load("ip2p-8")(brush), "ip2p-8", tmp_path)
    assert [len(line.dots) for line in drawn] == [7, 7, 7]
    assert seen[-1] == (2, 2)
    assert (
        len({(dot.x, dot.y) for line in drawn for dot in line.dots}) > 10
    )  # of four steps, a few strengths are the same


@needs_font
def test_editors_trained_otherwise(editor: wb.Editor, drawn: list[Line], tmp_path: Path):
    other = wb.Editor(replace(editor.model, name="other"), editor.defaults)
    brush = Brush(steps=1, editors={"all": editor, "10 %": other}, examples=1)
    assert_written(load("ip2p-10")(brush), "ip2p-10", tmp_path)
    assert [line.label for line in drawn] == ["all", "10 %"]
    with pytest.raises(wb.InvalidInput, match=r"--set data\.share=0\.1 -o DIR"):
        load("ip2p-10")(Brush(editors={"all": editor}))


# Methods side by side --------------------------------------------------------------------------------------------


def test_methods_side_by_side(
    model: wb.Model, editor: wb.Editor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from wordbrush.figures import ip2p_9_methods

    monkeypatch.setattr(ip2p_9_methods, "EXAMPLES", ip2p_9_methods.EXAMPLES[:2])
    brush = Brush(model, steps=2, editors={"tiny": editor})
    assert_written(load("ip2p-9")(brush), "ip2p-9", tmp_path)


def test_the_captions_are_storybook_s():
    from wordbrush.figures.inputs import SCENES
    from wordbrush.figures.ip2p_9_methods import EXAMPLES
    from wordbrush.storybook.instructions import objection

    for name, said, after, _ in EXAMPLES:
        parse(after)
        assert objection(SCENES[name][0], said, after) is None


# The command -----------------------------------------------------------------------------------------------------


def test_a_user_draws_what_was_evaluated(results: Path, tmp_path: Path):
    """No model is loaded for it: there is none of this name."""
    code, told = figures(
        "ip2p-8", "ip2p-10", "--results", results, "-m", "none", "-e", "none", "-o", tmp_path
    )
    assert code == 0, told
    assert {path.name for path in tmp_path.glob("*.pdf")} == {"ip2p-8.pdf", "ip2p-10.pdf"}
    assert read_settings(tmp_path / "ip2p-8.png")["results"] == str(results)


def test_a_single_editor_makes_no_comparison(editor_folder: Path, tmp_path: Path):
    code, told = figures("ip2p-10", "-e", editor_folder, "-o", tmp_path)
    assert code == 2
    assert "give each as --editor LABEL=DIR/editor" in told


@pytest.mark.parametrize(("editors", "compared"), [([], False), (["a"], False), (["all=a", "tenth=b"], True)])
def test_a_group_draws_what_can_be_drawn(
    editors: list[str], compared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    drawn: list[str] = []

    def blank(name: str):
        drawn.append(name)
        page = Page()
        page.box(0, 0, 1, 1)
        return lambda brush: page

    monkeypatch.setattr("wordbrush.figures.load", blank)
    monkeypatch.setattr("wordbrush.cli.figures.load_model", lambda *a, **k: None)
    monkeypatch.setattr("wordbrush.cli.figures.load_editor", lambda *a, **k: None)
    given = [word for one in editors for word in ("-e", one)]
    done = CliRunner().invoke(app, ["figures", "ip2p-all", "-o", str(tmp_path), *given, "--json"])
    assert done.exit_code == 0, done.output
    expected = [name for name in GROUPS["ip2p-all"] if compared or name != "ip2p-10"]
    assert drawn == expected
    assert len(json.loads(done.stdout)["files"]) == 2 * len(expected)
    said = "ip2p-10 is left out: it compares editors, so give several with --editor\n"
    assert done.stderr == ("" if compared else said)
    assert len(list(tmp_path.glob("*.png"))) == len(expected) == 10 + compared
