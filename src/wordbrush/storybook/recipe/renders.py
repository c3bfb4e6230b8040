"""The training pictures: scenes drawn at random, rendered by worker processes and kept in shards.

Which scene has index ``i`` of a split is a pure function of (split, i), so shards can be made in any order, by any
number of workers, and made again bit for bit.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from wordbrush.errors import WordbrushError
from wordbrush.files import write_files
from wordbrush.storybook.recipe.budget import Budget
from wordbrush.storybook.recipe.files import write_array
from wordbrush.storybook.scene import COLOURABLE, Scene, random_scene

SHARD = 2000
"""Pictures in one shard (98 MB of uint8 pixels)."""

SPLITS = {"train": 0, "judge": 1, "heldout": 2}
PARTS = ("subject", "companion")
HELD_OUT_SHARE = 10

LATE, LATE_SHARE = ("cat", "dog", "horse", "rabbit"), 0.2
"""Subjects whose glyphs came after the models had learned the others, and the share of the training pictures in which
one of them takes the subject's place."""


def is_held_out(scene: Scene) -> bool:
    """True for the tenth of all (subject, place, time, style) combinations that no model is ever trained on."""
    combination = f"{scene.subject}/{scene.place}/{scene.time}/{scene.style}"
    return zlib.crc32(combination.encode()) % HELD_OUT_SHARE == 0


def scene_at(split: str, index: int) -> tuple[Scene, int]:
    """Return the scene with this index and the seed it is rendered with.

    ``train`` never yields a held-out combination and ``heldout`` yields nothing else; ``judge`` draws from all of them,
    with pictures of its own.
    """
    rng = np.random.default_rng([SPLITS[split], index])
    while True:
        scene = random_scene(rng)
        if split == "judge" or is_held_out(scene) == (split == "heldout"):
            return scene, int(rng.integers(2**31))


def rendered_at(split: str, index: int) -> tuple[Scene, int]:
    """Return the scene that is rendered at this index, and its seed; in ``train`` some subjects come more often."""
    scene, seed = scene_at(split, index)
    rng = np.random.default_rng([len(SPLITS), index])
    if split != "train" or rng.random() >= LATE_SHARE:
        return scene, seed
    subject = str(rng.choice(LATE))
    late = replace(scene, subject=subject, colour=scene.colour if subject in COLOURABLE else None)
    return (scene if is_held_out(late) else late), seed


def _render_shard(root: Path, split: str, shard: int) -> None:
    from wordbrush.storybook.world import mask, render

    items = [rendered_at(split, index) for index in range(shard * SHARD, (shard + 1) * SHARD)]
    images = np.stack([render(scene, seed) for scene, seed in items])
    records = "".join(json.dumps({**asdict(scene), "seed": seed}) + "\n" for scene, seed in items)
    write_files({root / split / f"{shard:05d}.jsonl": records.encode()})
    masks = np.array([[mask(scene, seed, part) for part in PARTS] for scene, seed in items])
    write_array(root / split / f"{shard:05d}.mask", np.packbits(masks, axis=-1))
    write_array(root / split / f"{shard:05d}.npy", images)


def make_renders(
    root: Path, split: str, count: int, *, workers: int = 2, budget: Budget | None = None
) -> bool:
    """Render at least ``count`` pictures of ``split`` under ``root``; shards that exist are kept.

    Returns:
        Whether all are there; shards that were begun in time are finished.
    """
    budget = budget or Budget()
    wanted = range(-(-count // SHARD))
    missing = [shard for shard in wanted if not (root / split / f"{shard:05d}.npy").exists()]
    waiting = list(reversed(missing))
    running: set[Future[None]] = set()
    with ProcessPoolExecutor(max_workers=workers) as pool:
        while waiting or running:
            while waiting and len(running) < workers and not budget.spent:
                running.add(pool.submit(_render_shard, root, split, waiting.pop()))
            if not running:
                return False
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
            budget.tell(len(wanted) - len(waiting) - len(running), len(wanted))
    return True


class Renders(Sequence[tuple[np.ndarray, Scene]]):
    """Rendered pictures of one split, memory-mapped: ``renders[i]`` is ``(uint8 (128, 128, 3), Scene)``."""

    def __init__(self, root: Path, split: str) -> None:
        paths = sorted((root / split).glob("*.npy"))
        if not paths:
            raise WordbrushError(
                f"no rendered pictures under {root / split}: run `wordbrush storybook train --stage renders` first"
            )
        self._shards = [np.load(path, mmap_mode="r") for path in paths]
        self._masks = [np.load(path.with_suffix(".mask"), mmap_mode="r") for path in paths]
        self.scenes: list[Scene] = []
        self.seeds: list[int] = []
        for path in paths:
            for line in path.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines():
                record = json.loads(line)
                self.seeds.append(record.pop("seed"))
                self.scenes.append(Scene(**record))

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> tuple[np.ndarray, Scene]:  # type: ignore[override]
        return self._shards[index // SHARD][index % SHARD], self.scenes[index]

    def images(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return pictures as uint8 (n, 128, 128, 3)."""
        return np.stack([self._shards[int(i) // SHARD][int(i) % SHARD] for i in indices])

    def masks(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the silhouettes of the subject and of the companion as bool (n, 2, 128, 128)."""
        packed = np.stack([self._masks[int(i) // SHARD][int(i) % SHARD] for i in indices])
        return np.unpackbits(packed, axis=-1).astype(bool)
