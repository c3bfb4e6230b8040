"""The notebook runs from the first cell to the last, but for the one that installs the package."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from wordbrush.models import EMBEDDED

FILE = Path(__file__).parents[1] / "examples" / "wordbrush.ipynb"


def notebook() -> dict[str, Any]:
    return json.loads(FILE.read_text(encoding="utf-8"))


def shown(cell: str, names: dict[str, Any]) -> Any:
    """Run a cell as a notebook does; return the value of its last line, if that is an expression."""
    tree = ast.parse(cell)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, str(FILE), "exec"), names)
    return (
        eval(compile(ast.Expression(last.value), str(FILE), "eval"), names)
        if isinstance(last, ast.Expr)
        else None
    )


def test_it_is_a_notebook_that_colab_opens():
    made = notebook()
    assert (made["nbformat"], made["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in made["cells"]]
    assert len(ids) == len(set(ids)) > 10
    code = [cell for cell in made["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert [cell["metadata"].get("tags") for cell in code].count(["install"]) == 1
    assert "".join(code[0]["source"]).startswith("%pip install")


@pytest.mark.slow
@pytest.mark.skipif(not EMBEDDED["storybook"].exists(), reason="the weights are not part of this checkout")
def test_every_cell_runs(capsys: pytest.CaptureFixture[str]):
    """With few steps: the storybook's own number is 20."""
    cells = ["".join(one["source"]) for one in notebook()["cells"] if one["cell_type"] == "code"]
    names: dict[str, Any] = {}
    pictures = 0
    for cell in cells[1:]:
        few = cell.replace("seed=", "steps=4, seed=").replace(
            "num_inference_steps=20", "num_inference_steps=4"
        )
        pictures += isinstance(shown(few, names), Image.Image)
    assert pictures == 5
    assert "swapped for 'cat'" in capsys.readouterr().out
