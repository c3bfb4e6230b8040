"""Every format: what is written is read again, Hugging Face datasets loads it, and bad files are named."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from edit_data import edit, encoded, picture, region, shown
from wordbrush.dataset import formats
from wordbrush.dataset.export import convert
from wordbrush.dataset.formats import FORMATS, EditPair, Picture
from wordbrush.dataset.formats import parquet as parquet_files
from wordbrush.errors import DataError, InvalidInput
from wordbrush.files import CannotWrite

os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"

TABLES = ["clip_filtered", "diffusers", "magicbrush", "ultraedit", "ultraedit_region"]
LOSSLESS = [*TABLES, "imagefolder"]


def example(number: int, name: str) -> EditPair:
    """A pair that the format takes whole."""
    if name in {"magicbrush", "ultraedit_region"}:
        return edit(number, mask_picture=region(number))
    return edit(number)


def same_pixels(one: Image.Image | None, other: Image.Image | None) -> bool:
    """Whether two pictures are the same."""
    if one is None or other is None:
        return one is other
    return (one.mode, one.size, one.tobytes()) == (other.mode, other.size, other.tobytes())


def load(folder: Path, cache: Path, **options: Any) -> Any:
    """The data set as Hugging Face reads it."""
    from datasets import load_dataset

    return load_dataset(str(folder), cache_dir=str(cache), **options)


def test_the_table_is_complete():
    assert list(FORMATS) == [*TABLES, "imagefolder", "original"]
    assert all(one.name == name and one.about for name, one in FORMATS.items())


@pytest.mark.parametrize("name", LOSSLESS)
def test_round_trip(name: str, tmp_path: Path):
    pairs = [example(number, name) for number in range(5)]
    written = formats.write(name, iter(pairs), tmp_path / "out")
    read = list(formats.read(name, tmp_path / "out"))
    carries = FORMATS[name].carries
    assert written.pairs == len(read) == 5
    assert len({pair.key for pair in read}) == 5
    for old, new in zip(pairs, read, strict=True):
        assert new.instruction == old.instruction
        assert same_pixels(new.before_image, old.before_image)
        assert same_pixels(new.after_image, old.after_image)
        assert new.before_picture.encoded == old.before_picture.encoded
        assert (new.before, new.after) == ((old.before, old.after) if "captions" in carries else (None, None))
        assert same_pixels(new.mask, old.mask if "mask" in carries else None)
        assert dict(new.scores) == (old.scores if "scores" in carries else {})
        if "settings" in carries:
            assert dict(new.settings) == old.settings
            assert new.key == old.key
    parts = {part for pair in pairs for part in pair.holds}
    assert set(written.left_out) == parts - carries
    again = [example(number, name) for number in range(5)]
    formats.write(name, again, tmp_path / "again")
    assert files(tmp_path / "out") == files(tmp_path / "again")


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", LOSSLESS)
def test_hugging_face_reads_the_export(name: str, tmp_path: Path):
    pairs = [example(number, name) for number in range(3)]
    written = formats.write(name, pairs, tmp_path / "out")
    loaded = load(tmp_path / "out", tmp_path / "cache")
    split = {"ultraedit": "FreeForm", "ultraedit_region": "RegionBase"}.get(name, "train")
    assert list(loaded) == [split]
    assert loaded[split].num_rows == 3
    if written.content.schema:
        assert loaded[split].column_names == written.content.schema.names
    instruction = "instruction" if name == "magicbrush" else "edit_prompt"
    before = {"clip_filtered": "original_image", "magicbrush": "source_img", "diffusers": "input_image",
              "imagefolder": "input_image"}.get(name, "source_image")  # fmt: skip
    for pair, row in zip(pairs, loaded[split], strict=True):
        assert row[instruction] == pair.instruction
        assert same_pixels(row[before].convert("RGB"), pair.before_image)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("streaming", [False, True])
def test_data_sets_of_hugging_face_are_read(name: str, streaming: bool, tmp_path: Path):
    pairs = [example(number, name) for number in range(3)]
    formats.write(name, pairs, tmp_path / "out")
    loaded = load(tmp_path / "out", tmp_path / "cache", streaming=streaming)
    with pytest.raises(DataError, match="has splits"):
        next(formats.read(name, loaded))
    read = list(formats.read(name, next(iter(loaded.values()))))
    assert [pair.instruction for pair in read] == [pair.instruction for pair in pairs]
    assert all(same_pixels(a.after_image, b.after_image) for a, b in zip(read, pairs, strict=True))


def test_shards_and_row_groups_are_cut_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parquet_files, "SHARD_BYTES", 6000)
    monkeypatch.setattr(parquet_files, "GROUP_BYTES", 3000)
    formats.write("diffusers", (edit(number) for number in range(12)), tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out" / "data").iterdir())
    assert len(names) > 2
    assert names[0] == f"train-00000-of-{len(names):05d}.parquet"
    assert pq.ParquetFile(tmp_path / "out" / "data" / names[0]).num_row_groups > 1
    read = list(formats.read("diffusers", tmp_path / "out"))
    assert [pair.instruction for pair in read] == [edit(number).instruction for number in range(12)]
    assert [pair.key for pair in read] == [f"train-{number:08d}" for number in range(12)]
    assert load(tmp_path / "out", tmp_path / "cache")["train"].num_rows == 12


def test_writing_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """No more pairs are asked for than a row group holds before it is written."""
    monkeypatch.setattr(parquet_files, "GROUP_ROWS", 2)
    written: list[int] = []
    original = parquet_files.pq.ParquetWriter.write_batch
    monkeypatch.setattr(
        parquet_files.pq.ParquetWriter,
        "write_batch",
        lambda self, batch, **options: (written.append(batch.num_rows), original(self, batch, **options))[1],
    )

    def pairs() -> Iterator[EditPair]:
        for number in range(6):
            assert sum(written) >= number - 2
            yield edit(number)

    formats.write("diffusers", pairs(), tmp_path / "out")
    assert written == [2, 2, 2]


# --- several splits -------------------------------------------------------------------------------------------------


def rename(folder: Path, old: str, new: str) -> None:
    """Call a written split something else."""
    for path in sorted((folder / "data").iterdir()):
        path.rename(path.with_name(path.name.replace(old, new)))


def test_several_splits_are_never_mixed_unasked(tmp_path: Path):
    for number, split in enumerate(("FreeForm_0", "FreeForm_1", "dev")):
        formats.write("ultraedit", [edit(number)], tmp_path / split)
        rename(tmp_path / split, "FreeForm", split)
    merged = tmp_path / "merged" / "data"
    merged.mkdir(parents=True)
    for path in tmp_path.glob("*/data/*.parquet"):
        path.rename(merged / path.name)
    with pytest.raises(DataError, match=r"has the splits FreeForm_0, FreeForm_1, dev: name one"):
        next(formats.read("ultraedit", merged.parent))
    assert [pair.key for pair in formats.read("ultraedit", merged.parent, split="FreeForm_*")] == [
        "FreeForm_0-00000000",
        "FreeForm_1-00000000",
    ]
    assert [pair.before for pair in formats.read("ultraedit", merged.parent, split="dev")] == [
        "a cat, number 2"
    ]
    with pytest.raises(DataError, match=r"no split 'FreeFrom_0' \(did you mean 'FreeForm_0'"):
        next(formats.read("ultraedit", merged.parent, split="FreeFrom_0"))


# --- what single formats promise ------------------------------------------------------------------------------------


def test_ultraedit_columns_and_names(tmp_path: Path):
    formats.write("ultraedit", [edit(1, settings={"idx": 77})], tmp_path / "out")
    row = pq.read_table(tmp_path / "out" / "data" / "FreeForm-00000-of-00001.parquet").to_pylist()[0]
    scores = {name: row[name] for name in row if name.startswith("clip_sim") or name.endswith("sim")}
    assert scores == {
        "clip_sim_source": 0.3, "clip_sim_target": 0.3, "clip_sim_dir": 0.25, "clip_sim_image": 0.81,
        "dinov2_sim": None, "ssim": None,
    }  # fmt: skip
    assert (row["source_caption"], row["idx"]) == ("a cat, number 1", 77)


def test_magicbrush_keeps_turns(tmp_path: Path):
    turns = [("9", 1), ("9", 2), ("9", 4), ("10", 1)]
    pairs = [
        edit(number, settings={"img_id": image, "turn_index": turn}, mask_picture=region(number))
        for number, (image, turn) in enumerate(turns)
    ]
    formats.write("magicbrush", pairs, tmp_path / "out")
    read = list(formats.read("magicbrush", tmp_path / "out"))
    assert [(pair.settings["img_id"], pair.settings["turn_index"]) for pair in read] == turns
    assert [pair.key for pair in read] == ["9-1", "9-2", "9-4", "10-1"]
    assert all(same_pixels(new.mask, old.mask) for new, old in zip(read, pairs, strict=True))
    with pytest.raises(DataError, match=r"turn 2 of '9' comes after turn 4"):
        formats.write("magicbrush", [pairs[2], pairs[1]], tmp_path / "disordered")
    with pytest.raises(DataError, match=r"turn 1 of '9' comes after turn 1"):
        formats.write("magicbrush", [pairs[0], pairs[0]], tmp_path / "twice")
    with pytest.raises(DataError, match=r"the turns of '9' are not together"):
        formats.write("magicbrush", [pairs[0], pairs[3], pairs[1]], tmp_path / "apart")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_magicbrush_without_masks(tmp_path: Path):
    formats.write("magicbrush", [edit(0), edit(1)], tmp_path / "out")
    read = list(formats.read("magicbrush", tmp_path / "out"))
    assert [pair.mask for pair in read] == [None, None]
    assert [pair.settings for pair in read] == [
        {"img_id": f"pair-{number}", "turn_index": 1} for number in range(2)
    ]


def test_the_columns_of_diffusers_stand_in_the_order_it_falls_back_to(tmp_path: Path):
    formats.write("diffusers", [edit(0)], tmp_path / "out")
    names = pq.read_schema(next((tmp_path / "out" / "data").iterdir())).names
    assert names == ["input_image", "edit_prompt", "edited_image"]


def test_imagefolder_reads_the_names_of_others(tmp_path: Path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(encoded(picture(ord(name[0]))))
    line = {
        "source_image_file_name": "a.png",
        "target_image_file_name": "b.png",
        "instruction": "x",
        "caption": "y",
    }
    (tmp_path / "metadata.jsonl").write_text(json.dumps(line) + "\n\n")
    pair = next(formats.read("imagefolder", tmp_path))
    assert (pair.instruction, pair.before, pair.after) == ("x", "y", None)
    assert same_pixels(pair.after_image, picture(ord("b")))


def test_imagefolder_columns_that_some_pairs_lack(tmp_path: Path):
    formats.write("imagefolder", [edit(0, scores={}), edit(1, scores={"l1": 0.5})], tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "metadata.jsonl").read_text().splitlines()]
    assert list(lines[0]) == list(lines[1])
    assert [line["l1"] for line in lines] == [None, 0.5]
    assert load(tmp_path / "out", tmp_path / "cache")["train"]["l1"][:] == [None, 0.5]
    with pytest.raises(DataError, match="differs in having a mask"):
        formats.write("imagefolder", [edit(0), edit(1, mask_picture=region(1))], tmp_path / "mixed")
    with pytest.raises(DataError, match="has a setting 'edit_prompt'"):
        formats.write("imagefolder", [edit(0, settings={"edit_prompt": "x"})], tmp_path / "taken")


# --- the original folders -------------------------------------------------------------------------------------------


def jpegs(number: int, **changes: Any) -> EditPair:
    """A pair whose pictures are JPEG files."""
    files = {
        "before_picture": shown(picture(number), "JPEG"),
        "after_picture": shown(picture(number + 50), "JPEG"),
    }
    return edit(number, **files | changes)


def prompts() -> list[EditPair]:
    """Three pairs of one prompt and one of another."""
    texts = {"before": "a", "instruction": "b", "after": "c"}
    return [*(jpegs(n, **texts, settings={"seed": seed}) for n, seed in enumerate((10, 9, 1))), jpegs(3)]


def test_original_round_trip(tmp_path: Path):
    written = formats.write("original", prompts(), tmp_path / "out")
    assert written.pairs == 4
    assert json.loads((tmp_path / "out" / "seeds.json").read_text()) == [
        ["0000000", ["10", "1", "9"]],  # sorted as file names: 10_0.jpg before 1_0.jpg
        ["0000001", ["73"]],
    ]
    prompt = json.loads((tmp_path / "out" / "0000000" / "prompt.json").read_text())
    assert prompt == {"input": "a", "edit": "b", "output": "c"}
    read = {pair.key: pair for pair in formats.read("original", tmp_path / "out")}
    assert list(read) == ["0000000-10", "0000000-1", "0000000-9", "0000001-73"]
    for old, key in zip(prompts(), ["0000000-10", "0000000-9", "0000000-1", "0000001-73"], strict=True):
        new = read[key]
        assert (new.before, new.instruction, new.after) == (old.before, old.instruction, old.after)
        # The JPEG itself, not compressed again.
        assert new.before_picture.encoded == old.before_picture.encoded
        assert dict(new.scores) == old.scores
    assert read["0000001-73"].settings == {"folder": "0000001", "seed": 73, "share": 0.4, "guidance": 7.5}
    formats.write("original", read.values(), tmp_path / "again")
    formats.write("original", formats.read("original", tmp_path / "again"), tmp_path / "third")
    assert files(tmp_path / "third") == files(tmp_path / "again")
    assert files(tmp_path / "third").keys() == files(tmp_path / "out").keys()


def test_original_keeps_pictures_without_captions_apart(tmp_path: Path):
    """The same instruction for two pictures is two folders, and for one picture one."""
    pairs = [
        edit(n, before=None, after=None, instruction="make it snow", settings=settings)
        for n, settings in enumerate([{"img_id": "a"}, {"img_id": "a"}, {"img_id": "b"}, {}, {}])
    ]
    formats.write("original", pairs, tmp_path / "out")
    seeds = json.loads((tmp_path / "out" / "seeds.json").read_text())
    assert [len(own) for _, own in seeds] == [2, 1, 1, 1]
    again = list(formats.read("original", tmp_path / "out"))
    formats.write("original", again, tmp_path / "again")
    assert json.loads((tmp_path / "again" / "seeds.json").read_text()) == seeds


@pytest.mark.parametrize("value", ["third", None, 1.5, float("inf"), 2**31])
def test_turns_that_are_no_numbers_are_named(value: Any, tmp_path: Path):
    one = edit(1, settings={"img_id": "a", "turn_index": value})
    with pytest.raises(DataError, match=r"pair 'pair-1': turn_index is .*, not a whole number of 32 bits"):
        formats.write("magicbrush", [one], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [pa.string(), pa.int32()])
def test_turns_that_are_no_numbers_are_named_when_read(kind: pa.DataType, tmp_path: Path):
    formats.write("magicbrush", [edit(1)], tmp_path / "out")
    (path,) = tmp_path.rglob("*.parquet")
    table = pq.read_table(path)
    turns = pa.array(["third" if kind == pa.string() else None], kind)
    pq.write_table(table.set_column(table.schema.get_field_index("turn_index"), "turn_index", turns), path)
    with pytest.raises(DataError, match=r"parquet, row 0: turn_index is .*, not a whole number"):
        list(formats.read("magicbrush", tmp_path / "out"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"settings": {"idx": "a7"}}, "pair 'pair-1': idx is 'a7', not a whole number"),
        ({"scores": {"ssim": "high"}}, "pair 'pair-1': ssim is 'high', not a number"),
    ],
)
def test_ultraedit_numbers_that_are_none_are_named(changes: dict, sentence: str, tmp_path: Path):
    with pytest.raises(DataError, match=sentence):
        formats.write("ultraedit", [edit(1, **changes)], tmp_path / "out")


def test_text_in_a_column_of_scores_is_named(tmp_path: Path):
    formats.write("ultraedit", [edit(1)], tmp_path / "out")
    (path,) = tmp_path.rglob("*.parquet")
    table = pq.read_table(path)
    text = pa.array(["high"])
    pq.write_table(table.set_column(table.schema.get_field_index("clip_sim_dir"), "clip_sim_dir", text), path)
    with pytest.raises(DataError, match="row 0: clip_sim_dir is 'high', not a number"):
        list(formats.read("ultraedit", tmp_path / "out"))
    formats.write("original", [edit(1)], tmp_path / "folders")
    (lines,) = tmp_path.rglob("metadata.jsonl")
    lines.write_text(json.dumps(json.loads(lines.read_text()) | {"clip_sim_0": "high"}))
    with pytest.raises(DataError, match="seed 71: clip_sim_0 is 'high', not a number"):
        list(formats.read("original", tmp_path / "folders"))


def test_original_files_are_what_the_published_training_opens(tmp_path: Path):
    """It does not convert modes, and takes seed and folder from seeds.json alone."""
    formats.write("original", [edit(4), edit(5, settings={})], tmp_path / "out")
    for name, seeds in json.loads((tmp_path / "out" / "seeds.json").read_text()):
        for seed in seeds:
            assert isinstance(json.loads((tmp_path / "out" / name / "prompt.json").read_text())["edit"], str)
            with Image.open(tmp_path / "out" / name / f"{seed}_0.jpg") as image:
                assert (image.format, image.mode) == ("JPEG", "RGB")
    assert seeds == ["0"]  # a pair without a seed is numbered in its folder


def test_original_reads_both_spellings_and_repeated_metadata(tmp_path: Path):
    formats.write("original", [jpegs(1)], tmp_path / "out")
    folder = tmp_path / "out" / "0000000"
    (folder / "prompt.json").write_text(
        json.dumps({"caption": "old", "edit": "e", "output": "o", "url": "u"})
    )
    line = {"seed": 71, "clip_sim_dir": 0.5, "p2p_threshold": 0.3}
    with (folder / "metadata.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    (tmp_path / "out" / "seeds.json").unlink()  # an interrupted preparation
    pair = next(formats.read("original", tmp_path / "out"))
    assert (pair.before, pair.settings["url"], pair.settings["share"]) == ("old", "u", 0.3)
    assert dict(pair.scores) == {"clip_direction": 0.5}


def test_original_is_refused_with_a_sentence(tmp_path: Path):
    with pytest.raises(DataError, match="two pairs of folder 0000000 have the seed 71"):
        formats.write("original", [jpegs(1), jpegs(1)], tmp_path / "out")
    taken = [jpegs(number, settings={"folder": "0000007", "seed": 1}) for number in (1, 2)]
    with pytest.raises(DataError, match="folder 0000007 is taken"):
        formats.write("original", taken, tmp_path / "out")
    with pytest.raises(DataError, match="must be a whole number"):
        formats.write("original", [jpegs(1, settings={"seed": "../1"})], tmp_path / "out")
    with pytest.raises(DataError, match=r"neither seeds\.json nor folders"):
        next(formats.read("original", tmp_path))
    formats.write("original", [jpegs(1)], tmp_path / "out")
    with pytest.raises(DataError, match="has no splits"):
        next(formats.read("original", tmp_path / "out", split="train"))
    (tmp_path / "out" / "0000000" / "metadata.jsonl").write_text('{"seed": 71}\n{"seed": \n')
    with pytest.raises(DataError, match=r"metadata\.jsonl, line 2: not JSON"):
        next(formats.read("original", tmp_path / "out"))
    (tmp_path / "out" / "0000000" / "71_1.jpg").unlink()
    (tmp_path / "out" / "0000000" / "metadata.jsonl").unlink()
    with pytest.raises(DataError, match=r"cannot read .*71_1\.jpg"):
        next(formats.read("original", tmp_path / "out"))
    (tmp_path / "out" / "seeds.json").write_text('{"a": 1}')
    with pytest.raises(DataError, match=r"seeds\.json is not a list such as"):
        next(formats.read("original", tmp_path / "out"))


# --- from one format to another -------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", LOSSLESS)
@pytest.mark.parametrize("target", [*LOSSLESS, "original"])
def test_any_format_becomes_any_other_or_says_why_not(source: str, target: str, tmp_path: Path):
    formats.write(source, [example(number, source) for number in range(2)], tmp_path / "in")
    pair = next(formats.read(source, tmp_path / "in"))
    lacking = FORMATS[target].needs - pair.holds
    if lacking:
        with pytest.raises(DataError, match=f"has no {min(lacking)}, which {target} needs"):
            convert(tmp_path / "in", read_as=source, format=target, out=tmp_path / "out")
        assert not (tmp_path / "out").exists()
        return
    convert(tmp_path / "in", read_as=source, format=target, out=tmp_path / "out")
    read = list(formats.read(target, tmp_path / "out"))
    assert [one.instruction for one in read] == [example(number, source).instruction for number in range(2)]
    if target != "original":
        assert same_pixels(read[0].before_image, pair.before_image)


# --- refused, with nothing left behind ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*LOSSLESS, "original"])
def test_an_export_is_whole_or_not_there(name: str, tmp_path: Path):
    def broken() -> Iterator[EditPair]:
        yield example(0, name)
        raise DataError("the source broke")

    with pytest.raises(DataError, match="the source broke"):
        formats.write(name, broken(), tmp_path / "out")
    with pytest.raises(DataError, match="no pairs to write"):
        formats.write(name, [], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="exists: choose another folder"):
        formats.write(name, [example(0, name)], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*args: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    for name in ("imagefolder", "original"):
        with pytest.raises(CannotWrite, match=r"cannot write .*out: the disk is full"):
            formats.write(name, [edit(0)], tmp_path / "out")
    monkeypatch.setattr(parquet_files.pq.ParquetWriter, "write_batch", full)
    with pytest.raises(CannotWrite, match="the disk is full"):
        formats.write("diffusers", [edit(0)], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_unknown_formats_and_missing_sources(tmp_path: Path):
    with pytest.raises(InvalidInput, match="did you mean 'magicbrush'"):
        formats.read("magicbrus", tmp_path)
    for name in TABLES:
        with pytest.raises(DataError, match="has no parquet files"):
            next(formats.read(name, tmp_path))
    with pytest.raises(DataError, match=r"has no metadata\.jsonl"):
        next(formats.read("imagefolder", tmp_path))


def test_another_formats_columns_are_named(tmp_path: Path):
    formats.write("clip_filtered", [edit(0)], tmp_path / "out")
    with pytest.raises(
        DataError, match=r"no column 'input_image', only original_prompt, .* the columns of clip_filtered$"
    ):
        next(formats.read("diffusers", tmp_path / "out"))


def damage(folder: Path, column: str, value: Any) -> None:
    """Replace a column's second value in a written table."""
    path = next((folder / "data").iterdir())
    table = pq.read_table(path)
    values = table[column].to_pylist()
    values[1] = value
    place = table.schema.get_field_index(column)
    changed = table.set_column(
        place, table.schema.field(column), pa.array(values, table.schema.field(column).type)
    )
    pq.write_table(changed, path)


