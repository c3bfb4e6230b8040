"""Programs beside the package, in ``scripts`` and ``benchmarks``, as modules."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def module(path: str) -> Any:
    """Run a file and return it as a module."""
    found = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert found
    assert found.loader
    made = importlib.util.module_from_spec(found)
    found.loader.exec_module(made)
    return made
