"""Figure 8 of InstructPix2Pix: the editor against SDEdit, consistency with the picture over that with the edit."""

from __future__ import annotations

from collections.abc import Sequence

from wordbrush.evaluation.method import Method
from wordbrush.evaluation.methods import make_methods
from wordbrush.evaluation.summary import Curve
from wordbrush.figures.brush import Brush
from wordbrush.figures.layout import Page
from wordbrush.figures.measured import draw_curves, rows_of

NAMES = {
    "instruct": "instruction editor, image guidance",
    "sdedit": "SDEdit with the output caption, strength",
    "sdedit-instruction": "SDEdit with the edit string, strength",
}


def draw(brush: Brush) -> Page:
    """Draw one curve of each method; the number at a point is the setting that varies."""

    def methods() -> Sequence[Method]:
        return make_methods(
            list(NAMES),
            editors=[brush.editor],
            model=brush.short_drawer,
            sampling={} if brush.steps is None else {"steps": brush.steps},
        )

    rows = rows_of(brush, methods)
    editors = {row.settings["model"] for row in rows if row.method == "instruct"}

    def label(curve: Curve) -> str | None:
        name = NAMES.get(curve.method)
        return f"{name} ({curve.label})" if name and curve.method == "instruct" and len(editors) > 1 else name

    page = Page()
    draw_curves(page, rows, label)
    return page