@pytest.mark.parametrize("name", TABLES)
def test_a_picture_that_does_not_decode_is_named(name: str, tmp_path: Path):
    formats.write(name, [example(number, name) for number in range(3)], tmp_path / "out")
    column = {"clip_filtered": "edited_image", "diffusers": "edited_image", "magicbrush": "target_img"}.get(
        name, "edited_image"
    )
    whole = encoded(picture(1))
    for bad, reason in (
        ({"bytes": whole[:-40], "path": None}, "does not decode"),
        ({"bytes": b"no picture", "path": None}, "does not decode: it is of no known format"),
        ({"bytes": b"", "path": None}, "does not decode"),
        (None, "there is no picture"),
        ({"bytes": None, "path": "gone.png"}, "cannot read .*gone.png"),
    ):
        damage(tmp_path / "out", column, bad)
        read = formats.read(name, tmp_path / "out")
        assert next(read)
        with pytest.raises(DataError, match=reason) as caught:
            next(read)
        assert "\n" not in str(caught.value)
        if "gone" not in reason:
            assert f"row 1, {column}" in str(caught.value)


def test_missing_texts_and_damaged_files_are_named(tmp_path: Path):
    formats.write("diffusers", [edit(number) for number in range(3)], tmp_path / "out")
    damage(tmp_path / "out", "edit_prompt", None)
    with pytest.raises(DataError, match=r"row 1: edit_prompt is None, not a text"):
        list(formats.read("diffusers", tmp_path / "out"))
    path = next((tmp_path / "out" / "data").iterdir())
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"parquet cannot be read"):
        list(formats.read("diffusers", tmp_path / "out"))


