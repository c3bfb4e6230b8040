"""What the site makes by itself is complete, and the Python of its pages runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

import editors
import outside
from wordbrush.cli.app import app
from wordbrush.models import EMBEDDED, WEIGHTS

ROOT = Path(__file__).parents[1]


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    yield name, command
    for inner in getattr(command, "commands", {}).values():
        yield from commands(inner, f"{name} {inner.name}")


def built(page: str) -> str:
    return outside.module("scripts/site_hooks.py").on_page_markdown(
        (ROOT / "docs" / page).read_text(encoding="utf-8")
    )


def test_every_option_is_on_the_page():
    sections = dict(
        re.findall(r"^## `(.+?)`\n(.*?)(?=^## |\Z)", built("options.md"), flags=re.DOTALL | re.MULTILINE)
    )
    found = dict(commands(typer.main.get_command(app), "wordbrush"))
    assert len(found) > 20
    assert set(sections) == set(found)
    for name, command in found.items():
        for parameter in command.params:
            if parameter.param_type_name == "option" and not parameter.hidden:
                assert all(f"`{option}`" in sections[name] for option in parameter.opts), (
                    name,
                    parameter.opts,
                )
    assert "| `--seed`, `-s` | N | `0` |" in sections["wordbrush generate"]


@pytest.mark.skipif(not EMBEDDED["storybook"].exists(), reason="the weights are not part of this checkout")
def test_every_card_is_on_the_page():
    page = built("cards.md")
    assert page.count("\n## Storybook") == len(list(WEIGHTS.glob("*/README.md"))) > 2
    assert "license:" not in page


def test_python_of_the_page_on_diffusers_runs(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Every block, with random weights, fewer steps, and no safety checker to be warned of."""
    text = (ROOT / "docs" / "diffusers.md").read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))
    for name, path in (
        ("owner/name", tiny_folder),
        ("owner/editor", editors.save(tmp_path / "editor")),
        ("community/", f"{ROOT / 'community'}/"),
    ):
        assert name in blocks
        blocks = blocks.replace(name, str(path))
    names = {"picture": editors.picture(1)}
    exec(blocks.replace(").images", ", num_inference_steps=2).images"), names)
    assert names["edited"].size == names["picture"].size


@pytest.fixture
def summary(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return outside.module("benchmarks/summary.py")


def test_the_page_of_benchmarks_tells_what_has_changed(summary: Any):
    def result(ratio: float) -> dict[str, Any]:
        ways = {"plain": {"time_ratio": 1.0, "seconds": 9.0}, "edit": {"time_ratio": ratio, "rounds": [1.0]}}
        return {"machine": {"cores": 2}, "device": "cpu", "ways": ways}

    before = {"overhead": result(1.0), "startup": None}
    costs = {"ways": [{"way": "early stop", "gain": 3.0, "note": "x"}]}
    page = summary.page(
        {"overhead": result(1.2), "startup": {"seconds": {"import": 0.5}}, "pair_cost": costs}, before
    )
    assert "| ways · edit · time_ratio | 1.2 | +20% |" in page
    assert "| ways · plain · time_ratio | 1 |  |" in page
    assert "seconds | 9" not in page
    assert "| seconds · import | 0.5 | new |" in page, "where nothing can be compared, everything is shown"
    assert "| early stop · gain | 3 | new |" in page
    assert "On: cores 2, device cpu." in page
    assert "No results are kept of `families`, `inversion`, `joint`, `source_cache`, `training`." in page
    assert "+" not in summary.page({"overhead": result(1.2)}, {"overhead": result(1.19)}).partition("## ")[2]


def test_every_benchmark_is_run_and_on_the_page(summary: Any):
    names = set(
        re.search(r"^BENCHMARKS := (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)[1].split()
    )  # pyright: ignore
    assert names == set(summary.benchmarks()) - {"joint"}, "joint wants a model that is trained first"
    assert all(summary.benchmarks().values())
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert [name for name in names if name not in page] == []
