"""What tells two models apart: the bytes of those that are here, the commit of those of the hub."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from wordbrush.dataset.weights import digest


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without a network, and the folder of a model in its cache."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path / "models--owner--model"


def snapshot(cache: Path, commit: str, file: str) -> None:
    (cache / "snapshots" / commit).mkdir(parents=True)
    (cache / "snapshots" / commit / file).write_text("{}")
    (cache / "refs").mkdir(exist_ok=True)
    (cache / "refs" / "main").write_text(commit)


@pytest.mark.parametrize("file", ["model_index.json", "config.json", "adapter_config.json"])
def test_a_model_of_the_hub_is_known_by_its_commit(cache: Path, file: str):
    assert digest("owner/model") == "owner/model"  # not found: loading says so
    snapshot(cache, "a" * 40, file)
    assert digest("owner/model") == f"owner/model@{'a' * 40}"
    snapshot(cache, "b" * 40, file)
    assert digest("owner/model") == f"owner/model@{'b' * 40}"


def test_a_model_that_is_here_is_known_by_its_bytes(tmp_path: Path):
    (tmp_path / "model.safetensors").write_bytes(b"one")
    before = digest(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"two")
    assert digest(str(tmp_path)) != before
    assert digest("storybook", {"storybook": tmp_path}) == digest(str(tmp_path))