def test_imagefolder_names_the_line(tmp_path: Path):
    formats.write("imagefolder", [edit(number) for number in range(2)], tmp_path / "out")
    metadata = tmp_path / "out" / "metadata.jsonl"
    good = metadata.read_text().splitlines()
    second = json.loads(good[1])
    for change, message in (
        ({"edit_prompt": None}, r"line 2 has none of 'edit_prompt', 'instruction'"),
        ({"edited_image_file_name": "gone.png"}, r"line 2: cannot read .*gone\.png"),
        ({"edited_image_file_name": "../../x.png"}, r"line 2: \.\./\.\./x\.png is outside"),
    ):
        metadata.write_text("\n".join([good[0], json.dumps(second | change)]))
        with pytest.raises(DataError, match=message):
            list(formats.read("imagefolder", tmp_path / "out"))
    metadata.write_text(good[0] + "\n[1]\n")
    with pytest.raises(DataError, match=r"line 2: expected a JSON object, got"):
        list(formats.read("imagefolder", tmp_path / "out"))


# --- pictures of other kinds ----------------------------------------------------------------------------------------


def test_rgb_files_are_passed_on_as_they_are():
    for kind in ("PNG", "JPEG", "WEBP"):
        data = encoded(picture(1), kind)
        assert Picture.decode(data, "x").file()[0] == data


