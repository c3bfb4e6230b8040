"""``wordbrush push``: what would be sent, what is refused, and that nothing is sent unasked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from wordbrush.cli.app import app

CARD = "---\nlicense: cc-by-4.0\n---\n\n# Editor\n"


@pytest.fixture
def editor(tmp_path: Path) -> Path:
    folder = tmp_path / "editor"
    (folder / "unet").mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    (folder / "unet" / "model.safetensors").write_bytes(b"0" * 1000)
    (folder / ".cache").mkdir()
    (folder / ".cache" / "lock").write_text("")
    (folder / "README.md").write_text(CARD)
    return folder


class Hub:
    """Notes what the hub's client is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def create_repo(self, name: str, **given: Any) -> str:
        self.asked.append((f"create {name}", given))
        return f"https://hub.invalid/{name}"

    def upload_folder(self, **given: Any) -> None:
        self.asked.append(("upload", given))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Somebody is logged in, and nothing leaves the machine."""
    made = Hub()
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: made)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_secret")
    return made


def run(*arguments: object, status: int = 0) -> Any:
    result = CliRunner().invoke(app, ["push", *map(str, arguments)], prog_name="wordbrush")
    assert result.exit_code == status, result.output
    return result


def refused(*arguments: object) -> str:
    (sentence,) = run(*arguments, status=2).stderr.strip().splitlines()
    return sentence.removeprefix("wordbrush: ")


def test_a_dry_run_lists_every_file_and_sends_nothing(editor: Path, hub: Hub):
    said = json.loads(run(editor, "ann/brush", "--dry-run", "--json").stdout)
    assert said["files"] == {"README.md": len(CARD), "model_index.json": 2, "unet/model.safetensors": 1000}
    assert (said["kind"], said["sent"]) == ("model", False)
    text = run(editor, "ann/brush", "--dry-run").stdout
    assert "unet/model.safetensors" in text
    assert "Would send 3 files, 0.0 MB, as a model ann/brush; licence cc-by-4.0" in text
    assert hub.asked == []


def test_what_was_listed_is_sent_and_no_more(editor: Path, hub: Hub):
    assert "Sent to https://hub.invalid/ann/brush" in run(editor, "ann/brush", "--yes").stdout
    (created, settings), (_, upload) = hub.asked
    assert created == "create ann/brush"
    assert settings == {"repo_type": "model", "private": True, "exist_ok": True}
    assert upload["allow_patterns"] == ["README.md", "model_index.json", "unet/model.safetensors"]
    assert upload["folder_path"] == editor


def test_a_data_set_is_sent_as_one(editor: Path, hub: Hub):
    (editor / "model_index.json").unlink()
    (editor / "train.parquet").write_bytes(b"")
    run(editor, "ann/pairs", "--yes", "--public")
    assert hub.asked[0][1] == {"repo_type": "dataset", "private": False, "exist_ok": True}


def test_nothing_is_sent_unasked(editor: Path, hub: Hub):
    assert refused(editor, "ann/brush").endswith("add --yes to send 3 files, 0.0 MB, as a model ann/brush")
    assert hub.asked == []


def test_without_a_login(editor: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert "nobody is logged in" in refused(editor, "ann/brush", "--yes")
    assert hub.asked == []


def test_the_hub_refuses(editor: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch):
    def closed(*_: object, **__: object) -> None:
        raise ConnectionError("the network is down\nand more")

    monkeypatch.setattr(Hub, "create_repo", closed)
    assert refused(editor, "ann/brush", "--yes") == "the hub did not take ann/brush: the network is down"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: (f / "README.md").unlink(), "needs a card"),
        (lambda f: (f / "README.md").write_text("# Editor"), "no front matter"),
        (lambda f: (f / "README.md").write_text("---\na: [\n---\n"), "is not YAML"),
        (lambda f: (f / "README.md").write_text("---\nlicense: mit\n"), "no front matter"),
        (lambda f: (f / "README.md").write_text("---\ntags: [a]\n---\n"), "names no licence"),
        (
            lambda f: (f / "README.md").write_text(CARD + "data: `/home/ann/pairs`"),
            "names /home/ann, a folder",
        ),
        (lambda f: (f / "unet" / "model.bin").write_bytes(b""), "may run code"),
        (lambda f: (f / "link").symlink_to("/etc/hostname"), "is a link"),
        (lambda f: (f / "model_index.json").unlink(), "neither a diffusers model"),
    ],
)
def test_what_is_refused(editor: Path, hub: Hub, change: Any, said: str):
    change(editor)
    assert said in refused(editor, "ann/brush", "--yes")
    assert hub.asked == []


@pytest.mark.parametrize("name", ["brush", "a/b/c", "ann/", "an n/brush"])
def test_names_that_are_none(editor: Path, name: str):
    assert "give OWNER/NAME" in refused(editor, name, "--dry-run")


def test_a_folder_that_is_not_there(tmp_path: Path):
    assert "there is no folder" in refused(tmp_path / "none", "ann/brush", "--dry-run")
