"""Pairs whose pictures are rendered: the ground truth in place of what a text-to-image model makes of the captions.

An editor trained on them is the upper bound of one that is trained on generated pairs: what it does better is the price
of generated data. They are written as ``wordbrush data`` writes a run, triplets and pairs and a selection of all, so
that whatever reads a run reads them: training, paraphrases, reports, exports.

Nothing of what editors are measured with is among them (``storybook.unseen``): no combination of subject, place, time
and style that is held out, neither before the edit nor after it, and no wording, which tests make sure of.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from wordbrush.dataset import select
from wordbrush.dataset.engines.local import LocalEngine
from wordbrush.dataset.keys import caption_key, key_rng, key_seed, pair_key, triplet_key
from wordbrush.dataset.manifest import Manifest
from wordbrush.dataset.records import PAIRS, TRIPLETS, Pair, Triplet
from wordbrush.dataset.run import SELECTION, kept
from wordbrush.dataset.selection import Selection
from wordbrush.dataset.stage import Progress, Worker, run_stage
from wordbrush.errors import InvalidInput
from wordbrush.evaluation.data.storybook import digest_of_world
from wordbrush.files import png
from wordbrush.storybook.phrases import said
from wordbrush.storybook.recipe.paraphrases import WORDINGS
from wordbrush.storybook.recipe.renders import is_held_out
from wordbrush.storybook.scene import KINDS, caption, parse, random_scene
from wordbrush.storybook.unseen import scenes_for

RENDERED = "rendered"
"""What the pairs say of their attention control, and the triplets of their writer."""


def rendered_triplet(index: int, *, seed: int = 0) -> Triplet:
    """Return triplet ``index``, a pure function of its arguments; the kinds of edits come in turn."""
    kind = KINDS[index % len(KINDS)]
    rng = key_rng(seed, RENDERED, index)
    while True:
        before, after = scenes_for(kind, random_scene(rng), rng)
        if not is_held_out(before) and not is_held_out(after):
            break
    wordings = WORDINGS[kind]
    instruction = said(wordings[int(rng.integers(len(wordings)))], kind.split()[0], before, after)
    phrasing = int(rng.integers(2**31))
    first, second = caption(before, phrasing), caption(after, phrasing)
    key = caption_key(first)
    return Triplet(
        key=triplet_key(key, index),  # scenes come again, numbers do not
        caption_key=key,
        before=first,
        instruction=instruction,
        after=second,
        writer=RENDERED,
    )


@dataclass(frozen=True)
class Triplets:
    """The rows of ``rendered_triplet``, number 0 to ``count`` − 1; more of them begin with the same ones."""

    count: int
    seed: int = 0

    def __len__(self) -> int:
        return self.count

    def rows(self, start: int, stop: int) -> list[dict[str, Any]]:
        """Return the rows [start, stop)."""
        return [rendered_triplet(index, seed=self.seed).to_row() for index in range(start, stop)]

    def fingerprint(self) -> dict[str, Any]:
        """Return the seed and the wordings that are drawn from."""
        return {"seed": self.seed, "wordings": {kind: WORDINGS[kind] for kind in KINDS}}


@dataclass(frozen=True)
class TripletStage:
    """Writes the rows of ``Triplets`` down."""

    rows_per_unit: int = 1000
    name: str = "triplets"
    schema: pa.Schema = TRIPLETS

    def fingerprint(self) -> dict[str, Any]:
        """Everything the rows depend on is in the source's own."""
        return {}

    def open(self) -> Worker:
        """Return the worker, which changes nothing."""
        return list


@dataclass(frozen=True)
class RenderStage:
    """Renders both scenes of every triplet with one seed, so that they differ in the edit alone.

    Args:
        seed: of the run.
    """

    seed: int = 0
    rows_per_unit: int = 100
    name: str = "pairs"
    schema: pa.Schema = PAIRS

    def fingerprint(self) -> dict[str, Any]:
        """Return the seed and a checksum of what the world and its font draw."""
        return {"seed": self.seed, "world": digest_of_world()}

    def open(self) -> Worker:
        """Return the worker."""
        return self._rows

    def _rows(self, triplets: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for row in triplets:
            yield self._pair(Triplet.from_row(row)).to_row()

    def _pair(self, triplet: Triplet) -> Pair:
        seed = key_seed(self.seed, triplet.key, "render") % 2**31
        return Pair(
            key=pair_key(triplet.key, 0),
            triplet_key=triplet.key,
            before=triplet.before,
            instruction=triplet.instruction,
            after=triplet.after,
            candidate=0,
            seed=seed,
            share=0.0,
            guidance=1.0,
            control=RENDERED,
            steps=0,
            forward_samples=0,
            before_image=_picture(triplet.before, seed),
            after_image=_picture(triplet.after, seed),
        )


def _picture(text: str, seed: int) -> bytes:
    from PIL import Image

    from wordbrush.storybook.world import render

    return png(Image.fromarray(render(parse(text), seed)), {"prompt": text, "seed": seed})


def write_rendered_pairs(
    out: Path, count: int, *, seed: int = 0, progress: Progress | None = None
) -> Selection:
    """Write ``count`` rendered pairs as a run into ``out``, all of them selected; calling it again goes on.

    Args:
        progress: called as ``dataset.stage.run_stage`` calls it, for the triplets and then for the pairs.

    Raises:
        InvalidInput: fewer than one pair.
        DataError: ``out`` was made with another count, seed or world, or another run is working in it.
        CannotWrite: the disk is full, or the folder cannot be written; no file is left half-written.
        MissingFont: the font that the world is drawn with is not there.
    """
    if count < 1:
        raise InvalidInput(f"there has to be at least 1 pair, not {count}")
    engine = LocalEngine()
    run_stage(TripletStage(), Triplets(count, seed), out, engine=engine, progress=progress)
    run_stage(RenderStage(seed), kept(out, "triplets"), out, engine=engine, progress=progress)
    content = Manifest.read(out / "pairs").content
    selection = replace(select.select(out, RENDERED, rules=()), content=content)
    selection.write(out / SELECTION)
    return selection
