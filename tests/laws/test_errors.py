"""What errors say: the nearest right thing, and only if it is near."""

from __future__ import annotations

import pickle

import pytest

from wordbrush.errors import InvalidInput, UnknownWord, nearest
from wordbrush.figures import FIGURES, GROUPS
from wordbrush.files import CannotWrite

FIGURE_NAMES = [*FIGURES, *GROUPS]


@pytest.mark.parametrize(
    ("word", "known", "best"),
    [
        ("ip2p-11", FIGURE_NAMES, "ip2p-1"),
        ("p2p-al", FIGURE_NAMES, "p2p-all"),
        ("cta", ["a", "cart", "cat"], "cat"),
        ("sunst", ["susan", "sunset"], "sunset"),
        ("dog", ["DOG", "dog"], "dog"),
        ("sun", ["sunset"], "sunset"),
        ("nn", ["n"], "n"),
    ],
)
def test_the_nearest_is_named(word: str, known: list[str], best: str):
    assert nearest(word, known) == f" (did you mean {best!r}?)"


@pytest.mark.parametrize(
    ("word", "known"), [("cat", ["a", "dog"]), ("", ["a"]), ("", []), ("x", ["lion"]), ("fox", ["dog"])]
)
def test_what_is_far_is_not(word: str, known: list[str]):
    assert nearest(word, known) == ""


@pytest.mark.parametrize("kind", [InvalidInput, UnknownWord, CannotWrite])
def test_errors_go_to_other_processes_whole(kind: type[InvalidInput]):
    error = pickle.loads(pickle.dumps(kind("for Python", command="for the command line")))
    assert type(error) is kind
    assert (str(error), error.command) == ("for Python", "for the command line")
    assert kind("for both").command == "for both"
