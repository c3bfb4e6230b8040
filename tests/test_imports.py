"""Imports go inward, and nothing heavy is imported before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import wordbrush

PACKAGE = Path(wordbrush.__file__).parent
HEAVY = (
    "torch",
    "diffusers",
    "transformers",
    "scipy",
    "matplotlib",
    "accelerate",
    "pyarrow",
    "duckdb",
    "ray",
    "gradio",
)

# Ring 0 is pure: no model, device or file. Ring 1 touches models. Ring 2 uses both. The longest match counts.
RINGS = {
    "wordbrush.version": 0,
    "wordbrush.errors": 0,
    "wordbrush.checks": 0,
    "wordbrush.vocabulary": 0,
    "wordbrush.optional": 0,
    "wordbrush.edits": 0,
    "wordbrush.guidance": 0,
    "wordbrush.sizes": 0,
    "wordbrush.storybook": 2,
    "wordbrush.storybook.scene": 0,
    "wordbrush.config": 1,
    "wordbrush.canvas": 1,
    "wordbrush.changed": 1,
    "wordbrush.files": 1,
    "wordbrush.instruct": 1,
    "wordbrush.instruct_run": 1,
    "wordbrush.contact": 1,
    "wordbrush.ancestral": 1,
    "wordbrush.autoencoders": 1,
    "wordbrush.backbones": 1,
    "wordbrush.baselines": 1,
    "wordbrush.metrics": 1,
    "wordbrush.models": 1,
    "wordbrush.offload": 1,
    "wordbrush.parts": 1,
    "wordbrush.single_file": 1,
    "wordbrush.quiet": 1,
    "wordbrush.saving": 1,
    "wordbrush.stock": 1,
    "wordbrush.sampling": 1,
    "wordbrush.results": 1,
    "wordbrush.run": 1,
    "wordbrush.inversion": 1,
    "wordbrush.pictures": 1,
    "wordbrush.fitting": 1,
    "wordbrush.masks": 1,
    "wordbrush.prompt_to_prompt": 1,
    "wordbrush.dataset": 2,
    "wordbrush.push": 2,
    "wordbrush.training": 2,
    "wordbrush.evaluation": 2,
    "wordbrush.parity": 2,
    "wordbrush.figures": 2,
    "wordbrush.studio": 2,
    "wordbrush.cli": 2,
    "wordbrush.__main__": 2,
}
# The package itself only forwards names, and a package's own __init__ is no dependency.
NO_RING = {"wordbrush", "wordbrush.storybook"}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ("wordbrush", *path.relative_to(PACKAGE).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def ring(module: str) -> int | None:
    """The ring of a module, by the longest name in the table that it is or is inside of."""
    names = [name for name in RINGS if module == name or module.startswith(f"{name}.")]
    return RINGS[max(names, key=len)] if names else None


def imports(path: Path) -> set[str]:
    """The wordbrush modules that a file imports anywhere but for type checking only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {_resolved(node.module, alias.name) for alias in node.names}
    return {name for name in found if name.split(".")[0] == "wordbrush"} - NO_RING


def _resolved(module: str, name: str) -> str:
    """``from package import module`` imports the module, ``from module import name`` the module before it."""
    return f"{module}.{name}" if f"{module}.{name}" in MODULES else module


MODULES = modules()


def test_every_module_has_a_ring():
    assert len(MODULES) > 30
    assert [module for module in MODULES if module not in NO_RING and ring(module) is None] == []


def test_imports_go_inward():
    outward = [
        f"{module} (ring {ring(module)}) imports {other} (ring {ring(other)})"
        for module, path in MODULES.items()
        if module not in NO_RING
        for other in imports(path)
        if (ring(other) or 0) > (ring(module) or 0)
    ]
    assert outward == []


def imported_by(code: str, *arguments: str) -> set[str]:
    """The top-level modules that are loaded when ``code`` ends, in a fresh interpreter."""
    program = f"import atexit, sys\natexit.register(lambda: print('\\nLOADED', *sys.modules))\n{code}"
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return {name.split(".")[0] for name in done.stdout.rpartition("LOADED")[2].split()}


def test_the_probe_sees_heavy_modules():
    assert "matplotlib" in imported_by("import matplotlib")


@pytest.mark.parametrize(
    "code",
    [
        "import wordbrush",
        "import sys; from wordbrush.cli import main; sys.argv = ['wordbrush', '--help']; main()",
        "import sys; from wordbrush.cli import main; sys.argv = ['wordbrush', 'edit', '--help']; main()",
        "import sys; from wordbrush.cli import main; sys.argv = ['wordbrush', 'models']; main()",
        "import sys; from wordbrush.cli import main; sys.argv = ['wordbrush', 'figures']; main()",
        "import sys; from wordbrush.cli import main; sys.argv = ['wordbrush', 'data', '--help']; main()",
        "import sys; from wordbrush.cli import main; sys.argv = ['wordbrush', 'studio', '--help']; main()",
        "import sys; from wordbrush.cli import main; sys.argv = ['wordbrush', 'instruct', '--help']; main()",
        "import sys; from wordbrush.cli import main; sys.argv = ['wordbrush', 'doctor']; main()",
        "import sys; from wordbrush.cli import main; sys.argv = ['wordbrush', 'push', '--help']; main()",
        "import sys; from wordbrush.cli import main; sys.argv = ['wordbrush', 'evaluate', '--help']; main()",
    ],
)
def test_nothing_heavy_at_the_start(code: str):
    assert imported_by(code).isdisjoint(HEAVY)


def test_import_wordbrush_needs_no_numpy():
    assert imported_by("import wordbrush").isdisjoint({"numpy", "PIL", "typer", "rich"})


def test_ring_0_needs_no_torch():
    pure = [module for module in MODULES if ring(module) == 0]
    assert len(pure) > 10
    assert imported_by("\n".join(f"import {module}" for module in pure)).isdisjoint(HEAVY)
