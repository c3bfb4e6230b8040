"""Captions of a sheet name the seeds where, and only where, they differ."""

from __future__ import annotations

from wordbrush.cli.output import seeded


def test_seeds_are_named_where_they_differ():
    assert seeded([("a cat", 3), ("a dog", 3)]) == ["a cat", "a dog"]
    assert seeded([("a cat", 3), ("a cat", 4)]) == ["a cat, seed 3", "a cat, seed 4"]
