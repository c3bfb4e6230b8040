"""The models that stages name: whether they are there and whole, before hours of work, and what tells two apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from wordbrush.errors import ModelError

DECISIVE = (".safetensors", ".json", ".model", ".txt")
"""Files of a model folder that decide what the model computes."""

INDEX = ("model_index.json", "config.json", "adapter_config.json")
"""Files by one of which a model on the hub is known: of a pipeline, a network, an adapter."""

PIECE = 1 << 20


def digest(name: str, embedded: Mapping[str, Path] | None = None) -> str:
    """Return the BLAKE2b checksum, 128 bits in hex, of a model's files; of one on the hub, ``"owner/model@commit"``.

    The commit is the one that loading would take now: the newest, or without a network the one in the cache. Of what is
    neither here nor found there, it is the name alone; loading says what is wrong.

    Args:
        name: a folder, a ``.safetensors`` file, the id of a model on the hub, or a key of ``embedded``.
    """
    path = (embedded or {}).get(name, Path(name))
    if path.is_file():
        files = [path]
    elif path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in DECISIVE)
    elif is_hub_id(name) and (commit := _commit(name)):
        return f"{name}@{commit}"
    else:
        return name
    hashed = blake2b(digest_size=16)
    for file in files:
        hashed.update(file.relative_to(path.parent if path.is_file() else path).as_posix().encode())
        with file.open("rb") as content:
            while piece := content.read(PIECE):
                hashed.update(piece)
    return hashed.hexdigest()


def is_hub_id(name: str) -> bool:
    """Tell whether a name can be that of a model on the hub, ``owner/model``, rather than a path."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~"))


def check(name: str, what: str, *, index: Sequence[str], embedded: Mapping[str, Path] | None = None) -> None:
    """Raise now for a model that is missing, incomplete or damaged; nothing is loaded.

    Of a model on the hub, the first file of ``index`` that it has is fetched.

    Args:
        name: a folder, a ``.safetensors`` file, the id of a model on the hub, or a key of ``embedded``.
        what: how the message calls it.
        index: files by one of which such a model is known.

    Raises:
        ModelError: it cannot be used, and why.
    """
    known = embedded or {}
    path = known.get(name, Path(name))
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise ModelError(f"there is no {what} at {name!r}")
        _check_whole(path)
    elif path.is_dir():
        _check_folder(path, what, index)
    elif name in known:
        raise ModelError(
            f"the {what} {name!r} is missing from this installation ({path}): reinstall, or train it with "
            "`wordbrush storybook train`"
        )
    elif not is_hub_id(name):
        raise ModelError(f"there is no {what} at {name!r}: give a folder, or a hub id 'owner/model'")
    else:
        _check_hub(name, what, index)


def _check_folder(folder: Path, what: str, index: Sequence[str]) -> None:
    if not any((folder / one).is_file() for one in index):
        raise ModelError(f"{folder} is no {what}: it has no {' or '.join(index)}")
    files = sorted(folder.rglob("*.safetensors"))
    if not files:
        raise ModelError(f"{folder} has no safetensors weights")
    for file in files:
        _check_whole(file)


def _check_whole(path: Path) -> None:
    """Read the header of a file, which says how long the file has to be."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise ModelError(f"the weights {path} are damaged or cannot be read: {error}") from error


def _commit(name: str) -> str | None:
    """Return the commit of the hub that the model's index file is of."""
    from huggingface_hub import hf_hub_download

    for file in INDEX:
        with suppress(Exception):  # network, authentication and cache errors share no base class
            return Path(hf_hub_download(name, file)).parent.name
    return None


def _check_hub(name: str, what: str, index: Sequence[str]) -> None:
    from huggingface_hub import hf_hub_download

    failure: Exception | None = None
    for file in index:
        try:
            hf_hub_download(name, file)
            return
        except Exception as error:  # network, authentication and cache errors share no base class
            failure = failure or error
    raise ModelError(
        f"{name!r} is no folder here, and no {what} on the hub that could be fetched ({type(failure).__name__}): "
        "check the spelling and the network"
    ) from failure
