"""From a run to a data set that others load: the selected pairs, all of them, with a card that tells the truth."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import pipelines
import small_clip
from edit_data import edit, pair, write_pairs
from wordbrush.dataset import formats
from wordbrush.dataset.card import card
from wordbrush.dataset.export import convert, export, read_selected
from wordbrush.dataset.filters import DEFAULTS, settings
from wordbrush.dataset.formats import FORMATS
from wordbrush.dataset.funnel import funnel, percent
from wordbrush.dataset.manifest import Manifest
from wordbrush.dataset.pairs import PairStage, PairWorker
from wordbrush.dataset.records import Caption, Triplet
from wordbrush.dataset.rules import Keep
from wordbrush.dataset.select import select
from wordbrush.dataset.shards import encode
from wordbrush.errors import DataError

os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Ten pairs in four shards, of which the published filter takes five."""
    pairs = [
        *(pair(1, number) for number in range(6)),
        pair(2, 0),
        pair(3, 0, clip_image=0.1),
        pair(4, 0, kept=False, reason="abandoned: early", before_image=None, after_image=None),
        pair(5, 0, clip_direction=None),
    ]
    folder = write_pairs(tmp_path / "run", pairs)
    captions = [
        Caption(f"{n}", "a cat", "test", None, n < 3, None if n < 3 else "length: 2 words") for n in range(5)
    ]
    (folder / "captions").mkdir()
    rows = [caption.to_row() for caption in captions]
    (folder / "captions" / "00000.parquet").write_bytes(encode(rows, Caption.schema, {"unit": 0}))
    return folder


def test_the_selected_pairs_come_out_in_order_with_everything_known(run: Path):
    selection = select(run)
    read = list(read_selected(run, selection))
    assert [one.key for one in read] == [*(pair(1, number).key for number in range(4)), pair(2).key]
    assert {one.key for one in read} == set(selection.keys)
    assert read[0].before_picture.encoded == pair(1).before_image
    assert dict(read[0].scores) == {
        "clip_image": 0.9, "clip_before": 0.3, "clip_after": 0.3, "clip_direction": 0.25, "l1": 0.1, "ssim": 0.7,
    }  # fmt: skip
    assert read[0].settings["seed"] == 1000


@pytest.mark.parametrize("name", [name for name, one in FORMATS.items() if "mask" not in one.needs])
def test_export(name: str, run: Path, tmp_path: Path):
    selection = select(run)
    written = export(run, selection=selection, format=name, out=tmp_path / "out")
    assert written.pairs == selection.selected == 5
    read = list(formats.read(name, tmp_path / "out"))
    assert sorted(one.instruction for one in read) == sorted(
        4 * [pair(1).instruction] + [pair(2).instruction]
    )
    front, text = front_matter(tmp_path / "out" / "README.md")
    assert "license" not in front
    assert "Not specified." in text
    assert "clip_image ≥ 0.7" in text
    assert "| rejected: abandoned | 1 | 10 % |" in text
    assert "| rejected: length | 2 | 40 % |" in text
    assert ("Left out" in text) == bool(written.left_out)


def test_candidates_that_share_a_picture_are_files_of_their_own_in_the_original_layout(tmp_path: Path):
    """Made with the real stage: three candidates of a group have one seed of the noise."""
    stage = PairStage(candidates=6, per_source=3, steps=2, enough=None, gates={"clip_image": -1.0})
    worker = PairWorker(stage, pipelines.model("sd1", torch.float32), small_clip.clip(), None)
    triplet = Triplet("7c-0", "7c", "a cat on the beach", "make it a dog", "a dog on the beach", "hand")
    pairs = worker.of(triplet)
    assert len({one.seed for one in pairs}) == 2
    folder = write_pairs(tmp_path / "run", pairs)
    selection = select(folder, rules=[Keep("clip_image", at_least=-1.0)])
    export(folder, selection=selection, format="original", out=tmp_path / "out")
    ((name, seeds),) = json.loads((tmp_path / "out" / "seeds.json").read_text())
    assert len(set(seeds)) == 6
    assert all((tmp_path / "out" / name / f"{seed}_{n}.jpg").exists() for seed in seeds for n in (0, 1))
    read = {one.settings["share"]: one for one in formats.read("original", tmp_path / "out")}
    assert sorted(read) == sorted(one.share for one in pairs)
    for one in pairs:
        assert read[one.share].settings["noise_seed"] == one.seed
        assert str(read[one.share].settings["seed"]) in seeds
    formats.write("original", formats.read("original", tmp_path / "out"), tmp_path / "again")
    again = {one.key: one.settings for one in formats.read("original", tmp_path / "again")}
    assert again == {one.key: one.settings for one in read.values()}