def test_orientation_is_applied():
    image = picture(1, (24, 16))
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = Picture.decode(encoded(image, "PNG", exif=exif), "x")
    assert decoded.image.size == (16, 24)
    assert same_pixels(decoded.image, image.transpose(Image.Transpose.ROTATE_270))
    assert decoded.encoded is None
    assert same_pixels(Picture.decode(decoded.file()[0], "x").image, decoded.image)


def test_transparency_is_laid_on_white():
    image = Image.new("RGBA", (8, 8), (200, 10, 10, 0))
    image.paste((10, 20, 30, 255), (0, 0, 4, 8))
    decoded = Picture.decode(encoded(image), "x")
    assert decoded.image.getpixel((6, 4)) == (255, 255, 255)
    assert decoded.image.getpixel((2, 4)) == (10, 20, 30)
    assert decoded.encoded is None
    mask = Picture.decode(encoded(image), "x", mask=True)
    assert (mask.image.mode, mask.image.getpixel((6, 4))) == ("L", 255)  # where it is cut out, it may change


def test_greyscale_palette_16_bits_and_cmyk_become_rgb():
    grey = picture(3, mode="L")
    assert same_pixels(Picture.decode(encoded(grey), "x").image, grey.convert("RGB"))
    palette = picture(3).quantize(16)
    assert same_pixels(Picture.decode(encoded(palette), "x").image, palette.convert("RGB"))
    deep = Image.new("I;16", (4, 4), 256 * 77 + 5)
    assert Picture.decode(encoded(deep), "x").image.getpixel((1, 1)) == (77, 77, 77)
    assert Picture.decode(encoded(picture(3).convert("CMYK"), "JPEG"), "x").image.mode == "RGB"
    for image in (grey, palette, deep):
        assert Picture.decode(encoded(image), "x").encoded is None


