"""A measure of one's own, and a data set filtered by it.

    python examples/add_a_metric.py data-set kept

reads a data set of any format that wordbrush writes, measures each pair, and writes those that pass as another one.
"""

import sys
from pathlib import Path

import numpy as np

from wordbrush.dataset import formats
from wordbrush.metrics.pixels import unit_pixels

FORMAT = "imagefolder"


def brightness_change(before, after):
    """Return how much lighter a picture has become on average, in [-1, 1]."""
    first, second = unit_pixels(before, after)
    return float(np.mean(second) - np.mean(first))


def kept(folder):
    """Yield the pairs whose brightness stays within a tenth, and say the measure of each."""
    for pair in formats.read(FORMAT, folder):
        change = brightness_change(pair.before_image, pair.after_image)
        print(f"{change:+.3f}  {pair.instruction}")
        if abs(change) <= 0.1:
            yield pair


source, target = map(Path, sys.argv[1:])
written = formats.write(FORMAT, kept(source), target)
print(f"{written.pairs} pairs in {target}")
