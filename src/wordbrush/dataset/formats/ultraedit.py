"""The columns of BleachNick/UltraEdit_500k, and of UltraEdit_Region_Based_100k, which has the edited object and a mask.

Their splits are called ``FreeForm`` and ``RegionBase``; the full set has ``FreeForm_0``, ``FreeForm_1``, …: ask for the
split ``"FreeForm_*"``.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from wordbrush.dataset.formats.lines import number as read_number
from wordbrush.dataset.formats.lines import whole
from wordbrush.dataset.formats.pair import EditPair
from wordbrush.dataset.formats.parquet import Row, stored
from wordbrush.dataset.formats.table import NUMBER, PICTURE, TEXT, table_format

SCORES = {
    "clip_sim_source": "clip_before",
    "clip_sim_target": "clip_after",
    "clip_sim_dir": "clip_direction",
    "clip_sim_image": "clip_image",
    "dinov2_sim": "dinov2",
    "ssim": "ssim",
}
"""Its columns, and what the scores are called here."""

REQUIRED = ("source_caption", "target_caption", "edit_prompt", "source_image", "edited_image")
COLUMNS = [
    *((column, NUMBER) for column in SCORES),
    ("source_caption", TEXT),
    ("target_caption", TEXT),
    ("idx", pa.int64()),
    ("edit_prompt", TEXT),
    ("source_image", PICTURE),
    ("edited_image", PICTURE),
]


def from_row(row: Row) -> EditPair:
    """Read a row of either; ``idx`` and ``edit_object`` become settings."""
    settings = {name: row.values.get(name) for name in ("idx", "edit_object")}
    return EditPair(
        key=row.name,
        before=row.text("source_caption"),
        instruction=row.text("edit_prompt"),
        after=row.text("target_caption"),
        before_picture=row.picture("source_image"),
        after_picture=row.picture("edited_image"),
        mask_picture=row.optional_picture("mask_image"),
        scores=row.numbers(SCORES),
        settings={name: value for name, value in settings.items() if value is not None},
    )


def to_row(pair: EditPair, number: int) -> dict[str, Any]:
    """Give the row of a pair; without an ``idx`` of its own it gets its number.

    Raises:
        DataError: an ``idx`` that is no whole number, or a score that is no number.
    """
    where = f"pair {pair.key!r}"
    known = {column: pair.scores[name] for column, name in SCORES.items() if name in pair.scores}
    return {
        **dict.fromkeys(SCORES),
        **{column: read_number(score, column, where) for column, score in known.items()},
        "source_caption": pair.before,
        "target_caption": pair.after,
        "idx": whole(pair.settings.get("idx", number), "idx", where, bits=64),
        "edit_prompt": pair.instruction,
        "source_image": stored(pair.before_picture, f"{number:08d}_before"),
        "edited_image": stored(pair.after_picture, f"{number:08d}_after"),
    }


def to_region_row(pair: EditPair, number: int) -> dict[str, Any]:
    """Give the row of a pair with a mask."""
    return {
        **to_row(pair, number),
        "edit_object": pair.settings.get("edit_object"),
        "mask_image": stored(pair.mask_picture, f"{number:08d}_mask"),
    }


FORMAT = table_format(
    "ultraedit",
    "source_image, edit_prompt, edited_image, captions and scores; the split is FreeForm",
    columns=COLUMNS,
    split="FreeForm",
    from_row=from_row,
    to_row=to_row,
    required=REQUIRED,
    carries=["captions", "scores"],
    needs=["captions"],
)
REGION = table_format(
    "ultraedit_region",
    "as ultraedit, with edit_object and mask_image; the split is RegionBase",
    columns=[*COLUMNS, ("edit_object", TEXT), ("mask_image", PICTURE)],
    split="RegionBase",
    from_row=from_row,
    to_row=to_region_row,
    required=(*REQUIRED, "mask_image"),
    carries=["captions", "scores", "mask"],
    needs=["captions", "mask"],
)
