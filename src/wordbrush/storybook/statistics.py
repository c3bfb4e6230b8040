"""Shares and means with the uncertainty they have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wordbrush.errors import InvalidInput


def share(right: Sequence[bool]) -> dict[str, float | int]:
    """Return the share of True with its 95 % Wilson interval: ``share``, ``low``, ``high``, ``of``."""
    n = len(right)
    if n == 0:
        return {"share": float("nan"), "low": float("nan"), "high": float("nan"), "of": 0}
    p, z = sum(right) / n, 1.96
    centre, spread = p + z * z / (2 * n), z * ((p * (1 - p) + z * z / (4 * n)) / n) ** 0.5
    scale = 1 + z * z / n
    return {"share": p, "low": (centre - spread) / scale, "high": (centre + spread) / scale, "of": n}


def mean(values: Sequence[float], *, resamples: int = 1000) -> dict[str, float | int]:
    """Return the mean with its 95 % bootstrap interval: ``mean``, ``low``, ``high``, ``of``; infinities are refused."""
    array = np.asarray(values, dtype=float)
    if array.size == 0:
        return {"mean": float("nan"), "low": float("nan"), "high": float("nan"), "of": 0}
    if not np.isfinite(array).all():
        raise InvalidInput("a mean of values that are not all finite says nothing")
    rng = np.random.default_rng(0)
    means = array[rng.integers(0, len(array), (resamples, len(array)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {"mean": float(array.mean()), "low": float(low), "high": float(high), "of": len(array)}
