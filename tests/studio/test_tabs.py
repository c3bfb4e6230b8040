"""What the tabs Compare, Data and Instruct do, without a browser."""

from __future__ import annotations

import random
import shlex
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import editors
import wordbrush as wb
from edit_data import encoded, pair, write_pairs
from wordbrush.baselines.sdedit import sdedit
from wordbrush.cli.app import app
from wordbrush.dataset.rules import Best, Keep
from wordbrush.dataset.select import select
from wordbrush.errors import BadPicture, DataError, InvalidInput
from wordbrush.instruct import EditorDefaults
from wordbrush.metrics.pixels import psnr
from wordbrush.storybook.judges import SIDE, Reading
from wordbrush.storybook.recipe.judge import NONE
from wordbrush.storybook.scene import COLOURS
from wordbrush.studio import compare, data, instruct, snippets, view
from wordbrush.studio.preview import LinearPreview
from wordbrush.studio.state import Limits, Order, Photo
from wordbrush.studio.turns import Report


def quiet() -> Report:
    return Report(threading.Event(), lambda update: None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    pairs = [pair(number, clip_direction=number / 40, l1=number / 100) for number in range(20)]
    write_pairs(tmp_path / "runs" / "one", pairs)
    return tmp_path


def test_compare_makes_the_edits_that_it_names(tiny_folder: Path):
    model = wb.load(tiny_folder)
    order = Order("a cat on a beach", "a dog on a beach", seed=3, steps=4, until=0.25)
    compared = compare.compare(compare.Match(model, order), compare.WORDS, [compare.pixels], quiet())
    expected = {
        "no injection": {"edits": [], "self_attention": 0.0},
        "published": {"edits": wb.published.stable("replace")},
        "default": {},
        "own": {"edits": [wb.Replace(until=0.25)]},
    }
    for way, how in expected.items():
        result = wb.edit(model, order.source, to="a dog on a beach", seed=3, steps=4, **how)
        assert compared.after[way].tobytes() == result.images[0].tobytes()
        told = f"{psnr(result.source, result.images[0]):.1f}"
        assert compared.measures[way]["PSNR to before (dB)"] == told
        assert told in compare.shown(compared)
    assert len({image.tobytes() for image in compared.after.values()}) > 2


def test_two_settings_of_ones_own_are_held_against_each_other(tiny_folder: Path):
    model = wb.load(tiny_folder)
    order, other = (Order("a cat", "a dog", seed=3, steps=4, until=until) for until in (0.25, 1.0))
    ways = [compare.OWN, compare.SECOND]
    compared = compare.compare(compare.Match(model, order, {compare.SECOND: other}), ways, [], quiet())
    made = [
        wb.edit(model, "a cat", to="a dog", seed=3, steps=4, edits=[wb.Replace(until=until)]).images[0]
        for until in (0.25, 1.0)
    ]
    assert [image.tobytes() for image in compared.after.values()] == [image.tobytes() for image in made]
    assert made[0].tobytes() != made[1].tobytes()


@pytest.mark.parametrize("ways", [["default"], ["default", "best"]])
def test_compare_refuses(ways: list[str], tiny_folder: Path):
    with pytest.raises(InvalidInput, match="two or more ways"):
        compare.compare(compare.Match(wb.load(tiny_folder), Order("a cat", "a dog")), ways, [], quiet())


def test_a_picture_of_ones_own_is_edited_by_words_by_noise_and_by_a_sentence(tiny_folder: Path):
    model, editor = wb.load(tiny_folder), editors.editor()
    picture = editors.picture(size=(96, 80))
    photo = Photo("/tmp/sea.png", "sea.png", picture, "sea.png, turned")
    order = Order("a cat on a beach", "a dog on a beach", seed=3, steps=4, photo=photo, inversion="ddim")
    match = compare.Match(
        model,
        order,
        strength=0.5,
        editor=editor,
        instruction="make it night",
    )
    ways = [compare.INSTRUCTED, compare.DEFAULT, compare.NOTHING, compare.REDRAWN]
    steps: list[tuple[int, int]] = []
    report = Report(threading.Event(), lambda update: steps.append((update.step, update.steps)))
    compared = compare.compare(match, ways, [compare.pixels], report)

    start = wb.invert(model, picture, "a cat on a beach", method="ddim", steps=4, crop=True)
    assert start.picture is not None
    assert compared.before.tobytes() == start.picture.tobytes()
    assert compared.notes == start.notes
    told = compare.summed_up(compared)
    assert told == "sea.png, turned, cut around its middle and resized from 96 × 80 pixels."
    expected = {
        compare.INSTRUCTED: editor(start.picture, "make it night", seed=3).images[0],
        compare.DEFAULT: wb.edit(model, start, to="a dog on a beach").images[0],
        compare.NOTHING: wb.edit(
            model, start, to="a dog on a beach", edits=[], self_attention=0.0, blend="none"
        ).images[0],
        compare.REDRAWN: sdedit(
            model, [start.picture], ["a dog on a beach"], strength=0.5, seeds=[3], steps=4
        ).images[0],
    }
    assert list(compared.after) == ways == list(compared.measures)
    for way, image in expected.items():
        assert compared.after[way].tobytes() == image.tobytes()
    assert len({image.tobytes() for image in compared.after.values()}) == 4
    parts = [done / of for done, of in steps]
    assert parts == sorted(parts)
    assert parts[-1] == 1


def test_sdedit_alone_redraws_the_picture_of_the_prompt(tiny_folder: Path):
    model = wb.load(tiny_folder)
    order = Order("a cat", "a dog", seed=3, steps=4, until=0.5)
    compared = compare.compare(
        compare.Match(model, order, editor=editors.editor(), instruction="make it night"),
        [compare.REDRAWN, compare.INSTRUCTED],
        [],
        quiet(),
    )
    assert compared.before.tobytes() == wb.generate(model, "a cat", seed=3, steps=4).images[0].tobytes()
    assert compared.notes == ()


def test_a_comparison_needs_the_instruction_that_it_is_to_follow(tiny_folder: Path):
    model, order = wb.load(tiny_folder), Order("a cat", "a dog", steps=4)
    ways = [compare.DEFAULT, compare.INSTRUCTED]
    with pytest.raises(InvalidInput, match="has none: say what is to change"):
        compare.compare(compare.Match(model, order, editor=editors.editor()), ways, [], quiet())
    with pytest.raises(InvalidInput, match="two or more ways"):  # there is no editor to follow it
        compare.compare(compare.Match(model, order, instruction="make it night"), ways, [], quiet())


def test_data_sets_are_found_below_the_root_and_nowhere_else(
    root: Path, tmp_path_factory: pytest.TempPathFactory
):
    assert data.data_sets(root) == ["runs/one"]
    assert data.inside(root, "runs/one") == (root / "runs" / "one").resolve()
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (root / "link").symlink_to(elsewhere)
    for name in ("..", "/etc", "runs/../..", "link", str(elsewhere)):
        with pytest.raises(InvalidInput, match="outside of"):
            data.inside(root, name)
    with pytest.raises(DataError, match="no folder 'runs/two'"):
        data.inside(root, "runs/two")
    with pytest.raises(InvalidInput, match="--data"):
        data.inside(None, "runs/one")


def test_a_moved_threshold_selects_as_the_engine_does(root: Path):
    sieve = data.opened(root / "runs" / "one")
    assert sieve.bounds["clip_direction"] == (0.2, None)
    moved = sieve.moved("clip_direction", "least", 0.3).moved("l1", "most", 0.15)
    selection = moved.select()
    own = (*[rule for rule in sieve.rules if isinstance(rule, Keep) and rule.score != "clip_direction"],)
    same = select(
        moved.folder,
        rules=[
            *own,
            Keep("clip_direction", at_least=0.3),
            Keep("l1", at_most=0.15),
            Best("clip_direction", k=4),
        ],
    )
    assert selection.keys == same.keys
    assert 0 < selection.selected < sieve.select().selected
    free = moved.moved("clip_direction", "least", None).moved("l1", "most", None)
    assert free.select().selected > sieve.select().selected
    with pytest.raises(InvalidInput, match="no threshold"):
        sieve.moved("key; DROP", "least", 1.0)


def test_the_program_makes_the_same_selection(root: Path):
    sieve = data.opened(root / "runs" / "one").moved("l1", "most", 0.12)
    exec(sieve.python)
    again = data.opened(sieve.folder)
    assert again.rules == sieve.rules
    assert again.select().keys == sieve.select().keys


def test_a_condition_is_left_out_and_said(root: Path):
    folder = root / "runs" / "one"
    select(folder, where="l1 < 0.1 OR '<b>' = ''").write(folder / "selection")
    sieve = data.opened(folder)
    assert "the studio runs no SQL" in sieve.note
    assert "&lt;b&gt;" in data.summary(sieve, sieve.select())


def test_pages_hold_every_pair_of_a_group_once(root: Path):
    sieve = data.opened(root / "runs" / "one")
    selection = sieve.select()
    for _, group in data.groups(selection):
        _, pages = data.pairs_page(sieve, selection, group, 1)
        text = "".join(data.pairs_page(sieve, selection, group, number + 1)[0] for number in range(pages))
        rows = selection.verdicts.to_pylist()
        keys = [row["key"] for row in rows if (row["gate"] or data.SELECTED) == group]
        assert text.count('class="pair"') == len(keys)
        assert all(key in text for key in keys)
    assert data.charts(sieve, selection).count("<svg") == 6


def test_edits_are_chained_and_stepped_back():
    editor = editors.editor()
    history = instruct.History().add(instruct.Moment(editors.picture(), "beach.png", {}))
    wish = instruct.Wish("make it night", 7.5, 1.5, 2, 3)
    first = instruct.edited(editor, history, wish, None, quiet())
    direct = editor(
        editors.picture(), "make it night", text_guidance=7.5, image_guidance=1.5, steps=2, seed=3
    )
    assert first.image.tobytes() == direct.images[0].tobytes()
    history = history.add(first)
    second = instruct.edited(editor, history, wish, None, quiet())
    assert second.image.tobytes() != first.image.tobytes()
    assert second.settings["before"] == ["make it night"]
    history = history.add(second)
    assert history.step(-1).now is first
    assert history.step(-9).now is history.moments[0]
    assert history.step(5).now is second
    other = history.step(-1).add(instruct.Moment(editors.picture(1), "other", {}))
    assert [moment.told for moment in other.moments] == ["beach.png", "make it night", "other"]


def test_the_way_to_a_picture_is_shown_once_there_is_one():
    assert view.trail(["beach.png"], 0) == ""
    shown = view.trail(["beach.png", "make it <night>", "add a kite"], 1)
    assert shown.count("<li") == 3
    assert '<li aria-current="step">make it &lt;night&gt;</li>' in shown
    assert shown.count("aria-current") == 1


def test_a_grid_tells_the_cost_and_the_scales_of_all_its_edits():
    editor = editors.editor()
    history = instruct.History().add(instruct.Moment(editors.picture(), "x", {}))
    wish = instruct.Wish("make it night", 7.5, 1.5, 2, 3)
    one = instruct.edited(editor, history, wish, None, quiet()).settings
    sheet = instruct.grid(editor, history, wish, None, quiet()).settings
    assert sheet["forward_samples"] == 9 * one["forward_samples"] > 0
    assert {"text_guidance", "image_guidance"} & set(sheet) == set()
    assert len(set(sheet["scales"])) == 9
    assert {name: sheet[name] for name in ("instruction", "seed", "steps")} == {
        name: one[name] for name in ("instruction", "seed", "steps")
    }


def test_where_a_mask_is_wanted_something_is_brushed():
    with pytest.raises(InvalidInput, match="nothing is brushed"):
        instruct.wanted_mask(instruct.BRUSHED, [Image.new("RGBA", (32, 32))])
    everywhere, changed, _ = instruct.WHERE
    assert instruct.wanted_mask(everywhere, []) is None
    assert instruct.wanted_mask(changed, []) == "auto"


def test_an_edit_is_seen_while_it_denoises():
    told: list[Any] = []
    editor = editors.editor()
    history = instruct.History().add(instruct.Moment(editors.picture(), "x", {}))
    wish = instruct.Wish("make it night", 7.5, 1.5, 3, 3)
    report = Report(threading.Event(), told.append)
    instruct.edited(editor, history, wish, None, report, LinearPreview.fit(editor.model))
    assert [update.step for update in told] == [1, 2, 3]
    assert len({update.seen.tobytes() for update in told}) == 3


@pytest.mark.parametrize(("scales", "steps"), [((7.5, 1.5), 15), ((5.0, 0.75), 2)])
def test_the_code_of_an_edit_makes_the_same_picture(
    scales: tuple[float, float], steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    folder = editors.save(tmp_path / "editor")
    editor = wb.load_editor(folder)
    editors.picture().save("-beach.png")
    history = instruct.History().add(instruct.opened("-beach.png", Limits()))
    made = instruct.edited(editor, history, instruct.Wish("make it night", *scales, steps, 3), None, quiet())
    assert made.asked is not None
    given = made.asked, editor.defaults, str(folder), {"dtype": "float32"}
    exec(snippets.instruct_python(*given))
    assert Image.open("edited.png").tobytes() == made.image.tobytes()
    Path("edited.png").unlink()
    line = shlex.split(snippets.instruct_command(*given))
    assert CliRunner().invoke(app, line[1:]).exit_code == 0
    assert Image.open("edited.png").tobytes() == made.image.tobytes()
    assert ("--steps" in line, "--text-guidance" in line) == (steps != 15, scales != (7.5, 1.5))
    masked = replace(made.asked, masked=True)
    assert "--mask mask.png" in snippets.instruct_command(masked, *given[1:])
    found = instruct.edited(
        editor, history, instruct.Wish("make it night", *scales, steps, 3), "auto", quiet()
    )
    assert found.asked is not None
    assert "--mask auto" in snippets.instruct_command(found.asked, *given[1:])
    assert "mask='auto'" in snippets.instruct_python(found.asked, *given[1:])


def test_the_brush_says_where_it_may_change():
    empty = Image.new("RGBA", (32, 32))
    assert instruct.mask_of([]) is None
    assert instruct.mask_of([empty]) is None
    stroke = empty.copy()
    stroke.paste((255, 255, 255, 90), (0, 0, 8, 32))
    mask = instruct.mask_of([empty, stroke])
    assert mask is not None
    assert sorted(mask.getcolors() or []) == [(256, 255), (768, 0)]
    history = instruct.History().add(instruct.Moment(editors.picture(), "x", {}))
    wish = instruct.Wish("make it night", 7.5, 1.5, 2, 3)
    made = instruct.edited(editors.editor(), history, wish, mask, quiet()).image
    assert made.crop((8, 0, 32, 32)).tobytes() == editors.picture().crop((8, 0, 32, 32)).tobytes()
    assert made.tobytes() != editors.picture().tobytes()


def test_uploads_are_checked(tmp_path: Path):
    bad, large = tmp_path / "bad.png", tmp_path / "large.png"
    bad.write_bytes(b"no picture")
    large.write_bytes(encoded(Image.new("RGB", (40, 30))))
    with pytest.raises(BadPicture, match=r"^bad\.png: the picture does not decode"):
        instruct.opened(str(bad), Limits())
    with pytest.raises(InvalidInput, match="30 × 40 pixels is more than the 1,000"):
        instruct.opened(str(large), Limits(pixels=1000))
    assert instruct.opened(str(large), Limits()).image.size == (40, 30)
    with pytest.raises(InvalidInput, match="there is no picture"):
        instruct.edited(editors.editor(), instruct.History(), instruct.Wish("x", 7, 1, 2, 3), None, quiet())


@pytest.mark.parametrize(
    ("own", "texts", "images"),
    [
        ((7.5, 1.5), (5, 10), (1, 2)),
        ((3, 1.5), (2, 4), (1, 2)),
        ((3, 1.4), (2, 4), (0.9, 1.9)),  # as shipped: 0.93 to 1.87, which no slider can show
    ],
)
def test_surprises_are_within_the_scales_of_the_grid(own, texts, images):
    defaults = EditorDefaults(*own)
    assert (defaults.grid[0][0], defaults.grid[0][-1]) == texts
    for number in range(20):
        words, text, image = instruct.surprise(random.Random(number), defaults)
        assert words in instruct.SURPRISES
        assert texts[0] <= text <= texts[1]
        assert images[0] <= image <= images[1]


def test_which_colour_there_is_is_asked_of_subjects_that_should_have_one():
    """A red mushroom is also one without a colour of its own, which no picture can tell."""
    seen = {"subject": "mushroom", "place": "forest", "time": "noon", "style": "plain", "companion": NONE}
    words = {name: [word, word] for name, word in {**seen, "colour": NONE}.items()}
    colours = {name: np.array([0.1, 0.4 if name == "red" else 0.2]) for name in COLOURS}
    reading = Reading(words, {}, colours, np.zeros((2, 32, 32), dtype=bool))
    judges: Any = type("Fixed", (), {"read": lambda judges, images: reading})()
    plain = Image.new("RGB", (SIDE, SIDE))

    def told(source: str, target: str) -> list[str]:
        measure = compare.judged(judges, source, target)
        assert measure is not None
        return list(measure(plain, plain).values())

    assert told("a mushroom in a forest", "a red mushroom in a forest") == ["1 of 1", "5 of 5"]
    assert told("a mushroom in a forest", "a blue mushroom in a forest") == ["0 of 1", "5 of 5"]
    assert told("a red mushroom in a forest", "a mushroom in a forest") == ["1 of 1", "5 of 5"]


def test_everything_shown_is_escaped():
    sentence = '<script>"&'
    for page in (
        view.trouble(sentence),
        view.said(sentence),
        view.snippet(sentence, sentence),
        view.stage("data:,", "data:,", names=(sentence, sentence), save=sentence),
        view.table([sentence], [[sentence, sentence]], caption=sentence),
        view.empty_stage(sentence),
    ):
        assert "<script>" not in page
        assert '"&"' not in page
