"""Figure 4: attention maps. Top: every word, averaged over the steps. Below: two words, step by step."""

from __future__ import annotations

from wordbrush.figures.brush import Brush
from wordbrush.figures.layout import Page
from wordbrush.figures.maps_sheet import labels, maps_sheet

SEED = 1
SOURCE = "an owl in a forest with a lantern"
FOLLOWED = ("owl", "lantern")


def draw(brush: Brush) -> Page:
    """Draw the picture with the average map of each of its words, then the followed words over the steps."""
    result = brush.generate([SOURCE], seed=SEED, maps=True)
    return maps_sheet(result.images[0], result.maps, labels(SOURCE), followed=FOLLOWED)