def test_the_address_of_a_caption_is_in_prompt_json(run: Path, tmp_path: Path):
    """As in the published file; a caption without one has none, and rejected triplets are left aside."""
    (run / "triplets").mkdir()
    rows = [
        Triplet(one.triplet_key, one.triplet_key[:-2], one.before, "x", "y", "hand", url=url).to_row()
        for one, url in ((pair(1), "http://a/1.jpg"), (pair(2), None), (pair(3), "http://a/3.jpg"))
    ]
    (run / "triplets" / "00000.parquet").write_bytes(encode(rows, Triplet.schema, {"unit": 0}))
    export(run, selection=select(run), format="original", out=tmp_path / "out")
    prompts = [json.loads(path.read_text()) for path in sorted((tmp_path / "out").glob("*/prompt.json"))]
    assert [prompt.get("url") for prompt in prompts] == ["http://a/1.jpg", None]
    read = formats.read("original", tmp_path / "out")
    assert [one.settings.get("url") for one in read] == ["http://a/1.jpg"] * 4 + [None]


def front_matter(path: Path) -> tuple[dict[str, Any], str]:
    """The card's YAML and its text."""
    _, front, text = path.read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front), text


@pytest.mark.parametrize("name", ["clip_filtered", "magicbrush", "ultraedit"])
def test_the_card_agrees_with_what_hugging_face_finds(name: str, run: Path, tmp_path: Path):
    from datasets import Features, load_dataset

    export(run, selection=select(run), format=name, out=tmp_path / "out", licence="cc-by-4.0")
    loaded = load_dataset(
        str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"), verification_mode="all_checks"
    )
    front, _ = front_matter(tmp_path / "out" / "README.md")
    info = front["dataset_info"]
    assert front["license"] == "cc-by-4.0"
    assert {one["name"]: one["num_examples"] for one in info["splits"]} == {
        k: v.num_rows for k, v in loaded.items()
    }
    assert Features._from_yaml_list(info["features"]) == next(iter(loaded.values())).features
    files = (tmp_path / "out").rglob("*.parquet")
    assert info["download_size"] == sum(path.stat().st_size for path in files)


def test_the_card_has_the_settings_of_every_stage(run: Path, tmp_path: Path):
    made_with = {"settings": {"model": "storybook", "share": [0.1, 0.9]}, "source": {}, "rows_per_unit": 3}
    Manifest("pairs", made_with, 10, versions={"torch": "2.0"}).write(run / "pairs")
    source = {"filters": settings(DEFAULTS), "content": "c"}
    captions = {"settings": {}, "source": source, "rows_per_unit": 3}
    Manifest("captions", captions, 10, versions={"torch": "2.1"}).write(run / "captions")
    export(run, selection=select(run), format="diffusers", out=tmp_path / "out")
    block = (tmp_path / "out" / "README.md").read_text(encoding="utf-8").split("```")[1]
    shown = json.loads(block.removeprefix("json"))
    assert shown["pairs"] == {**made_with["settings"], "versions": {"torch": "2.0"}}
    assert [one["name"] for one in shown["captions"]["filters"]] == ["length", "language", "blocked"]
    assert shown["captions"]["filters"][0]["words"] == [2, 60]


def test_a_selection_of_other_pairs_is_refused(run: Path, tmp_path: Path):
    selection = select(write_pairs(tmp_path / "other", [pair(1), pair(8)]))
    with pytest.raises(DataError, match=r"1 of the 2 selected pairs are not in .*select again"):
        export(run, selection=selection, format="diffusers", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_selected_is_refused(run: Path, tmp_path: Path):
    with pytest.raises(DataError, match="nothing was selected"):
        export(run, selection=select(run, where="false"), format="diffusers", out=tmp_path / "out")


def test_a_selected_pair_without_pictures_is_named(tmp_path: Path):
    folder = write_pairs(tmp_path / "run", [pair(1, before_image=b"not a picture")])
    with pytest.raises(DataError, match=rf"pair '{pair(1).key}', before_image: the picture does not decode"):
        export(folder, selection=select(folder), format="diffusers", out=tmp_path / "out")


def test_a_damaged_shard_is_named(run: Path):
    selection = select(run)
    shard = run / "pairs" / "00001.parquet"
    content = bytearray(shard.read_bytes())
    content[len(content) // 3] ^= 255  # inside a picture
    shard.write_bytes(content)
    with pytest.raises(DataError, match=r"00001\.parquet"):
        list(read_selected(run, selection))


def test_conversion_says_where_it_comes_from(tmp_path: Path):
    formats.write("clip_filtered", [edit(0)], tmp_path / "in")
    written = convert(tmp_path / "in", read_as="clip_filtered", format="diffusers", out=tmp_path / "out")
    text = card(written, made="x")
    assert "no place for the captions before and after" in text
    assert (
        "Converted from a data set in the format `clip_filtered`"
        in (tmp_path / "out" / "README.md").read_text()
    )


def test_the_funnel_adds_up(run: Path):
    steps = funnel(run, select(run))
    assert [(step.name, step.records, step.kept) for step in steps] == [("captions", 5, 3), ("pairs", 10, 5)]
    for step in steps:
        assert step.survivors[-1] == step.kept
    assert [percent(*one) for one in ((0, 0), (0, 9), (9, 9), (1, 3), (1, 70), (999, 1000))] == [
        "–", "0 %", "100 %", "33 %", "1.4 %", "99.9 %",
    ]  # fmt: skip
