"""How long one call of a stage may take, and whom to tell how far it is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Budget:
    """A wall-clock limit that begins when it is made.

    Args:
        minutes: the limit, 0 or more; at 0 it is spent at once.
        progress: called with (done, of all), in samples or shards, whichever the stage counts.
    """

    minutes: float = math.inf
    progress: Callable[[int, int], None] | None = None
    began: float = field(default_factory=time.monotonic, init=False)

    @property
    def seconds(self) -> float:
        """How many have gone by."""
        return time.monotonic() - self.began

    @property
    def spent(self) -> bool:
        """Whether the time is over."""
        return self.seconds >= 60 * self.minutes

    def tell(self, done: int, total: int) -> None:
        """Say how far the stage is."""
        if self.progress is not None:
            self.progress(done, total)
