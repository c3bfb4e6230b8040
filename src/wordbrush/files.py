"""Writing results: complete under their final name or not there at all, and pictures that know how they were made.

What grows during a run is lines of JSON: a killed run leaves at most a part of the last one, which is taken back.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from numbers import Number
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordbrush.errors import DataError, WordbrushError
from wordbrush.version import __version__

if TYPE_CHECKING:
    from PIL.Image import Image

REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission was refused",
    errno.EPERM: "permission was refused",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EISDIR: "it is a folder",
    errno.ENAMETOOLONG: "the name is too long",
}

# What the picture shows or how it was changed, in the settings of one command or another.
DESCRIBING = ("target", "source", "prompt", "instruction")


class CannotWrite(WordbrushError, OSError):
    """A result could not be written; no file was left half-written, but for the last line of one that grows."""


def write_files(files: Mapping[Path, bytes]) -> None:
    """Write files so that each one is whole under its name, or what was there before.

    Every file goes to a temporary name beside its place, and no file is renamed before all are complete: a full disk,
    an error or Ctrl-C while writing changes nothing. A failure between two renames, which is rare, leaves some files
    new and the others as they were. Temporary files are removed as far as the disk allows; missing folders are made
    and stay. Raises ``CannotWrite`` for the first file that fails.
    """
    temporary: dict[Path, Path] = {}
    path = Path()
    try:
        for path, content in files.items():
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary[path] = path.with_name(f".{uuid.uuid4().hex}.tmp")
            with temporary[path].open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for path, written in temporary.items():
            written.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        for written in temporary.values():
            with suppress(OSError):  # the failure to report is the one above
                written.unlink(missing_ok=True)


def append_json(path: Path, values: Iterable[Any]) -> None:
    """Append each value as a line of JSON; the folder is made if needed. Raises ``CannotWrite`` if the disk refuses."""
    text = "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise cannot_write(path, error) from error


def mend_lines(path: Path) -> None:
    """Take back a last line that a kill has cut, if there is a file. Raises ``CannotWrite`` if the disk refuses."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise cannot_write(path, error) from error
    whole = text[: text.rfind(b"\n") + 1]
    if whole != text:
        write_files({path: whole})


@contextmanager
def held(lock: Path, work: str) -> Iterator[None]:
    """Hold a lock file; the system lets go of it when the process ends, however it ends. Its folder is made if needed.

    Args:
        work: what the message says of whoever holds it: ``"another run is working in out/pairs"``.

    Raises:
        DataError: another process holds it.
        CannotWrite: the disk refuses.
    """
    from filelock import FileLock, Timeout

    holding = FileLock(lock)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with suppress(NotImplementedError):  # a file system without locks: two would only do the work twice
            holding.acquire(timeout=0)
    except Timeout as error:
        raise DataError(f"{work}: wait until it ends, or stop it") from error
    except OSError as error:
        raise cannot_write(lock.parent, error) from error
    try:
        yield
    finally:
        holding.release()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs out of ``folder``, which is made, and remove files that a killed one left half-written.

    Raises:
        DataError: another run is working in it.
        CannotWrite: the disk refuses.
    """
    with held(folder / ".lock", f"another run is working in {folder}"):
        for left in folder.glob(".*.tmp"):
            left.unlink(missing_ok=True)
        yield


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Lend an empty folder that is renamed to ``path`` when all went well, and removed when not.

    A process that is killed leaves ``.NAME.partial`` beside ``path``, which the next one empties, and never a ``path``
    that is incomplete.

    Raises:
        DataError: ``path`` exists, or another process is writing it.
        CannotWrite: the disk refuses.
    """
    check_writable(path)
    temporary, lock = (path.with_name(f".{path.name}.partial{ending}") for ending in ("", ".lock"))
    with held(lock, f"another process is writing {path}"):
        try:
            if path.exists():
                raise DataError(f"{path} exists: choose another folder, or move it away")
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            yield temporary
            temporary.rename(path)
        except OSError as error:
            if isinstance(error, WordbrushError) or error.errno is None:
                raise
            raise cannot_write(path, error) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            lock.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raise ``CannotWrite`` now rather than after minutes of work if ``path`` can clearly not be written.

    ``path`` is a file or folder that may not exist yet; nothing is created.
    """
    try:
        place = path.absolute()
        while not place.exists():
            place = place.parent
        if place != path.absolute() and not place.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place))
    except OSError as error:
        raise cannot_write(path, error) from error
    if not os.access(place, os.W_OK):
        raise CannotWrite(f"cannot write {path}: {place} is read-only, or belongs to somebody else")


def cannot_write(path: Path, error: OSError) -> CannotWrite:
    """Return the one-sentence error for ``path``."""
    reason = REASONS.get(error.errno or 0) or (error.strerror or str(error)).lower()
    return CannotWrite(f"cannot write {path}: {reason}")


def png(image: Image, settings: Mapping[str, Any]) -> bytes:
    """Return ``image`` as PNG with ``settings`` inside.

    The text chunk ``wordbrush`` holds them as JSON; ``Description`` and ``Software`` serve other programs.
    """
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Software", f"wordbrush {settings.get('versions', {}).get('wordbrush', '')}".strip())
    described = next((settings[name] for name in DESCRIBING if settings.get(name)), None)
    if described:
        info.add_text("Description", str(described))
    info.add_text("wordbrush", json.dumps(settings, ensure_ascii=False, default=_plain))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()


def _plain(value: Any) -> Any:
    """Return a number of numpy as Python's, and anything else that JSON lacks as text."""
    number = getattr(value, "item", None) if isinstance(value, Number) else None
    return number() if number else str(value)


def versions(*more: str) -> dict[str, str]:
    """Return the versions of the packages that decide how a picture comes out, and those of ``more``."""
    return {"wordbrush": __version__} | {
        package: metadata.version(package) for package in ("torch", "diffusers", *more)
    }


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings that ``png`` put into the picture at ``path``; empty if there are none."""
    from PIL import Image

    with Image.open(path) as image:
        return json.loads(image.info.get("wordbrush", "{}"))
