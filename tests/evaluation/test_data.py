"""Data sets as examples: miniature folders of the published layouts, and what is said of damaged ones."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import edit_data
import editors
import wordbrush as wb
from wordbrush.dataset import formats
from wordbrush.evaluation.data import FOLDERS, NAMES, open_data, storybook
from wordbrush.evaluation.data.pairs import example_of
from wordbrush.evaluation.data.pie_bench import decode_mask
from wordbrush.storybook import font, scene
from wordbrush.storybook.instructions import objection
from wordbrush.storybook.world import render


def pie(folder: Path, **changed: Any) -> Path:
    """Two pictures in the layout of PIE-Bench; the mask of the first is its rows 2 and 3."""
    entries = {}
    for number, kind in enumerate(("0", "8")):
        name = f"{kind}_some/1_artificial/00000000000{number}.jpg"
        place = folder / "annotation_images" / name
        place.parent.mkdir(parents=True)
        editors.picture(number, size=(16, 16)).save(place, quality=95)
        entries[f"00000000000{number}"] = {
            "image_path": name,
            "original_prompt": "a [cat] on a beach",
            "editing_prompt": "a [dog] on a beach",
            "editing_instruction": "Change the cat into a dog",
            "editing_type_id": kind,
            "blended_word": "cat dog",
            "mask": [32, 16, 48, 16] if number == 0 else [0, 300],
        } | changed
    (folder / "mapping_file.json").write_text(json.dumps(entries))
    return folder


def test_pie_bench(tmp_path: Path):
    data = open_data(str(pie(tmp_path)))
    first, second = data
    assert data.name == f"pie-bench {tmp_path}"
    assert (first.key, first.kind, second.kind) == ("000000000000", "random", "change background")
    assert (first.before, first.after) == ("a cat on a beach", "a dog on a beach")
    assert first.instruction == "Change the cat into a dog"
    assert first.truth is None
    expected = np.zeros((16, 16), dtype=bool)
    expected[2:4] = True
    expected[[0, -1]] = expected[:, [0, -1]] = True
    np.testing.assert_array_equal(first.mask, expected)
    assert second.mask is not None
    assert second.mask.all()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"mask": [3]}, "no list of starts and lengths in a picture of 16 × 16"),
        ({"mask": [256, 2]}, "no list of starts and lengths"),
        ({"mask": None}, "no list of starts and lengths"),
        ({"editing_prompt": None}, "entry '000000000000': editing_prompt is None"),
        ({"image_path": "nowhere.jpg"}, "cannot read"),
    ],
)
def test_damaged_pie_bench(changed: dict[str, Any], says: str, tmp_path: Path):
    with pytest.raises(wb.DataError, match=says):
        list(open_data(str(pie(tmp_path, **changed))))


def test_a_run_that_is_too_long_is_cut_off_as_published():
    assert decode_mask([60, 9], (8, 8), "here")[7].all()


def magicbrush(folder: Path) -> Path:
    """One session of two turns in the layout of MagicBrush's test folder; both kinds of masks."""
    place = folder / "images" / "7"
    place.mkdir(parents=True)
    names = ["7-input.png", "7-output1.png", "7-output2.png"]
    for number, name in enumerate(names):
        editors.picture(number, size=(16, 16)).save(place / name)
    cut = np.asarray(editors.picture(0, size=(16, 16)).convert("RGBA")).copy()
    cut[4:8, 4:8, 3] = 0
    Image.fromarray(cut).save(place / "7-mask1.png")
    painted = np.asarray(editors.picture(1, size=(16, 16))).copy() // 2
    painted[:, 8:] = 255
    Image.fromarray(painted).save(place / "7-mask2.png")
    turns = [
        {"input": names[i], "mask": f"7-mask{i + 1}.png", "output": names[i + 1], "instruction": f"edit {i}"}
        for i in range(2)
    ]
    (folder / "edit_turns.json").write_text(json.dumps(turns))
    captions = {"7": {name: f"caption {number}" for number, name in enumerate(names)}}
    (folder / "global_descriptions.json").write_text(json.dumps(captions))
    return folder


