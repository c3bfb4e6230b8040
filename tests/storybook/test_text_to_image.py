"""What the training of the text-to-image model draws more often, and what it weighs more."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wordbrush.storybook.recipe.lessons import FIGURE_WEIGHTS, SETTLED, drawn_rows, figure_weights
from wordbrush.storybook.scene import Scene


def test_companions_and_pixel_art_come_three_times():
    scenes = [
        Scene("cat", "beach"),
        Scene("cat", "beach", companion="kite"),
        Scene("cat", "beach", style="pixel art"),
        Scene("cat", "beach", style="pixel art", companion="kite"),
        Scene("cat", "beach", style="watercolor"),
    ]
    assert np.bincount(drawn_rows(scenes)).tolist() == [1, 3, 3, 3, 1]


def test_figures_weigh_more_once_their_place_is_settled():
    figures = torch.zeros(2, 2, 4, 4)
    figures[:, 0, 0] = 1.0  # the subject, along the top
    figures[:, 1, 3] = 0.5  # the companion covers half of each place below
    weight = figure_weights(figures, torch.tensor([SETTLED / 2, 0.9]))
    assert weight.shape == (2, 1, 4, 4)
    assert weight.mean().item() == pytest.approx(1)
    assert weight[0].min() == weight[0].max()
    subject, companion = FIGURE_WEIGHTS
    row = weight[1, 0, :, 0] / weight[1, 0, 1, 0]
    assert row.tolist() == pytest.approx([subject, 1, 1, 1 + (companion - 1) / 2])
