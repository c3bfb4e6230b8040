"""Keys and seeds are pure functions of what they are made from."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np

from wordbrush.dataset.keys import caption_key, key_rng, key_seed, pair_key, triplet_key


def test_captions_that_differ_in_form_only_share_their_key():
    assert caption_key("A cat  on a\nbeach.") == caption_key("a cat on a beach")
    assert caption_key("a cat on a beach") != caption_key("a cat in a beach")
    assert len(caption_key("")) == 16


def test_keys_name_what_they_belong_to():
    assert triplet_key("00ff", 2) == "00ff-2"
    assert pair_key("00ff-2", 7) == "00ff-2-007"


def test_seeds_are_non_negative_63_bit_numbers_without_collisions():
    seeds = {
        key_seed(run, key, *parts)
        for run, key, parts in itertools.product(
            range(10), ("a", "b", "a-0"), ((), ("noise",), ("noise", 0), ("noise", 1), ("1",), (1,))
        )
    }
    assert len(seeds) == 10 * 3 * 6
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62


def test_parts_do_not_run_into_each_other():
    assert key_seed(1, "a", "b", "c") != key_seed(1, "a", "bc")
    assert key_seed(1, "ab") != key_seed(1, "a", "b")


def test_another_process_draws_the_same():
    program = (
        "from wordbrush.dataset.keys import *; print(key_seed(3, 'k', 'p', 1), key_rng(3, 'k').random())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(key_seed(3, "k", "p", 1)), str(key_rng(3, "k").random())]


def test_the_global_generator_is_left_alone():
    np.random.seed(0)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    key_rng(0, "key").random()
    assert np.random.random() == expected  # noqa: NPY002
