"""Packages that only some work needs, and that come with an extra."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from wordbrush.errors import InvalidInput


def optional(package: str, *, extra: str, why: str, instead: str = "") -> Any:
    """Import a package, or a module of one.

    Args:
        extra: what to install it with.
        why: what needs it, as the beginning of a sentence.
        instead: how to do without it, as the end of that sentence.

    Raises:
        InvalidInput: it is not installed; the message says how to install it.
    """
    try:
        return import_module(package)
    except ImportError as error:
        name = package.partition(".")[0]
        without = f", or {instead}" if instead else ""
        raise InvalidInput(
            f"{why} needs the package {name}: pip install 'wordbrush[{extra}]'{without}"
        ) from error
