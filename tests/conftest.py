"""Fixtures that several folders of tests share."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import tiny

# A shell that starts the suite in the background has it ignore Ctrl-C, and so would every process that a test starts:
# Python leaves an ignored signal ignored. Those that are sent one have to stop.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random-weight pipeline on disk, as a user would point ``--model`` at."""
    return tiny.build(tmp_path_factory.mktemp("models") / "tiny")
