"""The Python on the page about data formats runs, and its table says what the formats do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edit_data import pair, write_pairs
from wordbrush.dataset.formats import FORMATS

PAGE = (Path(__file__).parents[2] / "docs" / "data-formats.md").read_text(encoding="utf-8")


def test_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_pairs(tmp_path / "out" / "run", [pair(number) for number in range(3)])
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(blocks) == 4
    exec("\n".join(blocks), {})
    assert (tmp_path / "out" / "run" / "report" / "report.html").exists()
    assert (tmp_path / "out" / "run" / "selection" / "published.parquet").exists()
    assert (tmp_path / "out" / "folder" / "metadata.jsonl").exists()


def test_the_table_agrees_with_the_code():
    rows = re.findall(r"^\| `(\w+)` \|.*\|(.*)\|(.*)\|(.*)\|(.*)\|$", PAGE, flags=re.MULTILINE)
    assert [row[0] for row in rows] == sorted(FORMATS, key=[row[0] for row in rows].index)
    for name, *cells in rows:
        parts = [
            part
            for part, cell in zip(("captions", "mask", "scores", "settings"), cells, strict=True)
            if "✓" in cell
        ]
        assert set(parts) == FORMATS[name].carries
