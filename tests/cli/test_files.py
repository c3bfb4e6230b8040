"""Results are complete under their names or not there at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from PIL import Image

from wordbrush import files
from wordbrush.files import CannotWrite, check_writable, png, read_settings, write_files


def test_files_are_written_and_nothing_else(tmp_path: Path):
    write_files({tmp_path / "new" / "a.txt": b"a", tmp_path / "b.txt": b"b"})
    assert (tmp_path / "new" / "a.txt").read_bytes() == b"a"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.txt", "b.txt", "new"]


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EIO, "input/output")],
)
def test_a_failing_disk_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
):
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    first.write_bytes(b"old")
    written = []

    def fail_at_the_second(descriptor: int) -> None:
        written.append(descriptor)
        if len(written) == 2:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", fail_at_the_second)
    with pytest.raises(CannotWrite, match=reason) as caught:
        write_files({first: b"new", second: b"new"})
    assert "second.txt" in str(caught.value)
    assert len(written) == 2
    assert first.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["first.txt"]


def test_a_name_as_long_as_the_disk_allows(tmp_path: Path):
    longest = os.pathconf(tmp_path, "PC_NAME_MAX")
    write_files({tmp_path / ("a" * longest): b"a"})
    assert (tmp_path / ("a" * longest)).read_bytes() == b"a"
    with pytest.raises(CannotWrite, match="too long"):
        write_files({tmp_path / "b": b"b", tmp_path / ("c" * (longest + 1)): b"c"})
    assert [path.name for path in tmp_path.iterdir()] == ["a" * longest]


def test_the_reason_survives_a_failing_removal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    removed = []

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def read_only(path: Path, missing_ok: bool = False) -> None:
        removed.append(path)
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(files.os, "fsync", full)
    monkeypatch.setattr(Path, "unlink", read_only)
    with pytest.raises(CannotWrite, match="disk is full"):
        write_files({tmp_path / "a.txt": b"a"})
    assert len(removed) == 1
    assert not (tmp_path / "a.txt").exists()


def test_a_failing_rename_leaves_every_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    paths = [tmp_path / name for name in ("a.txt", "b.txt")]
    complete = []

    def refuse_b(written: Path, path: Path) -> None:
        complete.append(len(list(tmp_path.glob(".*.tmp"))))
        if path == paths[1]:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        os.replace(written, path)

    monkeypatch.setattr(Path, "replace", refuse_b)
    with pytest.raises(CannotWrite, match=r"b\.txt: permission"):
        write_files(dict.fromkeys(paths, b"new"))
    assert complete == [2, 1]  # both were complete before the first was renamed
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert paths[0].read_bytes() == b"new"


def test_ctrl_c_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_files({tmp_path / "a.txt": b"a"})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_not_overwritten(tmp_path: Path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(CannotWrite, match="folder"):
        write_files({tmp_path / "b.png": b"b", tmp_path / "a.png": b"a"})
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_what_cannot_be_written_is_known_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("")
    check_writable(tmp_path / "new" / "folder")
    with pytest.raises(CannotWrite, match="not a folder"):
        check_writable(tmp_path / "file" / "folder")
    monkeypatch.setattr(files.os, "access", lambda path, mode: False)
    with pytest.raises(CannotWrite, match="read-only"):
        check_writable(tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_pictures_carry_their_settings(tmp_path: Path):
    settings = {
        "source": "ein Käfer",
        "target": '猫 with "quotes"',
        "seed": 3,
        "versions": {"wordbrush": "0"},
    }
    image = Image.new("RGB", (4, 4), "red")
    write_files({tmp_path / "a.png": png(image, settings)})
    assert read_settings(tmp_path / "a.png") == settings
    with Image.open(tmp_path / "a.png") as written:
        assert written.tobytes() == image.tobytes()
        assert written.info["Description"] == settings["target"]
