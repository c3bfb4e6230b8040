"""The columns of timbrooks/instructpix2pix-clip-filtered, the published data set with one pair per prompt.

Seeds, scores and sampling settings are not in it; the layout of ``original`` has them.
"""

from __future__ import annotations

from typing import Any

from wordbrush.dataset.formats.pair import EditPair
from wordbrush.dataset.formats.parquet import Row, stored
from wordbrush.dataset.formats.table import PICTURE, TEXT, table_format


def from_row(row: Row) -> EditPair:
    """Read a row."""
    return EditPair(
        key=row.name,
        before=row.text("original_prompt"),
        before_picture=row.picture("original_image"),
        instruction=row.text("edit_prompt"),
        after=row.text("edited_prompt"),
        after_picture=row.picture("edited_image"),
    )


def to_row(pair: EditPair, number: int) -> dict[str, Any]:
    """Give the row of a pair."""
    return {
        "original_prompt": pair.before,
        "original_image": stored(pair.before_picture, f"{number:08d}_before"),
        "edit_prompt": pair.instruction,
        "edited_prompt": pair.after,
        "edited_image": stored(pair.after_picture, f"{number:08d}_after"),
    }


FORMAT = table_format(
    "clip_filtered",
    "original_prompt, original_image, edit_prompt, edited_prompt, edited_image: the published data set on the hub",
    columns=[
        ("original_prompt", TEXT),
        ("original_image", PICTURE),
        ("edit_prompt", TEXT),
        ("edited_prompt", TEXT),
        ("edited_image", PICTURE),
    ],
    split="train",
    from_row=from_row,
    to_row=to_row,
    required=("original_prompt", "original_image", "edit_prompt", "edited_prompt", "edited_image"),
    carries=["captions"],
    needs=["captions"],
)
