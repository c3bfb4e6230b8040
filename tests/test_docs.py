"""The documentation tells the truth: links lead somewhere, commands exist, Python runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import typer.main

import editors
import wordbrush as wb
from wordbrush.cli.app import app
from wordbrush.instruct import PRESETS
from wordbrush.metrics.clip import EMBEDDED as CLIPS
from wordbrush.models import EMBEDDED
from wordbrush.storybook import font

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = [
    (page.name, line.strip())
    for page in [*PAGES, ROOT / "examples" / "demo.sh"]
    for line in re.sub(r"\\\n\s*", "", page.read_text(encoding="utf-8")).splitlines()
    if re.match(r"\s*(\.venv/bin/)?wordbrush [a-z]", line)
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path):
    targets = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    if not EMBEDDED["storybook"].exists():  # the pictures are made with its weights
        local = [target for target in local if not target.endswith((".png", ".jpg"))]
    assert [target for target in local if not (page.parent / target).exists()] == []


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_commands_exist(page: str, line: str):
    command = typer.main.get_command(app)
    words = shlex.split(line, comments=True)[1:]
    while words and hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    assert {word for word in words if re.match(r"--?[a-z]", word)} <= known


def test_there_are_commands_and_pages_to_look_at():
    assert len(PAGES) > 6
    assert len(COMMANDS) > 15


def test_python_of_editing_by_instruction_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The page with a random-weight editor, pictures of these names, and fewer steps."""
    made = editors.editor()
    few = {name: replace(preset, steps=1) for name, preset in PRESETS.items()}
    monkeypatch.setattr("wordbrush.instruct.PRESETS", few)
    monkeypatch.setattr("wordbrush.instruct.load_editor", lambda *a, **k: made)
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("photo.jpg", "street.png", "sky.png")):
        editors.picture(number).save(name)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "instruct.md").read_text(), flags=re.DOTALL)
    exec("\n".join(blocks).replace("steps=20", "steps=5"), {})
    assert {path.name for path in tmp_path.glob("*.png")} >= {"night.png", "both.png"}
    assert len(list(tmp_path.glob("out/*.png"))) == 2


@pytest.mark.skipif(not font.FONT_PATH.exists(), reason="renders need Noto Color Emoji")
@pytest.mark.skipif(not CLIPS["storybook"].exists(), reason="the contrastive model is not in this checkout")
def test_python_of_evaluation_runs(capsys: pytest.CaptureFixture[str]):
    """The page on fewer scenes: the truth says what was asked for, and a copy says nothing."""
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    exec(block.replace("storybook:14", "storybook:2"), {})
    identity, truth = capsys.readouterr().out.strip().splitlines()
    assert identity.startswith("identity {'mean': 0.0")
    assert truth.startswith("truth {'mean': 0.")
    assert not truth.startswith("truth {'mean': 0.0,")


@pytest.mark.parametrize("name", ["README.md", "docs/python.md"])
def test_python_runs(name: str, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Every block of the page, one after the other, with a random-weight model and fewer steps."""
    model = wb.load(tiny_folder)
    monkeypatch.setattr("wordbrush.models.load", lambda *a, **k: model)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert blocks
    exec("\n".join(blocks).replace("steps=30", "steps=2"), {"torch": torch})
    assert list(tmp_path.glob("*.png"))


CARDS = sorted(
    path for path in EMBEDDED["storybook"].parent.glob("*/README.md") if "```python" in path.read_text()
)


@pytest.mark.skipif(not EMBEDDED["storybook"].exists(), reason="the weights are not in this checkout")
def test_python_of_the_cards_runs():
    """What plain diffusers does with the shipped weights, exactly as their cards say."""
    assert [card.parent.name for card in CARDS] == ["editor", "text_to_image"]
    for card in CARDS:
        (block,) = re.findall(r"```python\n(.*?)```", card.read_text(encoding="utf-8"), flags=re.DOTALL)
        named = {"folder": card.parent, "picture": editors.picture(size=(128, 128))}
        exec(block, named)
        made = named["edited" if card.parent.name == "editor" else "picture"]
        assert made.size == (128, 128)
        assert made.tobytes() != editors.picture(size=(128, 128)).tobytes()


def test_the_site_builds_without_a_warning_and_knows_every_public_name(tmp_path: Path):
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--site-dir",
        str(tmp_path),
    ]  # as make docs
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "api.html").read_text(encoding="utf-8")
    public = [name for name in wb.__all__ if name not in ("__version__", "parity")]
    assert [name for name in public if not re.search(rf'id="wordbrush\.[\w.]*{name}"', page)] == []
