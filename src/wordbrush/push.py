"""Sending a trained editor or a data set to the Hugging Face hub, with its card."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wordbrush.errors import DataError, InvalidInput, WordbrushError

CARD = "README.md"
# Files that may run code where they are loaded.
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle")
# What makes a folder a data set, at any depth.
ROWS = ("*.parquet", "metadata.jsonl", "seeds.json")
_NAME = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")


@dataclass(frozen=True)
class Parcel:
    """What would be sent.

    Args:
        folder: where it is.
        kind: what the hub will hold it for.
        files: the files, relative to the folder, each with its size in bytes.
        card: the front matter of its card.
    """

    folder: Path
    kind: Literal["model", "dataset"]
    files: Mapping[str, int]
    card: Mapping[str, Any]

    @property
    def megabytes(self) -> float:
        """The size of all files."""
        return sum(self.files.values()) / 1e6


def pack(folder: Path) -> Parcel:
    """Return all that would be sent of a folder: every file in it, but for hidden ones. Nothing is sent.

    Raises:
        DataError: it is no diffusers model or data set, or holds a link, a file that may run code, or a half-written
            one; or its card is missing, cannot be read, names no licence, or names a folder of this machine.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    paths = [path for path in sorted(folder.rglob("*")) if not _hidden(path.relative_to(folder))]
    for path in paths:
        if path.is_symlink():
            raise DataError(
                f"{path} is a link, which would send a file from elsewhere: put the file itself there"
            )
        if path.suffix in PICKLES:
            raise DataError(f"{path} may run code where it is loaded: send safetensors instead")
    files = {str(path.relative_to(folder)): path.stat().st_size for path in paths if path.is_file()}
    if "model_index.json" in files:
        kind = "model"
    elif any(Path(name).match(pattern) for name in files for pattern in ROWS):
        kind = "dataset"
    else:
        raise DataError(
            f"{folder} is neither a diffusers model (it has no model_index.json) nor a data set (it has no parquet "
            "file or metadata.jsonl)"
        )
    return Parcel(folder, kind, files, read_card(folder))


def read_card(folder: Path) -> dict[str, Any]:
    """Return the front matter of the card of a folder.

    Raises:
        DataError: it is missing, cannot be read, names no licence, or names a folder of this machine.
    """
    import yaml

    path = folder / CARD
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: what is sent needs a card that says what it is") from error
    front = re.match(r"---\n(.*?\n)---\n", text, flags=re.DOTALL)
    try:
        values = yaml.safe_load(front[1]) if front else None
    except yaml.YAMLError as error:
        raise DataError(f"the front matter of {path} is not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict):
        raise DataError(f"{path} has no front matter, the lines between two '---' that the hub reads")
    if not values.get("license"):
        raise DataError(
            f"{path} names no licence: add a line such as 'license: cc-by-4.0' to its front matter"
        )
    if home := _private_path(text):
        raise DataError(f"{path} names {home}, a folder of this machine: take that out first")
    return values


def send(parcel: Parcel, name: str, *, public: bool = False, message: str = "Upload with wordbrush") -> str:
    """Send a parcel to the hub and return its address; what is there under that name gets new versions of its files.

    Args:
        name: ``owner/name`` on the hub; it is made if there is none.
        public: for everyone to see, if it has to be made; otherwise for its owner alone.
        message: of the commit.

    Raises:
        InvalidInput: the name is not ``owner/name``.
        WordbrushError: nobody is logged in, or the hub refuses.
    """
    check_name(name)
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError

    if get_token() is None:
        raise WordbrushError(
            "nobody is logged in to the Hugging Face hub: run 'hf auth login', or set HF_TOKEN"
        )
    api = HfApi()
    try:
        address = api.create_repo(name, repo_type=parcel.kind, private=not public, exist_ok=True)
        api.upload_folder(
            repo_id=name,
            repo_type=parcel.kind,
            folder_path=parcel.folder,
            allow_patterns=_exactly(list(parcel.files)),
            commit_message=message,
        )
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WordbrushError(f"the hub did not take {name}: {reason}") from error
    return str(address)


def check_name(name: str) -> None:
    """Raise ``InvalidInput`` unless a name is ``owner/name``."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"{name!r} is no name on the hub: give OWNER/NAME, as in ann/my-editor")


def _exactly(names: Sequence[str]) -> list[str]:
    """Return patterns that match these names alone."""
    return [re.sub(r"([\[*?])", r"[\1]", name) for name in names]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _private_path(text: str) -> str | None:
    """Return the first mention of somebody's home folder."""
    homes = {str(Path.home()), "/root"}
    pattern = "|".join(
        [*(re.escape(home) for home in sorted(homes) if home != "/"), r"/home/\w+", r"/Users/\w+"]
    )
    found = re.search(rf"(?<![\w.])(?:{pattern})(?=[/\s`\"']|$)", text)
    return found.group() if found else None
