"""The columns of osunlp/MagicBrush: edits of real pictures in turns, with a mask that is white where it may change.

The turns of one picture are the rows with its ``img_id``, one after the other, ``turn_index`` counting from 1; each
begins with the picture that the one before ended with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from wordbrush.dataset.formats.base import Content
from wordbrush.dataset.formats.lines import whole
from wordbrush.dataset.formats.pair import EditPair
from wordbrush.dataset.formats.parquet import Row, stored
from wordbrush.dataset.formats.table import PICTURE, TEXT, table_format
from wordbrush.errors import DataError


def from_row(row: Row) -> EditPair:
    """Read a row; ``img_id`` and ``turn_index`` become settings, and together the key."""
    image, turn = row.text("img_id"), _whole(row.values["turn_index"], row.where)
    return EditPair(
        key=f"{image}-{turn}",
        instruction=row.text("instruction"),
        before_picture=row.picture("source_img"),
        after_picture=row.picture("target_img"),
        mask_picture=row.optional_picture("mask_img"),
        settings={"img_id": image, "turn_index": turn},
    )


def to_row(pair: EditPair, number: int) -> dict[str, Any]:
    """Give the row of a pair; one that is no turn of a picture is the first turn of its own, named by its key."""
    image, turn = _turn(pair)
    return {
        "img_id": image,
        "turn_index": turn,
        "source_img": stored(pair.before_picture, f"{number:08d}_before"),
        "mask_img": stored(pair.mask_picture, f"{number:08d}_mask"),
        "instruction": pair.instruction,
        "target_img": stored(pair.after_picture, f"{number:08d}_after"),
    }


def _turn(pair: EditPair) -> tuple[str, int]:
    turn = _whole(pair.settings.get("turn_index", 1), f"pair {pair.key!r}")
    return str(pair.settings.get("img_id", pair.key)), turn


def _whole(turn: Any, where: str) -> int:
    return whole(turn, "turn_index", where, bits=32)


def in_turns(pairs: Iterable[EditPair]) -> Iterator[EditPair]:
    """Pass pairs on, refusing turns that are not in order.

    Raises:
        DataError: a turn that does not follow on the one before, or a picture whose turns are not together.
    """
    seen: set[str] = set()
    image, turn = "", 0
    for pair in pairs:
        before, (image, turn) = (image, turn), _turn(pair)
        if image == before[0]:
            if turn <= before[1]:
                raise DataError(
                    f"turn {turn} of {image!r} comes after turn {before[1]}: turns must be in order"
                )
        elif image in seen:
            raise DataError(f"the turns of {image!r} are not together: put them one after the other")
        seen.add(image)
        yield pair


TABLE = table_format(
    "magicbrush",
    "img_id, turn_index, source_img, mask_img, instruction, target_img: edits in turns",
    columns=[
        ("img_id", TEXT),
        ("turn_index", pa.int32()),
        ("source_img", PICTURE),
        ("mask_img", PICTURE),
        ("instruction", TEXT),
        ("target_img", PICTURE),
    ],
    split="train",
    from_row=from_row,
    to_row=to_row,
    required=("img_id", "turn_index", "source_img", "instruction", "target_img"),
    carries=["mask"],
)


def write(pairs: Iterable[EditPair], folder: Path) -> Content:
    """Write the split ``train``."""
    return TABLE.write(in_turns(pairs), folder)


FORMAT = replace(TABLE, write=write)
