"""The command that draws pages, and checks of a drawn one: both files hold it, nothing touches the margin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from wordbrush.cli.app import app
from wordbrush.figures import layout
from wordbrush.figures.layout import Page
from wordbrush.files import write_files


def figures(*arguments: object) -> tuple[int, str]:
    """Run ``wordbrush figures``; return its exit status, and what it said as one line."""
    done = CliRunner().invoke(app, ["figures", *map(str, arguments)])
    return done.exit_code, " ".join(done.output.split())


def assert_written(page: Page, name: str, folder: Path) -> None:
    """Both files of a page hold it whole, at 100 dots per inch."""
    files = page.render({"figure": name})
    write_files({folder / f"{name}.{kind}": content for kind, content in files.items()})
    assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF-")
    with Image.open(folder / f"{name}.png") as image:
        assert image.info["wordbrush"] == f'{{"figure": "{name}"}}'
        pixels = np.asarray(image.convert("RGB"))
    assert np.allclose(pixels.shape[1::-1], np.multiply(page.size, 100), atol=1)
    assert_equal_margins(pixels, round(layout.MARGIN * 100))


def assert_equal_margins(pixels: np.ndarray, margin: int) -> None:
    """Nothing is drawn in the margin, and something close to it on every side (a line of text has air of its own)."""
    drawn = (pixels < 250).any(axis=2)
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    height, width = drawn.shape
    around = (rows[0], columns[0], height - 1 - rows[-1], width - 1 - columns[-1])
    assert min(around) >= margin - 2
    assert max(around) <= margin + 8
