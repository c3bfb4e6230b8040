"""Triplets for the figures: written by hand, and written now by the embedded writer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from wordbrush.dataset.keys import caption_key, triplet_key
from wordbrush.dataset.writers.base import StorybookTruth, Write, write_drafts
from wordbrush.dataset.writers.form import Example, read_examples
from wordbrush.dataset.writers.storybook import storybook_writer
from wordbrush.errors import DataError
from wordbrush.storybook.instructions import HAND_WRITTEN


@lru_cache
def by_hand() -> tuple[Example, ...]:
    """Return the triplets that the storybook writer was taught by."""
    return tuple(read_examples(HAND_WRITTEN))


@lru_cache
def _writer() -> Write:
    return storybook_writer().open()


def written(captions: Sequence[str], *, seed: int = 0) -> list[Example]:
    """Return one triplet for every storybook caption, as the stage of triplets would write and check it.

    Raises:
        DataError: the writer had no true triplet for a caption.
        ModelError: the writer's weights are missing.
    """
    keys = [[triplet_key(caption_key(caption), 0)] for caption in captions]
    made = []
    for caption, (draft,) in zip(
        captions, write_drafts(_writer(), captions, keys, seed=seed, checks=[StorybookTruth()]), strict=True
    ):
        if draft.answer.fault is not None:
            raise DataError(f"the writer has nothing true to say of {caption!r}: {draft.answer.fault}")
        made.append(Example(caption, draft.answer.instruction, draft.answer.after))
    return made
