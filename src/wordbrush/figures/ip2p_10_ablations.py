"""Figure 10 of InstructPix2Pix: editors trained on less data, or on pairs that CLIP did not filter."""

from __future__ import annotations

from collections.abc import Sequence

from wordbrush.errors import InvalidInput
from wordbrush.evaluation.method import Method
from wordbrush.evaluation.methods import make_methods
from wordbrush.evaluation.summary import Curve
from wordbrush.figures.brush import Brush
from wordbrush.figures.layout import Page
from wordbrush.figures.measured import draw_curves, rows_of


def draw(brush: Brush) -> Page:
    """Draw one curve of image guidance for every editor.

    Raises:
        InvalidInput: there is only one editor.
    """
    if brush.results is None and len(brush.editors) < 2:
        raise InvalidInput(
            "ip2p-10 compares editors that were trained otherwise: train some with `wordbrush train CONFIG.toml --set "
            "data.share=0.1 -o DIR`, or on pairs selected otherwise, and give each as --editor LABEL=DIR/editor; "
            "benchmarks/ablations.py does all of it"
        )

    def methods() -> Sequence[Method]:
        sampling = {} if brush.steps is None else {"steps": brush.steps}
        return make_methods(["instruct"], editors=list(brush.editors.values()), sampling=sampling)

    labels = {**brush.labels, **{editor.model.name: label for label, editor in brush.editors.items()}}

    def label(curve: Curve) -> str | None:
        if curve.method != "instruct":
            return None
        return labels.get(curve.settings["model"], curve.label)

    page = Page()
    draw_curves(page, rows_of(brush, methods), label)
    return page
