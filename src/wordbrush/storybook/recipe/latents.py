"""Stage ``latents``: every training picture encoded once by the trained autoencoder, as float16 shards."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from wordbrush.errors import WordbrushError
from wordbrush.storybook.recipe import autoencoder
from wordbrush.storybook.recipe.budget import Budget
from wordbrush.storybook.recipe.files import write_array, write_json
from wordbrush.storybook.recipe.renders import SHARD, Renders

CHUNK = 50


@torch.no_grad()
def encode(
    renders: Path, weights: Path, out: Path, *, device: torch.device, budget: Budget | None = None
) -> bool:
    """Encode the posterior means of all shards of the training split; shards that exist are kept.

    ``statistics.json`` gets the mean and standard deviation of each latent channel and of all together, once all are
    encoded.

    Returns:
        Whether that is so.
    """
    budget = budget or Budget()
    data = Renders(renders, "train")
    model = autoencoder.load_averaged(weights, device)
    shards = len(data) // SHARD
    for shard in range(shards):
        path = out / f"{shard:05d}.npy"
        if path.exists():
            continue
        if budget.spent:
            return False
        parts = []
        for start in range(shard * SHARD, (shard + 1) * SHARD, CHUNK):
            pixels = autoencoder.to_unit(data.images(range(start, start + CHUNK)), device)
            parts.append(model.encode(pixels).latent_dist.mean.half().cpu().numpy())
        write_array(path, np.concatenate(parts))
        budget.tell(shard + 1, shards)
    first = np.load(out / "00000.npy").astype(np.float64)
    statistics = {
        "std": float(first.std()),
        "mean": first.mean((0, 2, 3)).tolist(),
        "stds": first.std((0, 2, 3)).tolist(),
    }
    write_json(out / "statistics.json", statistics)
    return True


def latent_scale(latents: Path) -> float:
    """The autoencoder's ``scaling_factor``: one over the standard deviation of its latents."""
    return 1.0 / json.loads((latents / "statistics.json").read_text(encoding="utf-8"))["std"]


class Latents:
    """Encoded training pictures: ``latents.batch(indices)`` is float32 (n, 8, 16, 16), not yet scaled."""

    def __init__(self, root: Path) -> None:
        paths = sorted(root.glob("*.npy"))
        if not paths:
            raise WordbrushError(
                f"no latents under {root}: run `wordbrush storybook train --stage latents` first"
            )
        self._shards = [np.load(path, mmap_mode="r") for path in paths]

    def __len__(self) -> int:
        return SHARD * len(self._shards)

    def batch(self, indices: np.ndarray) -> torch.Tensor:
        """Return the latents with these indices."""
        rows = np.stack([self._shards[int(i) // SHARD][int(i) % SHARD] for i in indices])
        return torch.from_numpy(rows).float()
