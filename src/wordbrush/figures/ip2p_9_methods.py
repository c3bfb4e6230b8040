"""Figure 9 of InstructPix2Pix: methods side by side, asked by the caption after the edit or by the edit string."""

from __future__ import annotations

from dataclasses import replace

from PIL.Image import Image

from wordbrush.baselines.sdedit import sdedit
from wordbrush.baselines.text2live import PRESETS, text2live
from wordbrush.figures.brush import Brush
from wordbrush.figures.caption import instruction, prompt, quiet
from wordbrush.figures.grid import CELL, GAP, SIZE, Cell, column, row
from wordbrush.figures.inputs import SCENES
from wordbrush.figures.layout import RULE, Page, text_height
from wordbrush.metrics.clip import load_clip

EXAMPLES = (
    ("bus", "make the bus red", "a red bus in a meadow", 0),
    ("house", "make it snow", "a house in a forest in the snow", 1),
    ("castle", "turn it into a watercolor", "a watercolor of a castle by a lake", 2),
    ("horse", "turn the horse into an elephant", "an elephant near a mountain", 3),
)
"""The picture, the edit string, the caption after the edit, and the seed."""

HEADS = ("Input", "SDEdit-OC", "Text2LIVE", "SDEdit-E", "Editor")
STRENGTH = 0.6


def draw(brush: Brush) -> Page:
    """Draw an example to a row: in the middle the methods that read a caption, at the right those that read an edit."""
    page = Page()
    for number, head in enumerate(HEADS):
        page.text(quiet(head), column(number) + CELL / 2, 0, size=SIZE + 1, align="center")
    y = text_height("x", SIZE + 1) + 0.5 * GAP
    for number, (name, said, after, seed) in enumerate(EXAMPLES):
        if number:
            page.line([(0, y), (column(len(HEADS)) - GAP, y)], colour=RULE, line=0.3)
            y += 1.5 * GAP
        before = brush.picture(name)
        images = [
            before,
            redrawn(brush, before, after, seed),
            layered(brush, before, SCENES[name][0], after, seed),
            redrawn(brush, before, said, seed),
            *brush.instruct(before, [said], seed=seed),
        ]
        y = row(page, [Cell(image, source=image is before) for image in images], 0, y) + 0.5 * GAP
        texts = (prompt(after), instruction(said))
        for text, first in zip(texts, (1, 3), strict=True):
            middle = column(first) + CELL + GAP / 2
            page.text(text, middle, y, size=SIZE, align="center", width=2 * CELL)
        y += max(text_height(text, SIZE, 2 * CELL) for text in texts) + 1.5 * GAP
    return page


def redrawn(brush: Brush, before: Image, text: str, seed: int) -> Image:
    """Return what SDEdit makes of a picture."""
    made = sdedit(
        brush.drawer,
        [before],
        [text],
        strength=STRENGTH,
        seeds=[brush.seed_of(seed)],
        steps=brush.steps,
        progress=brush.progress,
    )
    return made.images[0]


def layered(brush: Brush, before: Image, source: str, after: str, seed: int) -> Image:
    """Return what Text2LIVE makes of a picture, with the storybook's contrastive model."""
    preset = PRESETS["storybook"]
    settings = preset if brush.steps is None else replace(preset, steps=brush.steps)
    made = text2live(
        before,
        after,
        source=source,
        clip=load_clip("storybook", device=brush.drawer.device),
        settings=settings,
        seed=brush.seed_of(seed),
        progress=brush.progress,
    )
    return made.image
