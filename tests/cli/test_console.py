"""What is printed is printed as it is: paths and names may hold what Rich reads as markup or emoji."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from wordbrush.cli import console, doctor
from wordbrush.cli.app import app
from wordbrush.cli.stages import stages
from wordbrush.dataset.stage import StageReport
from wordbrush.errors import InvalidInput

ODD = "o/[bold]x[/bold] [/x] :cat: 12 'it'"


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Let stderr be a terminal, and return what is written on it."""
    file = io.StringIO()
    monkeypatch.setattr(console, "err", console.plain(file=file, force_terminal=True, width=200))
    monkeypatch.setattr("wordbrush.cli.stages.err", console.err)
    return file


def test_text_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]):
    console.out.print(ODD, soft_wrap=True)
    console.err.print(ODD, style="red", soft_wrap=True)
    assert [text.rstrip("\n") for text in capsys.readouterr()] == [ODD, ODD]


def test_what_is_under_way_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch):
    told = on_a_terminal(monkeypatch)
    with console.working(f"Loading {ODD}"):
        pass
    with console.progress(f"Figure {ODD}") as report:
        report(1, 2)
    with stages() as show:
        show(StageReport("[/x] captions", 2, 1, 0, 1, 1, 1, {}, 1, 1.0, (ODD,)))
    text = told.getvalue()
    assert f"Loading {ODD}" in text
    assert f"Figure {ODD}" in text
    assert "[/x] captions" in text
    assert f"set aside as {ODD} and" in text


def test_every_console_and_bar_is_a_plain_one():
    """What cannot be run here cheaply: nothing else makes a console, or a column of text that reads markup."""
    sources = {path.name: path.read_text() for path in Path(console.__file__).parent.glob("*.py")}
    assert [name for name, text in sources.items() if re.search(r"\bConsole\(", text)] == ["console.py"]
    columns = [line for text in sources.values() for line in text.splitlines() if "TextColumn(" in line]
    assert len(columns) == 3
    assert all(line.count("TextColumn(") == line.count("markup=False") for line in columns)


def test_tables_show_names_as_they_are(capsys: pytest.CaptureFixture[str]):
    checks = [doctor.Check("[studio]", "the [/x] page", False, remedy="pip install 'wordbrush[studio]'")]
    doctor.show({"hub_cache": ODD}, checks)
    shown = capsys.readouterr().out
    for text in (ODD, "[studio]", "the [/x] page", "pip install 'wordbrush[studio]'"):
        assert text in shown


def test_errors_are_printed_as_they_are_and_as_the_command_line_says_it(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise InvalidInput(f"no {ODD}: give size=3", command=f"no {ODD}: give --size 3")

    monkeypatch.setattr("wordbrush.cli.edit.kind_of", lambda *_, **__: fail())
    result = CliRunner().invoke(app, ["edit", "a cat"])
    assert result.exit_code == 2
    assert result.stderr == f"wordbrush: no {ODD}: give --size 3\n"


def test_an_error_says_the_same_to_both_unless_told_otherwise():
    assert (
        InvalidInput("a sentence").command == str(InvalidInput("a sentence", command="other")) == "a sentence"
    )
