"""Shell completion: the shells' scripts, and what is proposed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = "from wordbrush.cli import main; main()"


def complete(shell: str, line: str) -> list[str]:
    """What is proposed at the end of a command line, as each shell asks for it."""
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1), "_TYPER_COMPLETE_ARGS": line}
    given = {**os.environ, **asked, "_WORDBRUSH_COMPLETE": f"complete_{shell}"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=given, timeout=120
    )
    return done.stdout.split()


def test_commands_and_options_are_proposed():
    assert {"edit", "doctor", "push", "data"} <= set(complete("bash", "wordbrush "))
    assert complete("bash", "wordbrush doc") == ["doctor"]
    assert "--self-attention" in complete("bash", "wordbrush edit --self")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_its_script(shell: str):
    given = {**os.environ, "_WORDBRUSH_COMPLETE": f"source_{shell}", "SHELL": f"/bin/{shell}"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=given, timeout=120
    )
    assert "_WORDBRUSH_COMPLETE" in done.stdout
    assert "wordbrush" in done.stdout
