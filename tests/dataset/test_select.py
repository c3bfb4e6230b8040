"""Selection: every pair gets a verdict, the same one whatever the order, and NaN passes no gate."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
import pytest

from edit_data import pair, write_pairs
from wordbrush.dataset.calibrate import calibrate, percentiles
from wordbrush.dataset.records import Pair
from wordbrush.dataset.rules import Best, Keep, preset
from wordbrush.dataset.select import select
from wordbrush.dataset.selection import Selection
from wordbrush.dataset.statistics import histograms
from wordbrush.errors import DataError, InvalidInput


def verdict(selection: Selection, key: str) -> dict[str, object]:
    """The row of one pair."""
    return selection.verdicts.filter(pc.field("key") == key).to_pylist()[0]


def count(selection: Selection, gate: str) -> int:
    """How many pairs a gate rejected."""
    return next(one.rejected for one in selection.counts if one.gate == gate)


def varied() -> list[Pair]:
    """Twelve pairs: seven good ones of one triplet, and five that fail in different ways."""
    return [
        *(pair(1, n, clip_direction=0.2 + n / 100) for n in range(7)),
        pair(2, 0, clip_image=0.72),
        pair(2, 1, clip_image=0.69, clip_after=0.1),
        pair(2, 2, clip_before=0.1999),
        pair(2, 3, clip_direction=float("nan")),
        pair(2, 4, clip_direction=None),
    ]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with the varied pairs."""
    return write_pairs(tmp_path / "run", varied())


def test_the_published_filter(run: Path):
    selection = select(run)
    best = [pair(1, n).key for n in (3, 4, 5, 6)]
    assert selection.keys == sorted([*best, pair(2, 0).key])
    assert (selection.pairs, selection.selected) == (12, 5)
    assert {one.gate: one.rejected for one in selection.counts} == {
        "clip_image": 1,
        "clip_before": 1,
        "clip_after": 0,
        "clip_direction": 2,
        "best": 3,
    }
    assert {one.gate: one.alone for one in selection.counts}["clip_after"] == 1  # hidden behind clip_image
    assert verdict(selection, pair(2, 2).key)["reason"] == "clip_before: 0.1999 < 0.2"
    assert verdict(selection, pair(2, 3).key)["reason"] == "clip_direction: not a number"
    assert verdict(selection, pair(2, 4).key)["reason"] == "clip_direction: missing"
    assert verdict(selection, pair(1, 2).key)["reason"] == "best: rank 5 of its triplet by clip_direction"
    assert verdict(selection, pair(1, 6).key) == {
        "key": pair(1, 6).key,
        "triplet_key": pair(1).triplet_key,
        "kept": True,
        "gate": None,
        "reason": None,
    }


def test_the_paper_is_stricter(run: Path):
    assert pair(2, 0).key in select(run).keys
    assert pair(2, 0).key not in select(run, "paper").keys


def test_thresholds_are_inclusive(tmp_path: Path):
    edge = pair(1, clip_image=0.7, clip_before=0.2, clip_after=0.2, clip_direction=0.2)
    assert select(write_pairs(tmp_path, [edge])).selected == 1


def test_ties_go_to_the_smaller_key_whatever_the_order(tmp_path: Path):
    equal = [pair(1, n) for n in range(9)]
    forwards = select(write_pairs(tmp_path / "a", equal))
    backwards = select(write_pairs(tmp_path / "b", reversed(equal), per_shard=2))
    assert forwards.keys == [pair(1, n).key for n in range(4)]
    assert forwards.verdicts.equals(backwards.verdicts)


def test_best_per_caption_joins_the_instructions_of_a_caption(tmp_path: Path):
    caption = pair(1).triplet_key.removesuffix("-0")
    other = [pair(1, n, triplet_key=f"{caption}-1", key=f"{caption}-1-{n:03d}") for n in range(3)]
    folder = write_pairs(tmp_path, [*(pair(1, n) for n in range(3)), *other])
    assert select(folder, rules=[Best("clip_direction", per="triplet", k=2)]).selected == 4
    assert select(folder, rules=[Best("clip_direction", per="caption", k=2)]).selected == 2


def test_best_never_prefers_a_missing_score(tmp_path: Path):
    good = pair(1, 5, clip_direction=0.1)
    folder = write_pairs(
        tmp_path, [pair(1, 0, clip_direction=float("nan")), pair(1, 1, clip_direction=None), good]
    )
    assert select(folder, rules=[Best("clip_direction", k=1)]).keys == [good.key]


def test_where_comes_before_best(run: Path):
    selection = select(run, where="candidate % 2 = 0 AND guidance > 7")
    assert selection.keys == sorted([*(pair(1, n).key for n in (0, 2, 4, 6)), pair(2, 0).key])
    assert verdict(selection, pair(1, 1).key)["gate"] == "where"


def test_a_range(run: Path):
    assert select(run, rules=[Keep("l1", at_least=0.05, at_most=0.2)]).selected == 12
    rejected = select(run, rules=[Keep("l1", at_most=0.05)])
    assert verdict(rejected, pair(1).key)["reason"] == "l1: 0.1 > 0.05"


def test_what_the_stage_rejected_stays_rejected_unless_only_a_score_was_low(tmp_path: Path):
    abandoned = pair(1, 0, kept=False, reason="abandoned: predicted direction 0.02", before_image=None)
    low = pair(1, 1, kept=False, reason="clip_image: 0.72 < 0.75", clip_image=0.72)
    unscored = pair(1, 2, kept=False, reason="clip_image: predicted", **dict.fromkeys(
        ("clip_image", "clip_before", "clip_after", "clip_direction", "l1", "ssim")))  # fmt: skip
    selection = select(write_pairs(tmp_path, [abandoned, low, unscored]))
    assert selection.keys == [low.key]
    assert count(selection, "abandoned") == 1
    assert verdict(selection, abandoned.key)["reason"] == abandoned.reason
    assert verdict(selection, unscored.key)["reason"] == unscored.reason


