"""The figures of editing by instruction, drawn with a random-weight editor; the pictures that they show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import wordbrush as wb
from drawn_pages import assert_written, figures
from wordbrush.figures import FIGURES, inputs, layout, load
from wordbrush.figures.brush import Brush
from wordbrush.files import read_settings
from wordbrush.instruct import EditorDefaults
from wordbrush.metrics.pixels import l1
from wordbrush.storybook.instructions import CUES, NOUNS, WORD
from wordbrush.storybook.recipe.renders import is_held_out
from wordbrush.storybook.scene import parse
from wordbrush.training.widen import load_base

GALLERIES = [name for name, entry in FIGURES.items() if entry.own]
assert len(GALLERIES) == 5


@pytest.fixture(scope="module")
def editor(tiny_folder: Path) -> wb.Editor:
    """An editor of a token for every letter, so that no instruction has an unknown word."""
    return wb.Editor(load_base(tiny_folder), EditorDefaults())


class Recorder(Brush):
    """A brush that notes which pictures were edited, as what, and with which settings."""

    asked: list[tuple[Image.Image, str, dict[str, Any]]] = []  # noqa: RUF012 - one list for the test that clears it

    def instruct(self, image: Image.Image, instructions: Any, *, seed: int, **settings: Any):
        self.asked.extend((image, said, settings) for said in instructions)
        return super().instruct(image, instructions, seed=seed, **settings)


@pytest.fixture(autouse=True)
def clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "DPI", 100)
    Recorder.asked.clear()


def own() -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((96, 64), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("name", GALLERIES)
def test_figure(name: str, editor: wb.Editor, tmp_path: Path):
    steps: list[tuple[int, int]] = []
    brush = Recorder(
        editors={"tiny": editor}, steps=2, progress=lambda step, total: steps.append((step, total))
    )
    assert_written(load(name)(brush), name, tmp_path)
    assert steps[-1][0] == steps[-1][1]
    assert len({image.tobytes() for image, _, _ in Recorder.asked}) == {"ip2p-1": 6, "ip2p-5": 2}.get(name, 1)
    known = {word for cue in CUES.values() for word in cue}.union(*NOUNS.values())
    for _, said, _ in Recorder.asked:
        assert known & set(WORD.findall(said)), said


def test_every_scale_is_asked_for_once(editor: wb.Editor):
    load("ip2p-4")(Recorder(editors={"tiny": editor}, steps=1))
    scales = [(one["text_guidance"], one["image_guidance"]) for _, _, one in Recorder.asked]
    assert len(scales) == len(set(scales)) == 16
    assert {image for _, image in scales} == {1.0, 1.2, 1.5, 2.0}


@pytest.mark.parametrize("name", GALLERIES)
def test_a_picture_of_one_s_own(name: str, editor: wb.Editor, tmp_path: Path):
    brush = Recorder(editors={"tiny": editor}, steps=1, own=own(), instructions=["make it red", "add a cat"])
    assert_written(load(name)(brush), name, tmp_path)
    assert all(image.tobytes() == own().tobytes() for image, _, _ in Recorder.asked)
    said = {said for _, said, _ in Recorder.asked}
    assert said == ({"make it red"} if name == "ip2p-4" else {"make it red", "add a cat"})


def test_the_pictures_are_unseen_scenes():
    assert {path.stem for path in inputs.FOLDER.iterdir()} == set(inputs.SCENES)
    for name, (caption, _) in inputs.SCENES.items():
        assert is_held_out(parse(caption)), name
        assert inputs.picture(name).size == (128, 128)


def test_the_pictures_are_what_the_world_renders():
    from wordbrush.storybook.world import MissingFont, render

    for name, (caption, seed) in inputs.SCENES.items():
        try:
            drawn = Image.fromarray(render(parse(caption), seed))
        except MissingFont:
            pytest.skip("Noto Color Emoji is not installed")
        assert l1(drawn, inputs.picture(name)) < 0.01, name


# The command -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def editor_folder(editor: wb.Editor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import editors

    place = tmp_path_factory.mktemp("editors") / "tiny"
    editors.pipeline(editor, editor.model.scheduler).save_pretrained(place)
    return place


def test_a_user_draws_a_figure_of_a_picture(editor_folder: Path, tmp_path: Path):
    own().save(tmp_path / "own.png")
    asked = ["--image", tmp_path / "own.png", "--instruction", "make it red"]
    code, told = figures(
        "ip2p-6", "-o", tmp_path, "-e", f"tiny={editor_folder}", "--steps", 1, "--device", "cpu", *asked
    )
    assert (code, told) == (0, f"ip2p-6: {tmp_path}/ip2p-6.png and {tmp_path}/ip2p-6.pdf")
    settings = read_settings(tmp_path / "ip2p-6.png")
    assert settings["editors"] == {"tiny": str(editor_folder)}
    assert settings["instructions"] == ["make it red"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["p2p-1", "--image", "cat.png"], "--image and --instruction are shown in ip2p-1, ip2p-4"),
        (["ip2p-4", "-e", "one=a", "-e", "one=b"], "--editor 'one' is given twice"),
        (["ip2p-4", "-e", "=a"], "--editor '=a' is LABEL=PATH"),
        (["ip2p-4", "--image", "none.png"], "cannot read none.png"),
        (["ip2p-11"], "did you mean 'ip2p-1'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments: list[str], sentence: str, tmp_path: Path):
    code, told = figures(*arguments, "-o", tmp_path)
    assert code == 2
    assert sentence in told
    assert list(tmp_path.iterdir()) == []
