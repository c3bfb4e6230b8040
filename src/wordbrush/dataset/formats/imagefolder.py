"""Picture files with one ``metadata.jsonl`` at the top: what Hugging Face ``imagefolder`` reads.

A key that ends in ``_file_name`` becomes a picture column without that ending. Written are ``input_image``,
``edit_prompt`` and ``edited_image``, so that diffusers' training example takes the folder, then captions, key, scores
and settings as far as a pair has them. Read are the names other data sets have for the same things, too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from wordbrush.dataset.formats.base import Content, Format, Split
from wordbrush.dataset.formats.lines import first, optional, read_objects
from wordbrush.dataset.formats.pair import EditPair
from wordbrush.dataset.formats.picture import Picture
from wordbrush.dataset.records import SCORES
from wordbrush.errors import DataError

METADATA = "metadata.jsonl"
BEFORE_IMAGE = ("input_image", "original_image", "source_image", "source_img", "before_image", "image_0")
AFTER_IMAGE = ("edited_image", "target_image", "target_img", "after_image", "image_1")
MASK = ("mask", "mask_image", "mask_img")
INSTRUCTION = ("edit_prompt", "instruction", "edit")
BEFORE = ("original_prompt", "source_caption", "caption", "input", "before")
AFTER = ("edited_prompt", "target_caption", "output", "after")
KNOWN = {
    "key",
    *INSTRUCTION,
    *BEFORE,
    *AFTER,
    *(f"{name}_file_name" for name in (*BEFORE_IMAGE, *AFTER_IMAGE, *MASK)),
}
PER_FOLDER = 1000


def read(source: Any, split: str | None) -> Iterator[EditPair]:
    """Yield the pairs in the order of the metadata; ``split`` is a folder inside, None the folder itself.

    Raises:
        DataError: no metadata, a line without pictures or instruction, a picture that is missing, outside the folder
            or does not decode.
    """
    folder = Path(source) / split if split else Path(source)
    if not (folder / METADATA).is_file():
        raise DataError(
            f"{folder} has no {METADATA}: expected one at the top, with keys such as 'input_image_file_name'"
        )
    for number, (where, values) in enumerate(read_objects(folder / METADATA)):
        mask = optional(values, _file_names(MASK))
        yield EditPair(
            key=str(values.get("key") or f"{number:08d}"),
            instruction=first(values, INSTRUCTION, where),
            before_picture=_picture(folder, first(values, _file_names(BEFORE_IMAGE), where), where),
            after_picture=_picture(folder, first(values, _file_names(AFTER_IMAGE), where), where),
            mask_picture=_picture(folder, mask, where, mask=True) if mask else None,
            before=optional(values, BEFORE),
            after=optional(values, AFTER),
            scores={
                name: float(value) for name, value in values.items() if name in SCORES and _is_number(value)
            },
            settings={
                name: value
                for name, value in values.items()
                if name not in KNOWN and name not in SCORES and value is not None
            },
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _file_names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{name}_file_name" for name in names)


def _picture(folder: Path, name: str, where: str, *, mask: bool = False) -> Picture:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{where}: {name} is outside of {folder}")
    try:
        return Picture.read(path, mask=mask)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def write(pairs: Iterable[EditPair], folder: Path) -> Content:
    """Write pictures as they are, or as PNG, and the metadata.

    Raises:
        DataError: no pairs, some with a mask and some without, or a setting with a name that is taken.
    """
    draft = folder / f"{METADATA}.draft"
    used: dict[str, None] = {}
    count = size = 0
    masked: bool | None = None
    with draft.open("w", encoding="utf-8") as file:
        for count, pair in enumerate(pairs, start=1):
            if masked is not None and masked != (pair.mask is not None):
                raise DataError(
                    f"{pair.key!r} differs in having a mask: imagefolder has one for all pairs or for none"
                )
            masked = pair.mask is not None
            pictures = {
                "input_image": pair.before_picture,
                "edited_image": pair.after_picture,
                "mask": pair.mask_picture,
            }
            names = {}
            for name, picture in pictures.items():
                if picture is not None:
                    names[name], written = _store(picture, folder, f"{count - 1:08d}_{name}")
                    size += written
            line = _line(pair, names)
            used |= dict.fromkeys(line)
            file.write(json.dumps(line) + "\n")
    if not count:
        raise DataError("there are no pairs to write: nothing was selected")
    _fill(draft, folder / METADATA, list(used))
    return Content({"train": Split(count, size)})


def _store(picture: Picture, folder: Path, name: str) -> tuple[str, int]:
    data, ending = picture.file()
    place = f"images/{int(name[:8]) // PER_FOLDER:05d}/{name}.{ending}"
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    (folder / place).write_bytes(data)
    return place, len(data)


def _line(pair: EditPair, names: Mapping[str, str]) -> dict[str, Any]:
    taken = [name for name in pair.settings if name in KNOWN or name in SCORES or name.endswith("file_name")]
    if taken:
        raise DataError(
            f"{pair.key!r} has a setting {taken[0]!r}, a name that imagefolder needs for something else"
        )
    line = {
        "input_image_file_name": names["input_image"],
        "edit_prompt": pair.instruction,
        "edited_image_file_name": names["edited_image"],
        "mask_file_name": names.get("mask"),
        "original_prompt": pair.before,
        "edited_prompt": pair.after,
        "key": pair.key,
        **{name: float(value) for name, value in pair.scores.items()},
        **pair.settings,
    }
    return {name: value for name, value in line.items() if value is not None}


def _fill(draft: Path, final: Path, columns: list[str]) -> None:
    """Give every line the same keys in the same order: readers take the first lines for all."""
    with draft.open(encoding="utf-8") as source, final.open("w", encoding="utf-8") as target:
        for line in source:
            values = json.loads(line)
            target.write(json.dumps({name: values.get(name) for name in columns}, ensure_ascii=False) + "\n")
    draft.unlink()


FORMAT = Format(
    "imagefolder",
    "picture files and metadata.jsonl with captions, scores and settings",
    frozenset({"captions", "mask", "scores", "settings"}),
    read,
    write,
)