def test_masks_are_greyscale():
    mask = region(1)
    assert Picture.decode(encoded(mask.image.convert("RGB")), "x", mask=True).encoded is not None
    assert same_pixels(Picture.decode(encoded(mask.image.convert("RGB")), "x", mask=True).image, mask.image)
    assert (
        Picture.decode(encoded(picture(1)), "x", mask=True).encoded is None
    )  # colours are not what it shows


def test_a_picture_beyond_the_limit_is_refused_where_pillow_only_warns(monkeypatch: pytest.MonkeyPatch):
    data = encoded(picture(0, (16, 16)))
    assert Picture.decode(data, "x").image.size == (16, 16)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    with pytest.raises(DataError, match="x: the picture has more than 200 pixels"):
        Picture.decode(data, "x")


def test_animations_and_32_bits_are_refused():
    frames = [picture(number) for number in range(3)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="x: an animation of 3 frames is not a picture"):
        Picture.decode(data, "x")
    with pytest.raises(DataError, match="32 bits"):
        Picture.decode(encoded(Image.new("F", (4, 4)), "TIFF"), "x")


def test_pictures_may_be_replaced(tmp_path: Path):
    changed = replace(edit(0), after_picture=Picture.of(picture(99)))
    formats.write("diffusers", [changed], tmp_path / "out")
    assert same_pixels(next(formats.read("diffusers", tmp_path / "out")).after_image, picture(99))


def test_what_a_killed_export_left_is_cleaned_up(tmp_path: Path):
    left = tmp_path / ".out.partial"
    left.mkdir()
    (left / "half.parquet").write_bytes(b"half")
    formats.write("diffusers", [jpegs(1)], tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    assert not (tmp_path / "out" / "half.parquet").exists()


def test_two_exports_do_not_write_one_folder(tmp_path: Path):
    def pairs():
        yield jpegs(1)
        with pytest.raises(DataError, match="another process is writing"):
            formats.write("diffusers", [jpegs(2)], tmp_path / "out")

    assert formats.write("diffusers", pairs(), tmp_path / "out").pairs == 1
