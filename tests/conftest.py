"""Fixtures that several folders of tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random-weight pipeline on disk, as a user would point ``--model`` at."""
    return tiny.build(tmp_path_factory.mktemp("models") / "tiny")
