"""``wordbrush doctor``: quick, and right about what is there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from wordbrush.cli import doctor
from wordbrush.cli.app import app
from wordbrush.cli.console import plain

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
TOOLS = {"docs", "dev"}  # for those who work on wordbrush itself


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=]", one)[0] for one in requirements}


def run(*arguments: str, status: int = 0) -> Any:
    result = CliRunner().invoke(app, ["doctor", *arguments], prog_name="wordbrush")
    assert result.exit_code == status, result.output
    return result.stdout


def checks() -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in json.loads(run("--json"))["checks"]}


def test_it_knows_the_packages_of_the_project():
    assert set(doctor.REQUIRED) == names(PROJECT["dependencies"])
    extras = {name: names(packages) for name, packages in PROJECT["optional-dependencies"].items()}
    assert {name: set(packages) for name, (_, packages) in doctor.EXTRAS.items()} == {
        name: packages for name, packages in extras.items() if name not in TOOLS
    }


def test_what_is_there_is_found():
    found = checks()
    assert found["torch"]["works"]
    assert found["torch"]["found"].startswith("2.")
    assert all(not check["needed"] or check["works"] for check in found.values())
    text = run()
    assert "torch" in text
    assert "cores" in text


def test_nothing_is_left_out_of_what_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    path = tmp_path.joinpath(*["a-folder-of-a-long-name"] * 8)
    monkeypatch.setenv("HF_HUB_CACHE", str(path))
    monkeypatch.setattr(doctor, "font_path", lambda: Path(__file__))
    monkeypatch.setattr("wordbrush.cli.doctor.out", plain(width=60))
    text = run()
    assert "…" not in text
    assert str(path) in "".join(line[len("hub cache free gb  ") :].rstrip() for line in text.splitlines())


def test_the_judges_are_a_model():
    from wordbrush.cli.models import installed

    (judges,) = (one for one in installed() if one.name == "storybook/judge")
    assert judges.kind == "Judges"
    assert judges.parameters > 1e6
    assert checks()["storybook/judge"]["found"].endswith("MB")


def test_what_is_missing_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("WORDBRUSH_EMOJI_FONT", str(tmp_path / "none.ttf"))
    known = doctor.version_of
    monkeypatch.setattr(doctor, "version_of", lambda package: None if package == "gradio" else known(package))
    found = checks()
    assert not found["[studio]"]["works"]
    assert found["[studio]"]["remedy"] == "pip install 'wordbrush[studio]'"
    assert not found["emoji font"]["works"]
    assert "fonts-noto-color-emoji" in found["emoji font"]["remedy"]
    monkeypatch.setattr(doctor, "version_of", lambda package: None if package == "torch" else known(package))
    assert "pip install wordbrush" in run(status=1)


def test_the_token_is_found_and_not_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert json.loads(run("--json"))["machine"]["hub_token"] is False
    (tmp_path / "token").write_text("hf_secret")
    assert json.loads(run("--json"))["machine"]["hub_token"] is True
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert "hf_secret" not in run() + run("--json")


def test_torch_tells_its_devices():
    machine = json.loads(run("--json", "--torch"))["machine"]
    assert machine["torch_devices"][0] == "cpu"


def test_it_takes_little_work():
    """Less than a second of processor time, in a fresh interpreter, the start of Python included."""
    code = "import sys, time; from wordbrush.cli import main; sys.argv = ['wordbrush', 'doctor']\n"
    code += "try: main()\nfinally: print('SECONDS', time.process_time())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert float(done.stdout.rpartition("SECONDS")[2]) < 1.0, done.stderr
