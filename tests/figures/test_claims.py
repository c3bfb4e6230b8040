"""What two figures say can be seen in their pictures: measured on the embedded model, not only drawn."""

from __future__ import annotations

import numpy as np
import pytest

import wordbrush as wb
from wordbrush.figures import p2p_2_word_swap, p2p_9_fader
from wordbrush.figures.brush import INJECTED, Brush
from wordbrush.storybook import amounts
from wordbrush.storybook.judges import Judges


@pytest.fixture(scope="module")
def brush() -> Brush:
    return Brush(wb.load("storybook"))


def test_injection_keeps_the_place_that_the_same_noise_alone_loses(brush: Brush):
    targets = [
        p2p_2_word_swap.SOURCE.replace(p2p_2_word_swap.NOUN, word) for word in p2p_2_word_swap.WORDS[1:4]
    ]
    edited = brush.edit(p2p_2_word_swap.SOURCE, targets, seed=p2p_2_word_swap.SEED, **INJECTED)
    noise = brush.same_noise(targets, seed=p2p_2_word_swap.SEED)
    source, *others = Judges().read([edited.source, *edited.images, *noise]).outline
    overlaps = [float((source & other).sum() / (source | other).sum()) for other in others]
    assert np.mean(overlaps[:3]) > np.mean(overlaps[3:]) + 0.2


def test_what_is_turned_up_grows(brush: Brush):
    prompt, word, seed, strengths = p2p_9_fader.ROWS[-1]
    edits = [[wb.Reweight({word: strength})] for strength in strengths]
    result = brush.edit(prompt, [prompt] * len(strengths), seed=seed, edits=edits)
    subject = Judges().read([result.source]).outline[0].repeat(4, axis=0).repeat(4, axis=1)
    read = [amounts.colour(image, word, subject) for image in (result.source, *result.images)]
    assert read == sorted(read)
    assert read[-1] > 1.1 * read[0]