def test_magicbrush_folder(tmp_path: Path):
    first, second = open_data(str(magicbrush(tmp_path)))
    assert (first.key, second.key) == ("7-output1", "7-output2")
    assert (first.instruction, second.before, second.after) == ("edit 0", "caption 1", "caption 2")
    assert first.truth is not None
    assert second.image.tobytes() == first.truth.tobytes()
    assert first.mask is not None
    assert second.mask is not None
    assert first.mask.sum() == 16
    assert first.mask[4:8, 4:8].all()
    assert second.mask[:, 8:].all()
    assert not second.mask[:, :8].any()
    for damaged in ({"7": ["a cat"]}, {"7": {"7-output1.png": 3}}):
        (tmp_path / "global_descriptions.json").write_text(json.dumps(damaged))
        with pytest.raises(wb.DataError, match=r"global_descriptions\.json.*'7'"):
            next(iter(open_data(str(tmp_path))))
    (tmp_path / "global_descriptions.json").unlink()
    bare = next(iter(open_data(str(tmp_path))))
    with pytest.raises(wb.DataError, match="'7-output1' has no caption after the edit, which sdedit needs"):
        bare.caption("after", for_="sdedit")
    (tmp_path / "images" / "7" / "7-output1.png").unlink()
    with pytest.raises(wb.DataError, match=r"cannot read .*7-output1\.png"):
        next(iter(open_data(str(tmp_path))))


def magicbrush_table(folder: Path, masks: list[Image.Image]) -> Path:
    """A turn for every mask in the columns of MagicBrush, with pictures of 16 × 16 pixels."""

    def stored(image: Image.Image) -> dict[str, Any]:
        return {"bytes": edit_data.encoded(image), "path": "picture.png"}

    rows = [
        {
            "img_id": str(number),
            "turn_index": 1,
            "source_img": stored(editors.picture(number, size=(16, 16))),
            "mask_img": stored(mask),
            "instruction": "make it night",
            "target_img": stored(editors.picture(number + 50, size=(16, 16))),
        }
        for number, mask in enumerate(masks)
    ]
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "dev-00000-of-00001.parquet")
    return folder


def test_masks_of_magicbrush_are_read_alike_from_a_folder_and_from_parquet(tmp_path: Path):
    bright = np.full((16, 16, 4), 200, dtype=np.uint8)  # a mask by its grey level would be open everywhere
    cut = bright.copy()
    cut[..., 3] = 255
    cut[0] = 255  # white, and not what is cut out
    cut[4:8, 4:8, 3] = 0
    painted = bright[..., :3].copy()
    painted[:, 8:] = 255
    half = bright.copy()
    half[..., 3] = 129
    half[2, 3, 3] = 127
    found = [
        example.mask
        for example in open_data(
            str(magicbrush_table(tmp_path / "table", [Image.fromarray(one) for one in (cut, painted, half)])),
            format="magicbrush",
        )
    ]
    expected = np.zeros((3, 16, 16), dtype=bool)
    expected[0, 4:8, 4:8] = expected[1, :, 8:] = expected[2, 2, 3] = True
    np.testing.assert_array_equal(found, expected)
    place = magicbrush(tmp_path / "folder")
    for number, one in enumerate((cut, painted), 1):
        Image.fromarray(one).save(place / "images" / "7" / f"7-mask{number}.png")
    np.testing.assert_array_equal([example.mask for example in open_data(str(place))], expected[:2])


