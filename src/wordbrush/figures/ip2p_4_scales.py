"""Figure 4 of InstructPix2Pix: one edit at several scales of text guidance and of image guidance."""

from __future__ import annotations

from wordbrush.figures.brush import Brush
from wordbrush.figures.caption import instruction, math, quiet
from wordbrush.figures.grid import CELL, GAP, SIZE, Cell, column, row
from wordbrush.figures.layout import INK, Page

PICTURE, SAID, SEED = "rabbit", "turn the rabbit into a robot", 1
TEXT = (0.4, 2 / 3, 1.0, 4 / 3)  # of the editor's own scale: 3, 5, 7.5 and 10 for the published one
IMAGE = (1.0, 1.2, 1.5, 2.0)
LABEL = 0.26  # width of the labels at the left


def draw(brush: Brush) -> Page:
    """Draw the picture and its instruction on top, then text guidance down and image guidance across."""
    said = next(iter(brush.instructions), SAID)
    before = brush.picture(PICTURE)
    page = Page()
    left, right = LABEL, column(len(IMAGE), x=LABEL) - GAP
    middle = (left + right) / 2
    y = page.picture(before, middle - CELL / 2, 0, width=CELL, edge=INK) + GAP
    label = [*quiet("edit instruction: "), *instruction(said)]
    y += page.text(label, middle, y, size=SIZE + 1, align="center", width=right - left) + 2 * GAP
    for number, scale in enumerate(IMAGE):
        page.text(math(f"s_I = {scale:g}"), column(number, x=left) + CELL / 2, y, size=SIZE, align="center")
    y += page.text(" ", left, y, size=SIZE) + 0.5 * GAP
    for text in (round(share * brush.editor.defaults.text_guidance, 1) for share in TEXT):
        images = [
            brush.instruct(before, [said], seed=SEED, text_guidance=text, image_guidance=image)[0]
            for image in IMAGE
        ]
        bottom = row(page, [Cell(image) for image in images], left, y)
        page.text(math(f"s_T = {text:g}"), 0, (y + bottom) / 2, size=SIZE, upright=False)
        y = bottom + GAP
    return page
