"""The names of records, and the randomness that depends on nothing but them."""

from __future__ import annotations

import json
import unicodedata
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

ENDS = " .!?"
"""What two captions may differ by at their ends, as in the published comparison of captions, and be the same."""


def normalise(text: str) -> str:
    """Return what two captions must share to be the same: NFKC, case-folded, single spaces, without ``ENDS``."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).strip(ENDS)


def caption_key(text: str) -> str:
    """Return the 16 hex digits (BLAKE2b, 64 bits) of the normalised text."""
    return blake2b(normalise(text).encode(), digest_size=8).hexdigest()


def triplet_key(caption: str, number: int) -> str:
    """Return the key of the ``number``-th instruction (from 0) written for the caption of that key."""
    return f"{caption}-{number}"


def pair_key(triplet: str, candidate: int) -> str:
    """Return the key of candidate ``candidate`` (from 0) of the triplet of that key."""
    return f"{triplet}-{candidate:03d}"


def key_seed(run_seed: int, key: str, *parts: str | int) -> int:
    """Return a seed in [0, 2⁶³) that is a pure function of its arguments.

    ``parts`` name what the seed is for, so that a record can have several independent ones. Neither the order in
    which records are handled nor the batch, worker or machine has any influence.
    """
    named = json.dumps([run_seed, key, *parts], ensure_ascii=True, separators=(",", ":"))
    return int.from_bytes(blake2b(named.encode(), digest_size=8).digest(), "big") >> 1


def key_rng(run_seed: int, key: str, *parts: str | int) -> np.random.Generator:
    """Return a fresh PCG64 generator seeded with ``key_seed`` of the same arguments."""
    import numpy as np

    return np.random.Generator(np.random.PCG64(key_seed(run_seed, key, *parts)))
