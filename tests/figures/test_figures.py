"""Every figure, drawn with a random-weight model at two steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import wordbrush as wb
from drawn_pages import assert_written
from wordbrush.dataset.writers.storybook import WEIGHTS as WRITER
from wordbrush.errors import InvalidInput
from wordbrush.figures import FIGURES, GROUPS, chosen, layout, load
from wordbrush.figures.brush import Brush
from wordbrush.storybook.scene import parse

assert len(FIGURES) == 20

EDITING = [name for name, entry in FIGURES.items() if "editor" in entry.needs]
DRAWN = [name for name in FIGURES if name not in EDITING]
"""Prompts of these figures are storybook's; all of them must be sentences that it knows."""

WRITTEN = {"ip2p-2", "table-1"}
"""Figures with triplets of the embedded writer."""


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> wb.Model:
    return wb.load(tiny_folder)


class Recorder(Brush):
    """A brush that notes the prompts it was given."""

    prompts: list[str] = []  # noqa: RUF012 - one list for the test that clears it

    def edit(self, source: str, to: Any, *, seed: int, **settings: Any) -> wb.EditResult:
        self.prompts.extend([source, *to])
        return super().edit(source, to, seed=seed, **settings)

    def generate(self, prompts: Any, *, seed: int, maps: bool = False) -> wb.Generation:
        self.prompts.extend(prompts)
        return super().generate(prompts, seed=seed, maps=maps)


@pytest.mark.parametrize("name", DRAWN)
def test_figure(name: str, model: wb.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if name in WRITTEN and not WRITER.exists():
        pytest.skip("the writer is not shipped")
    monkeypatch.setattr(layout, "DPI", 100)
    Recorder.prompts.clear()
    steps: list[tuple[int, int]] = []
    page = load(name)(Recorder(model, steps=2, progress=lambda step, total: steps.append((step, total))))
    assert ((2, 2) in steps) is bool(Recorder.prompts) is (name != "table-1")
    for prompt in Recorder.prompts:
        parse(prompt)
    assert_written(page, name, tmp_path)


def test_all_and_none():
    assert chosen(["p2p-all", "ip2p-all"]) == list(FIGURES)
    assert chosen(["p2p-all"]) == list(GROUPS["p2p-all"]) == [f"p2p-{number}" for number in range(1, 10)]
    of_instruct = [f"ip2p-{number}" for number in range(1, 11)]
    assert list(GROUPS["ip2p-all"]) == [*of_instruct, "table-1"]
    assert chosen(["p2p-9", "p2p-1", "p2p-9"]) == ["p2p-9", "p2p-1"]
    with pytest.raises(InvalidInput, match=r"'p2p-10'.*did you mean 'ip2p-10'"):
        chosen(["p2p-10"])


def test_the_user_s_seed_is_used_for_every_row(model: wb.Model):
    own = Brush(model, steps=1).same_noise(["a cat"], seed=3)[0]
    chosen_for_all = Brush(model, seed=4, steps=1)
    assert chosen_for_all.same_noise(["a cat"], seed=3)[0].tobytes() != own.tobytes()
    assert chosen_for_all.same_noise(["a cat"], seed=9)[0].tobytes() == (
        Brush(model, steps=1).same_noise(["a cat"], seed=4)[0].tobytes()
    )
