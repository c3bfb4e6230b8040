"""The figures of both papers, made again with any model: one file per figure.

Prompt-to-Prompt is arXiv:2208.01626, InstructPix2Pix arXiv:2211.09800.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wordbrush.errors import InvalidInput, nearest

if TYPE_CHECKING:
    from wordbrush.figures.brush import Brush
    from wordbrush.figures.layout import Page


@dataclass(frozen=True)
class Entry:
    """A figure: the module whose ``draw(brush) -> Page`` makes it, what it shows, and what it is drawn with.

    Args:
        needs: of ``"model"``, a text-to-image model, and ``"editor"``, an instruction editor.
        own: whether it shows a picture of the user's instead, if there is one.
        measured: whether it shows an evaluation.
    """

    module: str
    shows: str
    needs: tuple[str, ...] = ("model",)
    own: bool = False
    measured: bool = False


BOTH = ("model", "editor")

FIGURES: dict[str, Entry] = {
    "p2p-1": Entry("p2p_1_teaser", "six edits: weaken, swap, add, strengthen, describe, restyle"),
    "p2p-2": Entry(
        "p2p_2_word_swap", "a word swapped, with attention injection and with the same noise only"
    ),
    "p2p-3": Entry("p2p_3_method", "the method as a diagram with real attention maps"),
    "p2p-4": Entry("p2p_4_maps", "attention maps of every word, averaged and step by step"),
    "p2p-5": Entry("p2p_5_one_word", "only one word's maps injected: the object stays, its context changes"),
    "p2p-6": Entry("p2p_6_injection", "injection for none to all of the steps"),
    "p2p-7": Entry("p2p_7_refinement", "words added: local and global descriptions"),
    "p2p-8": Entry("p2p_8_styles", "styles added and removed"),
    "p2p-9": Entry("p2p_9_fader", "one word turned down and up"),
    "ip2p-1": Entry("ip2p_1_teaser", "six pictures, each edited by an instruction", ("editor",), own=True),
    "ip2p-2": Entry("ip2p_2_pipeline", "how editing data is made, from a caption to selected pairs"),
    "ip2p-3": Entry("ip2p_3_pairs", "pairs of pictures with and without Prompt-to-Prompt"),
    "ip2p-4": Entry(
        "ip2p_4_scales", "one edit at several scales of text and image guidance", ("editor",), own=True
    ),
    "ip2p-5": Entry("ip2p_5_mediums", "pictures in various artistic mediums", ("editor",), own=True),
    "ip2p-6": Entry("ip2p_6_subjects", "a picture with new context and subjects", ("editor",), own=True),
    "ip2p-7": Entry("ip2p_7_ways", "a picture transformed in a variety of ways", ("editor",), own=True),
    "ip2p-8": Entry("ip2p_8_curves", "the editor against SDEdit, measured", BOTH, measured=True),
    "ip2p-9": Entry("ip2p_9_methods", "SDEdit, Text2LIVE and the editor side by side", BOTH),
    "ip2p-10": Entry(
        "ip2p_10_ablations", "editors trained otherwise, each an --editor", ("editor",), measured=True
    ),
    "table-1": Entry("ip2p_table_1", "triplets written by hand and by the storybook writer", ()),
}
GROUPS = {
    "p2p-all": tuple(name for name in FIGURES if name.startswith("p2p-")),
    "ip2p-all": tuple(name for name in FIGURES if not name.startswith("p2p-")),
}
"""All figures of a paper."""


def chosen(names: list[str]) -> list[str]:
    """Return the figures that ``names`` mean, groups expanded; raises ``InvalidInput`` for an unknown one."""
    for name in names:
        if name not in FIGURES and name not in GROUPS:
            raise InvalidInput(
                f"unknown figure {name!r}{nearest(name, [*FIGURES, *GROUPS])}; figures are {', '.join(FIGURES)}, "
                f"{' and '.join(GROUPS)}"
            )
    return list(dict.fromkeys(figure for name in names for figure in GROUPS.get(name, (name,))))


def load(name: str) -> Callable[[Brush], Page]:
    """Return the function that draws a figure; imports matplotlib."""
    return importlib.import_module(f"wordbrush.figures.{FIGURES[name].module}").draw
