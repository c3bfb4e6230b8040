"""A writer of instructions of one's own: a table of words instead of a language model.

A writer is a light object of settings. ``open`` returns the function that writes: captions and seeds in, one answer for
each out, so that what is written depends on the caption and its seed alone.
"""

import random
from dataclasses import asdict, dataclass

from wordbrush.dataset.keys import caption_key, triplet_key
from wordbrush.dataset.writers.base import Answer, Changed, write_drafts

OTHERS = {"cat": ("dog", "fox"), "beach": ("forest", "city"), "night": ("noon", "sunset")}


@dataclass(frozen=True)
class Table:
    """Swaps a word for another one of its row."""

    name: str = "table"

    def fingerprint(self):
        return {**asdict(self), "words": {word: list(others) for word, others in OTHERS.items()}}

    def check(self):
        """There is nothing to look for."""

    def open(self):
        return lambda captions, seeds: [self.swap(*asked) for asked in zip(captions, seeds, strict=True)]

    def swap(self, caption, seed):
        choice = random.Random(seed)
        known = [word for word in caption.split() if word in OTHERS]
        if not known:
            return Answer(raw=caption, fault="table: no word of the caption is in it")
        old = choice.choice(known)
        new = choice.choice(OTHERS[old])
        return Answer(f"turn the {old} into a {new}", caption.replace(old, new), raw=f"{old} → {new}")


captions = ["a cat on a beach", "a car in a city at night", "a turtle"]
keys = [[triplet_key(caption_key(caption), 0)] for caption in captions]
drafts = write_drafts(Table().open(), captions, keys, seed=1, checks=[Changed()])
for caption, (draft,) in zip(captions, drafts, strict=True):
    answer = draft.answer
    print(f"{caption}: {answer.fault or f'{answer.instruction} → {answer.after}'}")
