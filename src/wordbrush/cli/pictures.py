"""Which arguments of a command are pictures: files, folders and patterns; and which is the instruction."""

from __future__ import annotations

from collections.abc import Sequence
from glob import glob
from pathlib import Path

from wordbrush.cli.parse import BadOption

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif")
"""What files are taken for pictures in a folder, in any case; a file named by itself may be called anything."""


def split_instruction(arguments: Sequence[str], to: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what names pictures, and the instructions: those of ``--to``, or else the last argument."""
    if to:
        return list(arguments), list(to)
    *pictures, last = arguments
    if last and (Path(last).suffix.lower() in ENDINGS or Path(last).exists()):
        if pictures and not any(Path(one).suffix or Path(one).exists() for one in pictures):
            raise BadOption(
                f"the picture comes first, then the instruction: {last!r} before {pictures[-1]!r}"
            )
        raise BadOption(
            f"what to change is missing: the last argument, {last!r}, is a picture or a folder; end with an "
            'instruction such as "make it night", or give it with --to'
        )
    if not pictures:
        raise BadOption(f"the picture is missing: give a file, folder or pattern before {last!r}")
    return pictures, [last]


def find_pictures(names: Sequence[str]) -> list[Path]:
    """Return the files that are named: themselves, all pictures of a folder, or what a pattern matches, each once.

    Raises ``BadOption`` for folders and patterns without any; whether a file can be read is seen later.
    """
    return list(dict.fromkeys(path for name in names for path in _find(name)))


def _find(name: str) -> list[Path]:
    path = Path(name)
    if path.is_dir():
        inside = sorted(one for one in path.iterdir() if one.suffix.lower() in ENDINGS and one.is_file())
        if not inside:
            raise BadOption(f"there are no pictures in the folder {name}: none ends in {', '.join(ENDINGS)}")
        return inside
    if path.exists() or not any(character in name for character in "*?["):
        return [path]
    matching = sorted(one for one in map(Path, glob(name, recursive=True)) if one.is_file())
    if not matching:
        raise BadOption(f"nothing matches {name!r}")
    return matching
