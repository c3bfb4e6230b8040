"""Everything random in a step, as pure functions of (seed, step, position): what makes a stopped run exactly resumable.

After EDM2 (arXiv:2312.02696): no generator is carried from one step to the next, so there is none to save, and neither
the number of processes nor the size of a micro-batch changes what is drawn for a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock

import numpy as np

BLOCK = 1024
"""Steps whose buckets are drawn together."""


def hash_seed(*numbers: int) -> int:
    """Mix whole numbers into one generator seed."""
    return int(np.random.SeedSequence(list(numbers)).generate_state(1, np.uint64)[0] >> 1)


def indices_at(step: int, batch: int, count: int, seed: int) -> np.ndarray:
    """Return the data indices of one step: consecutive pieces of one permutation per epoch, (batch,) int64."""
    positions = np.arange(step * batch, (step + 1) * batch)
    return np.array([_permutation(seed, int(p // count), count)[p % count] for p in positions])


@lru_cache(maxsize=8)
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(count)


class Order:
    """Which item stands at which position of which step.

    A batch has pictures of one shape. Its bucket is drawn with a chance proportional to the bucket's items; within a
    bucket every item comes once before any comes again.

    Args:
        buckets: the number of items of each shape, each above 0.
        batch: items of a step.
        seed: what everything is drawn from.
    """

    def __init__(self, buckets: Sequence[int], *, batch: int, seed: int) -> None:
        self.buckets, self.batch, self.seed = tuple(buckets), batch, seed
        self._before = [np.zeros(len(self.buckets), dtype=np.int64)]
        self._lock = Lock()

    def at(self, step: int) -> tuple[int, np.ndarray]:
        """Return the bucket of a step and the items within it, (batch,)."""
        bucket, turn = self._turn(step)
        seed = hash_seed(self.seed, bucket)
        return bucket, indices_at(turn, self.batch, self.buckets[bucket], seed)

    def _turn(self, step: int) -> tuple[int, int]:
        """Return the bucket of a step and how often it has come before."""
        if len(self.buckets) == 1:
            return 0, step
        block, place = divmod(step, BLOCK)
        with self._lock:
            while len(self._before) <= block:
                drawn = self._drawn(len(self._before) - 1)
                self._before.append(self._before[-1] + np.bincount(drawn, minlength=len(self.buckets)))
        drawn = self._drawn(block)
        bucket = int(drawn[place])
        return bucket, int(self._before[block][bucket] + np.count_nonzero(drawn[:place] == bucket))

    def _drawn(self, block: int) -> np.ndarray:
        share = np.array(self.buckets) / sum(self.buckets)
        return np.random.default_rng([self.seed, block]).choice(len(share), size=BLOCK, p=share)


@dataclass(frozen=True)
class Draw:
    """What is drawn for one picture of one step; all uniform in [0, 1).

    Args:
        choice: which of a prompt's pairs.
        resize, top, left: the size before the crop, and where the crop is.
        flip: mirrored where below 0.5.
        drop: the one draw behind both conditioning dropouts.
        timestep: of the noise.
        wording: which of an instruction's wordings.
        seed: of the normal draws.
    """

    choice: float
    resize: float
    top: float
    left: float
    flip: float
    drop: float
    timestep: float
    wording: float
    seed: int


def draw(seed: int, step: int, position: int) -> Draw:
    """Return the draws of the picture at a position of the whole batch, counted over all processes."""
    uniform = np.random.default_rng([seed, step, position]).random(8)
    return Draw(*map(float, uniform), seed=hash_seed(seed, step, position))
