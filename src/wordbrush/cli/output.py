"""Where results go, one captioned picture or a folder with every picture by itself, and what is said of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wordbrush.cli.console import out, print_json
from wordbrush.cli.parse import BadOption
from wordbrush.files import check_writable, versions

OTHER_PICTURES = {".jpg", ".jpeg", ".webp", ".gif", ".tif", ".tiff", ".bmp"}


@dataclass(frozen=True)
class Destination:
    """Either ``file`` (one picture) or ``folder`` is set."""

    folder: Path | None = None
    file: Path | None = None

    @property
    def place(self) -> Path:
        """The path that the user is told."""
        place = self.file or self.folder
        assert place is not None
        return place


def destination(output: Path | None, name: str) -> Destination:
    """Read ``--output``: a .png is one picture, everything else a folder, None the folder ``out/<name>``.

    Raises ``BadOption`` for other picture formats, ``CannotWrite`` if the place is clearly not writable.
    """
    if output is None:
        output = Path("out") / name
    if output.suffix.lower() in OTHER_PICTURES:
        raise BadOption(
            f"--output {output}: pictures are written as PNG; use {output.with_suffix('.png').name} or a folder"
        )
    chosen = Destination(file=output) if output.suffix.lower() == ".png" else Destination(folder=output)
    if chosen.file and chosen.file.is_dir():
        raise BadOption(
            f"--output {output} is a folder; give a file name inside it, or a folder without .png"
        )
    if chosen.folder and chosen.folder.exists() and not chosen.folder.is_dir():
        raise BadOption(
            f"--output {output} is a file, not a folder; to write one picture use a name that ends in .png"
        )
    check_writable(output)
    return chosen


def with_versions(settings: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return ``settings`` with ``more`` and the versions, as it is put into pictures and printed as JSON."""
    return {**settings, **more, "versions": versions()}


def tell(files: Iterable[Path], text: str, *, json: bool, **more: Any) -> None:
    """Print what was written: its paths and ``more`` as JSON, or ``text``."""
    if json:
        print_json({"files": [str(path) for path in files], **more})
    else:
        out.print(text, soft_wrap=True)


def seeded(made: Sequence[tuple[str, int]]) -> list[str]:
    """Return the captions of pictures, given as (text, seed): with the seeds where these differ."""
    several = len({seed for _, seed in made}) > 1
    return [f"{text}, seed {seed}" if several else text for text, seed in made]
