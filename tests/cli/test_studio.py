"""``wordbrush studio``: what is refused before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from wordbrush.cli.parse import BadOption
from wordbrush.cli.studio import LOGIN, checked_folder, is_local, read_login


def test_the_login_comes_from_a_file_or_the_environment(tmp_path: Path):
    file = tmp_path / "login"
    file.write_text("ann:se:cret\n")
    assert read_login(None, None) is None
    assert read_login(file, None) == ("ann", "se:cret")
    assert read_login(None, "bob:secret") == ("bob", "secret")
    assert read_login(file, "bob:secret") == ("ann", "se:cret")


@pytest.mark.parametrize("text", ["", "ann", "ann:", ":secret"])
def test_half_a_login_is_refused_and_not_repeated(text: str, tmp_path: Path):
    file = tmp_path / "login"
    file.write_text(text)
    with pytest.raises(BadOption, match="does not hold NAME:PASSWORD"):
        read_login(file, None)
    with pytest.raises(BadOption, match=f"^{LOGIN} does not hold NAME:PASSWORD$"):
        read_login(None, text)


def test_a_missing_file_or_folder_is_refused(tmp_path: Path):
    with pytest.raises(BadOption, match="cannot be read"):
        read_login(tmp_path / "none", None)
    with pytest.raises(BadOption, match="is no folder"):
        checked_folder(tmp_path / "none")


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.3.2.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("host", False),
    ],
)
def test_who_can_reach_an_address(host: str, local: bool):
    assert is_local(host) is local