def test_masks_of_another_size_than_their_picture_are_brought_to_it(tmp_path: Path):
    large = np.full((32, 32, 3), 90, dtype=np.uint8)
    large[:, 16:] = 255
    right = np.broadcast_to(np.arange(16) >= 8, (16, 16))
    table = magicbrush_table(tmp_path / "table", [Image.fromarray(large)])
    (turn,) = open_data(str(table), format="magicbrush")
    np.testing.assert_array_equal(turn.mask, right)
    place = magicbrush(tmp_path / "folder")
    Image.fromarray(large).save(place / "images" / "7" / "7-mask1.png")
    first = next(iter(open_data(str(place))))
    np.testing.assert_array_equal(first.mask, right)
    mask = Image.fromarray(np.repeat(large[:, 8:24, :1] // 255 * 255, 3, axis=-1))
    pair = edit_data.edit(0, mask_picture=edit_data.shown(mask, mask=True))
    wide, high = pair.before_image.size
    np.testing.assert_array_equal(
        example_of(pair).mask, np.broadcast_to(np.arange(wide) >= wide / 2, (high, wide))
    )


def test_a_damaged_mask_is_named(tmp_path: Path):
    place = magicbrush(tmp_path / "folder")
    mask = place / "images" / "7" / "7-mask1.png"
    mask.write_bytes(mask.read_bytes()[:60])
    with pytest.raises(wb.DataError, match=r"7-mask1\.png: the picture does not decode"):
        list(open_data(str(place)))
    mask.unlink()
    with pytest.raises(wb.DataError, match=r"cannot read .*7-mask1\.png"):
        list(open_data(str(place)))


def test_emu_edit(tmp_path: Path):
    for split in ("validation", "test"):
        rows = [
            {
                "instruction": f"{split} {number}",
                "image": {"bytes": edit_data.encoded(editors.picture(number)), "path": None},
                "task": "style",
                "split": split,
                "idx": 0,
                "hash": "h",
                "input_caption": "a cat",
                "output_caption": "a painting of a cat",
            }
            for number in range(2)
        ]
        (tmp_path / "data").mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data" / f"{split}-00000-of-00001.parquet")
    data = open_data(str(tmp_path), split="test")
    first, second = data
    assert data.name == f"emu-edit {tmp_path} test"
    assert (first.instruction, second.instruction, first.kind) == ("test 0", "test 1", "style")
    assert (first.before, first.after) == ("a cat", "a painting of a cat")
    assert first.key != second.key
    assert first.image.tobytes() == editors.picture(0).tobytes()
    with pytest.raises(wb.DataError, match="has the splits test, validation"):
        list(open_data(str(tmp_path)))


def test_pairs_of_wordbrush_data(tmp_path: Path):
    pairs = [edit_data.edit(number) for number in range(3)]
    formats.write("imagefolder", iter(pairs), tmp_path / "folder")
    formats.write("ultraedit", iter(pairs), tmp_path / "table")
    told = list(open_data(str(tmp_path / "folder")))
    named = list(open_data(str(tmp_path / "table"), format="ultraedit"))
    for pair, one, other in zip(pairs, told, named, strict=True):
        assert one.instruction == other.instruction == pair.instruction
        assert (one.before, one.after) == (pair.before, pair.after)
        assert one.image.tobytes() == pair.before_image.tobytes()
        assert one.truth is not None
        assert one.truth.tobytes() == pair.after_image.tobytes()


@pytest.mark.skipif(not font.FONT_PATH.exists(), reason="renders need Noto Color Emoji")
def test_storybook():
    data = open_data("storybook:9")
    made = list(data)
    assert (len(made), data.total, data.judged) == (9, 9, True)
    assert open_data("storybook").total == 700
    for example, again in zip(made, islice(iter(open_data("storybook")), 9), strict=True):
        assert (example.key, example.instruction) == (again.key, again.instruction)
        assert example.image.tobytes() == again.image.tobytes()
        assert example.truth is not None
        assert example.mask is not None
        before, after = np.asarray(example.image), np.asarray(example.truth)
        assert example.mask.any()
        np.testing.assert_array_equal(before[~example.mask], after[~example.mask])
        assert example.before is not None
        assert example.after is not None
        assert objection(example.before, example.instruction, example.after) is None
    small = next(example for example in made if example.kind == "companion removed")
    assert small.mask is not None
    assert small.mask.mean() < 0.3


@pytest.mark.skipif(not font.FONT_PATH.exists(), reason="renders need Noto Color Emoji")
def test_the_digest_of_the_world_sees_every_word(monkeypatch: pytest.MonkeyPatch):
    drawn: list[scene.Scene] = []

    def seen(one: scene.Scene, seed: int) -> np.ndarray:
        drawn.append(one)
        return render(one, seed)

    whole = storybook.digest_of_world()
    monkeypatch.setattr(storybook, "render", seen)
    assert storybook.digest_of_world() == whole
    for attribute in ("subject", "place", "time", "style", "companion", "colour"):
        words = {getattr(one, attribute) for one in drawn} - {None}
        assert words == set(getattr(scene, f"{attribute}s".upper())), attribute

    def redrawn(one: scene.Scene, seed: int) -> np.ndarray:
        return 255 - render(one, seed) if one.subject == "teapot" else render(one, seed)

    monkeypatch.setattr(storybook, "render", redrawn)
    assert storybook.digest_of_world() != whole


def test_what_there_is_not(tmp_path: Path):
    assert len(NAMES) > 9
    assert len(FOLDERS) == 3
    with pytest.raises(wb.DataError, match="cannot be told by its files"):
        open_data(str(tmp_path))
    with pytest.raises(wb.InvalidInput, match="did you mean 'pie-bench'"):
        open_data(str(tmp_path), format="piebench")
    with pytest.raises(wb.DataError, match="cannot read"):
        list(open_data(str(tmp_path), format="pie-bench"))
    (tmp_path / "run" / "pairs").mkdir(parents=True)
    (tmp_path / "run" / "pairs" / "manifest.json").write_text("{}")
    with pytest.raises(wb.DataError, match="no selection"):
        list(open_data(str(tmp_path / "run")))
