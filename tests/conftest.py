"""Fixtures that several folders of tests share."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import tiny

# A shell that starts the suite in the background has it ignore Ctrl-C, and so would every process that a test starts:
# Python leaves an ignored signal ignored. Those that are sent one have to stop.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random-weight pipeline on disk, as a user would point ``--model`` at."""
    return tiny.build(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def same_fresh_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise that LCM adds between the steps, the same for a stock pipeline as for ours."""
    import torch

    def drawn(shape: Sequence[int], dtype: torch.dtype, **_: Any) -> torch.Tensor:
        return torch.randn(shape[1:], generator=torch.Generator().manual_seed(5)).to(dtype).expand(*shape)

    monkeypatch.setattr("diffusers.schedulers.scheduling_lcm.randn_tensor", drawn)
