"""Rendered scenes of the storybook that no model was trained on, with ground truth (``storybook.unseen``)."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

from PIL import Image

from wordbrush.errors import InvalidInput
from wordbrush.evaluation.data.base import Data
from wordbrush.evaluation.example import Example
from wordbrush.storybook.scene import (
    COLOURABLE,
    COLOURS,
    COMPANIONS,
    KINDS,
    PLACES,
    STYLES,
    SUBJECTS,
    TIMES,
    Scene,
)
from wordbrush.storybook.unseen import unseen_edit
from wordbrush.storybook.world import render

NAME = "storybook"
COUNT = 100 * len(KINDS)
"""A hundred edits of every kind."""


def open_storybook(name: str = NAME) -> Data:
    """Return the data set ``storybook`` or ``storybook:COUNT``; a smaller one is the beginning of a larger one.

    Raises:
        InvalidInput: the count is no whole number of at least 1.
    """
    _, colon, text = name.partition(":")
    if colon and (not text.isdecimal() or int(text) < 1):
        raise InvalidInput(
            f"{NAME}:COUNT takes a whole number of at least 1, as in '{NAME}:70', not {text!r}"
        )
    count = int(text) if colon else COUNT
    return Data(NAME, lambda: _read(count), total=count, judged=True)


def _read(count: int) -> Iterator[Example]:
    for index in range(count):
        yield example_at(index)


def example_at(index: int) -> Example:
    """Return example ``index``: 128 × 128 pixels; its mask is every pixel that differs between the two renders."""
    edit = unseen_edit(index)
    before, after = render(edit.before, edit.seed), render(edit.after, edit.seed)
    captions = edit.captions
    return Example(
        key=f"{NAME}-{index}",
        image=Image.fromarray(before),
        instruction=edit.instruction,
        before=captions[0],
        after=captions[1],
        mask=(before != after).any(axis=-1),
        truth=Image.fromarray(after),
        kind=edit.kind,
    )


def digest_of_world() -> str:
    """Return a BLAKE2b checksum, 128 bits in hex, of renders in which every word of the storybook is drawn.

    It changes with the world's code and with the emoji font.
    """
    hashed = blake2b(digest_size=16)
    for number, subject in enumerate(SUBJECTS):
        one = Scene(
            subject,
            PLACES[number % len(PLACES)],
            TIMES[number % len(TIMES)],
            STYLES[number % len(STYLES)],
            COLOURS[number % len(COLOURS)] if subject in COLOURABLE else None,
            COMPANIONS[number % len(COMPANIONS)],
        )
        hashed.update(render(one, number).tobytes())
    return hashed.hexdigest()
