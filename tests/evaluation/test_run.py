"""The loop keeps results, goes on where it stopped, and says what could not be edited."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wordbrush as wb
from evaluation.fakes import Brighter, examples, mean_level, short_captions
from wordbrush.evaluation.chart import chart, drawable
from wordbrush.evaluation.rows import ROWS, read_rows
from wordbrush.evaluation.run import evaluate
from wordbrush.evaluation.summary import by_kind, curves


def test_neither_batch_nor_folder_matters(tmp_path: Path):
    methods = [Brighter(10.0), Brighter(20.0)]
    alone = evaluate(examples(5), methods, [mean_level], batch=1)
    kept = evaluate(examples(5), methods, [mean_level], batch=3, out=tmp_path)
    assert [(row.method, row.settings, row.key, row.seed, row.scores) for row in alone] != []
    for one, other in zip(
        sorted(alone, key=lambda row: row.name), sorted(kept, key=lambda row: row.name), strict=True
    ):
        assert (one.name, one.seed, one.scores) == (other.name, other.seed, other.scores)
        assert one.forward_samples == other.forward_samples == 3
    assert len({row.seed for row in alone}) == 5, "methods share the noise of an example"
    other = evaluate(examples(5), methods, [mean_level], seed=1)
    assert {row.seed for row in other}.isdisjoint(row.seed for row in alone)


def test_it_goes_on_where_it_stopped(tmp_path: Path):
    first = evaluate(examples(4), [Brighter(10.0)], [mean_level], out=tmp_path, batch=2)
    whole = (tmp_path / ROWS).read_bytes()
    lines = whole.splitlines(keepends=True)
    (tmp_path / ROWS).write_bytes(b"".join(lines[:2]) + lines[2][:50])  # killed while writing
    method, new = Brighter(10.0), Brighter(20.0)
    seen = []
    rows = evaluate(
        examples(6), [method, new], [mean_level], out=tmp_path, batch=2, limit=5,
        progress=lambda done, total: seen.append((done, total)), total=5,
    )  # fmt: skip
    assert method.calls == [["e2", "e3"], ["e4"]]
    assert new.calls == [["e0", "e1"], ["e2", "e3"], ["e4"]]
    assert seen == [(2, 5), (4, 5), (5, 5)]
    assert len(rows) == 10
    found = {row.name: row.scores for row in rows}
    assert all(found[row.name] == row.scores for row in first)
    assert sorted(row.name for row in read_rows(tmp_path)) == sorted(found)


def test_what_cannot_be_edited_is_told_and_the_rest_is_edited():
    method = Brighter(10.0, cannot=frozenset({"e1"}))
    rows = evaluate(examples(3), [method], [mean_level], batch=3)
    assert [row.failed for row in rows] == [None, "e1 cannot be edited", None]
    assert rows[1].scores == {}
    (curve,) = curves(rows)
    assert (curve.points[0].edits, curve.points[0].failed) == (2, 1)


def test_an_edit_that_a_model_cannot_make_does_not_stop_the_others(tmp_path: Path):
    method = Brighter(10.0, too_large=frozenset({"e1"}))
    rows = evaluate(examples(4), [method], [mean_level], batch=2, out=tmp_path)
    assert method.calls == [["e0", "e1"], ["e0"], ["e1"], ["e2", "e3"]]
    assert [row.failed for row in rows] == [None, "memory ran out over e1", None, None]
    assert len(read_rows(tmp_path)) == 4


@pytest.mark.parametrize("batch", [1, 3])
def test_a_measure_that_cannot_be_taken_costs_its_scores_and_not_the_edit(batch: int, tmp_path: Path):
    method = Brighter(10.0)
    rows = evaluate(examples(3), [method], [short_captions, mean_level], batch=batch, out=tmp_path)
    assert sum(len(keys) for keys in method.calls) == 3  # nothing is edited twice
    assert [row.failed for row in rows] == [None] * 3
    assert [row.unmeasured for row in rows] == [None, "the caption of e1 has 90 tokens", None]
    assert ["caption" in row.scores for row in rows] == [True, False, True]
    assert all("level" in row.scores for row in rows)
    (curve,) = curves(read_rows(tmp_path))
    (point,) = curve.points
    assert (point.edits, point.failed, point.unmeasured) == (3, 0, 1)
    assert (point.scores["caption"]["of"], point.scores["level"]["of"]) == (2, 3)
    again = Brighter(10.0)
    evaluate(examples(3), [again], [short_captions, mean_level], out=tmp_path)
    assert again.calls == []


def test_what_failed_is_tried_again(tmp_path: Path):
    evaluate(examples(2), [Brighter(10.0, cannot=frozenset({"e1"}))], [mean_level], out=tmp_path)
    method = Brighter(10.0)
    rows = evaluate(examples(2), [method], [mean_level], out=tmp_path)
    assert method.calls == [["e1"]]
    assert [row.failed for row in rows] == [None, None]
    assert [(row.key, row.failed) for row in read_rows(tmp_path)] == [("e0", None), ("e1", None)]


def test_other_settings_go_into_another_folder(tmp_path: Path):
    known = {"clip": "a", "models": {"editor": "1"}}
    evaluate(examples(1), [Brighter(1.0)], [mean_level], out=tmp_path, made_with=known)
    evaluate(
        examples(1),
        [Brighter(1.0)],
        [mean_level],
        out=tmp_path,
        made_with={"clip": "a", "models": {"more": "2"}},
    )
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert settings == {"seed": 0, "clip": "a", "models": {"editor": "1", "more": "2"}}
    for changed, says in (
        ({**known, "clip": "b"}, "made with clip 'a', not 'b'"),
        ({"clip": "a", "models": {"editor": "3"}}, "the model 'editor' has changed"),
    ):
        with pytest.raises(wb.DataError, match=says):
            evaluate(examples(1), [Brighter(1.0)], [mean_level], out=tmp_path, made_with=changed)
    with pytest.raises(wb.DataError, match="does not say with what world it was made"):
        evaluate(examples(1), [Brighter(1.0)], [mean_level], out=tmp_path, made_with={**known, "world": "1f"})
    with pytest.raises(wb.DataError, match="made with seed 0, not 1"):
        evaluate(examples(1), [Brighter(1.0)], [mean_level], out=tmp_path, made_with=known, seed=1)
    (tmp_path / ROWS).write_text('{"method": "x"}\n')
    with pytest.raises(wb.DataError, match="line 1, is no result"):
        evaluate(examples(1), [Brighter(1.0)], [mean_level], out=tmp_path, made_with=known)


def test_what_cannot_be_evaluated_is_refused(tmp_path: Path):
    with pytest.raises(wb.DataError, match="two examples have the key 'e0'"):
        evaluate(examples(1) * 2, [Brighter(1.0)], [])
    with pytest.raises(wb.InvalidInput, match="name a method"):
        evaluate(examples(1), [], [])
    with pytest.raises(wb.InvalidInput, match="brighter is given twice"):
        evaluate(examples(1), [Brighter(1.0), Brighter(2.0), Brighter(1.0)], [])
    with pytest.raises(wb.InvalidInput, match="batch must be"):
        evaluate(examples(1), [Brighter(1.0)], [], batch=0)
    with pytest.raises(wb.DataError, match=r"has no rows\.jsonl"):
        read_rows(tmp_path)


def test_curves_are_means_with_intervals():
    rows = evaluate(examples(8), [Brighter(40.0), Brighter(0.0)], [mean_level])
    (curve,) = curves(rows)
    assert (curve.method, curve.along, curve.settings) == ("brighter", "by", {"model": "none"})
    assert [point.at for point in curve.points] == [0.0, 40.0]
    for point in curve.points:
        own = [row.scores for row in rows if row.settings["by"] == point.at]
        level = point.scores["level"]
        assert level["mean"] == pytest.approx(np.mean([scores["level"] for scores in own]))
        assert level["low"] < level["mean"] < level["high"]
        assert level["of"] == 8
        successes = [scores["success"] for scores in own if "success" in scores]
        assert point.scores["success"]["share"] == np.mean(successes)
        assert point.scores["success"]["of"] == 4
        assert point.forward_samples == 3
    assert curve.points[1].scores["level"]["mean"] > curve.points[0].scores["level"]["mean"] + 20
    kinds = by_kind(rows)
    assert list(kinds) == ["k0", "k1"]
    assert "success" not in kinds["k1"][0].points[0].scores


def test_rows_of_a_file_and_new_ones_are_one_curve(tmp_path: Path):
    class Tupled(Brighter):
        @property
        def settings(self) -> dict[str, Any]:
            return {**super().settings, "guided": (0, 0.8), "fit": {"rate": 1.0, "steps": (1, 2)}}

    evaluate(examples(2), [Tupled(1.0)], [mean_level], out=tmp_path)
    rows = evaluate(examples(4), [Tupled(1.0), Tupled(2.0)], [mean_level], out=tmp_path)
    (curve,) = curves(rows)
    assert [point.edits for point in curve.points] == [4, 4]


def test_the_chart_shows_what_has_both_axes():
    rows = evaluate(examples(4), [Brighter(10.0), Brighter(20.0)], [mean_level])
    assert drawable(curves(rows)) == []
    rng = np.random.default_rng(0)
    scored = [
        replace(row, scores=dict(zip(("clip_direction", "clip_image"), rng.random(2), strict=True)))
        for row in rows
    ]
    drawn = chart(curves(scored), title="four examples")
    assert drawn.startswith(b"\x89PNG")
    assert drawn == chart(curves(scored), title="four examples")
    assert drawn != chart(curves(scored[:4]), title="four examples")