def test_a_selection_is_read_as_it_was_written(run: Path, tmp_path: Path):
    selection = select(run, where="steps = 20")
    selection.write(tmp_path / "chosen")
    read = Selection.read(tmp_path / "chosen.parquet")
    assert read.verdicts.equals(selection.verdicts)
    assert (read.rules, read.counts, read.preset) == (selection.rules, selection.counts, "published")
    first = (tmp_path / "chosen.parquet").read_bytes()
    select(run, where="steps = 20").write(tmp_path / "chosen")
    assert (tmp_path / "chosen.parquet").read_bytes() == first


def test_files_of_two_selections_are_refused(run: Path, tmp_path: Path):
    select(run).write(tmp_path / "one")
    select(run, "paper").write(tmp_path / "two")
    (tmp_path / "one.json").write_bytes((tmp_path / "two.json").read_bytes())
    with pytest.raises(DataError, match="not of one selection"):
        Selection.read(tmp_path / "one")
    with pytest.raises(DataError, match=r"there is no selection .*three"):
        Selection.read(tmp_path / "three")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "publised"}, "did you mean 'published'"),
        ({"rules": [Keep("clip_direktion", at_least=0.2)]}, "did you mean 'clip_direction'"),
        ({"rules": [Keep("before", at_least=0.2)]}, "the pairs have no score 'before'"),
        ({"rules": [Keep("l1", at_least=0), Keep("l1", at_most=1)]}, "two rules are called 'l1'"),
        ({"where": "clip_imag > 0.5"}, "is not a condition: .*clip_imag"),
        ({"where": "l1 <"}, "is not a condition"),
        ({"where": "l1 > 0) OR (true); DROP TABLE x; --"}, "is not a condition"),
    ],
)
def test_refused_with_a_sentence(run: Path, options: dict[str, object], message: str):
    with pytest.raises(InvalidInput, match=message) as caught:
        select(run, **options)  # pyright: ignore[reportArgumentType]
    assert "\n" not in str(caught.value)


def test_rules_are_checked_when_they_are_made():
    with pytest.raises(InvalidInput, match="needs at_least or at_most"):
        Keep("l1")
    with pytest.raises(InvalidInput, match="finite"):
        Keep("l1", at_least=float("nan"))
    with pytest.raises(InvalidInput, match="per 'image'"):
        Best("l1", per="image")
    with pytest.raises(InvalidInput, match="at least 1, not 0"):
        Best("l1", k=0)


def test_bad_shards_are_refused_with_a_sentence(run: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no pairs"):
        select(tmp_path / "empty")
    shard = run / "pairs" / "00001.parquet"
    again = run / "pairs" / "00009.parquet"
    again.write_bytes(shard.read_bytes())
    with pytest.raises(DataError, match="two pairs have the key"):
        select(run)
    again.unlink()
    shard.write_bytes(shard.read_bytes()[:-50])
    with pytest.raises(DataError, match=r"00001\.parquet"):
        select(run)


def test_calibrating_on_the_same_pairs_selects_the_same(run: Path):
    reference = percentiles(run)
    assert reference["clip_image"] == pytest.approx(100 / 12)
    calibrated = calibrate(run, reference)
    assert calibrated != preset("published")
    assert select(run, rules=calibrated).keys == select(run).keys


def test_drafts_that_were_given_up_do_not_count(run: Path, tmp_path: Path):
    """Their scores are of other pictures, and after ``data score`` of another model."""
    drafts = [
        pair(3, n, clip_image=0.1, kept=False, reason="draft clip_image: 0.1 is below 0.7", before_image=None)
        for n in range(6)
    ]
    more = write_pairs(tmp_path / "more", [*varied(), *drafts])
    assert percentiles(more) == percentiles(run)
    assert calibrate(more, percentiles(run)) == calibrate(run, percentiles(run))
    for one, other in zip(histograms(more, select(more)), histograms(run, select(run)), strict=True):
        assert one.rejected.tolist() == other.rejected.tolist()
        assert one.missing == other.missing + 6


def test_calibrating_follows_the_distribution_of_another_model(run: Path, tmp_path: Path):
    moved = [
        pair(int(one.before.split()[3]), one.candidate, **{
            name: value if value is None else 0.1 + value / 3
            for name in ("clip_image", "clip_before", "clip_after", "clip_direction")
            for value in [getattr(one, name)]
        })
        for one in varied()
    ]  # fmt: skip
    other = write_pairs(tmp_path / "other", moved)
    assert select(other).keys != select(run).keys
    rules = calibrate(other, percentiles(run))
    assert select(other, "calibrated", rules=rules).keys == select(run).keys


def test_calibration_is_refused_with_a_sentence(run: Path):
    reference = percentiles(run)
    with pytest.raises(InvalidInput, match=r"needs a percentage from 0 to 100, not 101"):
        calibrate(run, reference | {"clip_image": 101})
    with pytest.raises(InvalidInput, match=r"did you mean 'clip_image'"):
        calibrate(run, reference | {"clip_imag": 10})
    reference.pop("clip_after")
    with pytest.raises(InvalidInput, match="no percentage for 'clip_after'"):
        calibrate(run, reference)


def test_the_hundredth_percentile_keeps_nothing(run: Path):
    rules = calibrate(run, percentiles(run) | {"clip_direction": 100})
    assert select(run, rules=rules).selected == 0
