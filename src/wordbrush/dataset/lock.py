"""One process at a time where files are made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wordbrush.errors import DataError
from wordbrush.files import cannot_write


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
