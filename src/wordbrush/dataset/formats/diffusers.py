"""The columns that the InstructPix2Pix training example of diffusers expects: fusing/instructpix2pix-1000-samples.

The split is called ``train``; the order of the columns is the one the example falls back to.
"""

from __future__ import annotations

from typing import Any

from wordbrush.dataset.formats.pair import EditPair
from wordbrush.dataset.formats.parquet import Row, stored
from wordbrush.dataset.formats.table import PICTURE, TEXT, table_format


def from_row(row: Row) -> EditPair:
    """Read a row; the captions are not in it."""
    return EditPair(
        key=row.name,
        instruction=row.text("edit_prompt"),
        before_picture=row.picture("input_image"),
        after_picture=row.picture("edited_image"),
    )


def to_row(pair: EditPair, number: int) -> dict[str, Any]:
    """Give the row of a pair."""
    return {
        "input_image": stored(pair.before_picture, f"{number:08d}_before"),
        "edit_prompt": pair.instruction,
        "edited_image": stored(pair.after_picture, f"{number:08d}_after"),
    }


FORMAT = table_format(
    "diffusers",
    "input_image, edit_prompt, edited_image: what the training example of diffusers reads",
    columns=[("input_image", PICTURE), ("edit_prompt", TEXT), ("edited_image", PICTURE)],
    split="train",
    from_row=from_row,
    to_row=to_row,
    required=("input_image", "edit_prompt", "edited_image"),
)
