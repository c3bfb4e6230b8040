"""What a number that a caller gives must be: True is no number, and neither is infinity."""

from __future__ import annotations

import math
from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any, TypeGuard

import numpy as np

from wordbrush.errors import InvalidInput


def is_whole(value: object) -> TypeGuard[int]:
    """Tell whether a value is a whole number, numpy's too."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value is a finite number, numpy's too."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def check_count(name: str, value: object, most: int | None = None, limit: str = "") -> int:
    """Return a count. Raises ``InvalidInput`` unless it is a whole number from 1 to ``most``, which is ``limit``."""
    if not is_whole(value) or value < 1 or (most is not None and value > most):
        allowed = "of at least 1" if most is None else f"from 1 to {most}, {limit}"
        raise InvalidInput(f"{name} must be a whole number {allowed}, not {value!r}")
    return int(value)


def several(name: str, value: Any) -> list[Any] | None:
    """Return the items of a list, tuple, range or array of one dimension; None for a single value.

    Raises:
        InvalidInput: an iterator, which can be read once only and has no length.
    """
    if isinstance(value, list | tuple | range) or (isinstance(value, np.ndarray) and value.ndim == 1):
        return list(value)
    if isinstance(value, Iterator):
        raise InvalidInput(f"{name} are one, or a list, not a {type(value).__name__}: give list(…) of it")
    return None


def check_seed(seed: object) -> int:
    """Return a seed. Raises ``InvalidInput`` unless it is a whole number that a generator takes."""
    if not is_whole(seed) or not 0 <= int(seed) < 2**63:
        raise InvalidInput(f"a seed is a whole number of at least 0 and below 2⁶³, not {seed!r}")
    return int(seed)
