"""Measuring pairs again: new scores and verdicts, the same pictures, into another folder."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import small_clip
import toy
from wordbrush.cli.app import app
from wordbrush.dataset.engines.local import LocalEngine
from wordbrush.dataset.records import SCORES, Pair
from wordbrush.dataset.source import ShardSource
from wordbrush.dataset.stage import run_stage
from wordbrush.metrics import clip

MEASURED = [name for name in SCORES if not name.startswith("truth")]


class Pairs(toy.Pairs):
    """Pairs with pictures, without scores, of which some were rejected for different reasons."""

    def fingerprint(self):
        return {"gates": {"clip_image": -1.0, "ssim": -1.0}}

    def pair(self, row, candidate: int) -> Pair:
        made = super().pair(row, candidate)
        rng = np.random.default_rng(made.seed)
        made = replace(made, before_image=noise(rng), after_image=noise(rng), clip_image=0.0)
        if candidate == 0:
            return replace(made, before_image=None, after_image=None, kept=False, reason="edit: no")
        if candidate == 1:
            return replace(made, kept=False, reason="clip_image: 0.000 is below 0.7")
        return replace(made, kept=True, reason=None)


def noise(rng: np.random.Generator) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(clip, "load_clip", lambda name: small_clip.clip())
    run_stage(toy.Captions(), toy.Numbers(4), tmp_path / "run", engine=LocalEngine())
    run_stage(Pairs(), ShardSource(tmp_path / "run" / "captions"), tmp_path / "run", engine=LocalEngine())
    return tmp_path / "run"


def read(folder: Path) -> dict[str, Pair]:
    source = ShardSource(folder / "pairs", rejected=True)
    return {row["key"]: Pair.from_row(row) for row in source.rows(0, len(source))}


def test_pairs_are_measured_and_judged_again(made: Path, tmp_path: Path):
    arguments = ["data", "score", str(made), "--scorer", "small", "--to", str(tmp_path / "again"), "--json"]
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["rows_out"] == 6
    before, after = read(made), read(tmp_path / "again")
    assert list(after) == list(before)
    for key, pair in after.items():
        old = before[key]
        assert (pair.before_image, pair.seed, pair.share) == (old.before_image, old.seed, old.share)
        if pair.candidate == 0:  # no draft keeps what another model measured
            assert old.clip_image is not None
            assert pair == replace(old, clip_image=None)
        else:
            assert all(getattr(pair, name) is not None for name in MEASURED)
            assert pair.clip_image != old.clip_image
            assert (pair.kept, pair.reason) == (True, None)


def test_captions_that_the_scorer_cannot_read_are_rejects(made: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(small_clip.clip(), "text_length", 3)
    arguments = ["data", "score", str(made), "--scorer", "small", "--to", str(tmp_path / "again")]
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 0, told.output
    reasons = {pair.reason.split(":")[0] for pair in read(tmp_path / "again").values() if pair.reason}
    assert reasons == {"edit", "score"}


def test_the_pairs_are_not_measured_into_their_own_folder(made: Path):
    told = CliRunner().invoke(app, ["data", "score", str(made), "--scorer", "small", "--to", str(made)])
    assert told.exit_code == 2
    assert "need a folder of their own" in told.stderr
