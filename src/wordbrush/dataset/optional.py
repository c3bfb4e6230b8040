"""Packages that only some stages need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from wordbrush.errors import DataError


def optional(package: str, *, extra: str, why: str) -> Any:
    """Import a package that comes with an extra.

    Args:
        why: what needs it, as the beginning of a sentence.

    Raises:
        DataError: it is not installed, and how to install it.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise DataError(f"{why} needs the package {package}: pip install 'wordbrush[{extra}]'") from error
