"""Measuring a writer where the truth of a triplet can be decided: on storybook captions that it has not seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from wordbrush.dataset.keys import caption_key, normalise, triplet_key
from wordbrush.dataset.records import gate
from wordbrush.dataset.writers.base import StorybookTruth, Writer, write_drafts
from wordbrush.dataset.writers.form import read_examples
from wordbrush.storybook.instructions import HAND_WRITTEN, changed
from wordbrush.storybook.recipe.renders import scene_at
from wordbrush.storybook.scene import caption, parse
from wordbrush.storybook.statistics import share

BATCH = 64

Progress = Callable[[int, int], None]


def evaluate_writer(
    writer: Writer, *, captions: int = 500, seed: int = 0, progress: Progress | None = None
) -> dict[str, Any]:
    """Let a writer write one triplet for each caption of held-out scenes, in a single attempt.

    Args:
        captions: number of captions, all of combinations that no training text has.
        progress: called with (captions done, in all).

    Returns:
        ``valid``: the share of triplets that are true of the storybook (``instructions.objection``); ``novel``: of
        those, the share whose instruction was not written by hand; ``valid_and_novel``; each with its 95 % Wilson
        interval. ``distinct_instructions`` and ``attributes`` say how varied the valid ones are, ``faults`` why
        the others fail, by gate, with an example of each.
    """
    write = writer.open()
    known = {normalise(example.instruction) for example in read_examples(HAND_WRITTEN)}
    valid, novel = [], []
    attributes: Counter[str] = Counter()
    instructions: set[str] = set()
    faults: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for start in range(0, captions, BATCH):
        texts = [caption(scene_at("heldout", i)[0], i) for i in range(start, min(start + BATCH, captions))]
        # The number keeps captions apart that happen to be the same.
        keys = [[triplet_key(caption_key(text), start + n)] for n, text in enumerate(texts)]
        drafts = write_drafts(write, texts, keys, seed=seed, checks=(StorybookTruth(),), attempts=1)
        for text, (draft,) in zip(texts, drafts, strict=True):
            answer = draft.answer
            valid.append(answer.fault is None)
            if answer.fault is None:
                instructions.add(normalise(answer.instruction))
                novel.append(normalise(answer.instruction) not in known)
                attributes[changed(parse(text), parse(answer.after))[0]] += 1
            else:
                faults[gate(answer.fault)] += 1
                examples.setdefault(gate(answer.fault), f"{text!r}: {answer.raw!r} ({answer.fault})")
        if progress is not None:
            progress(len(valid), captions)
    fresh = sum(novel)
    return {
        "captions": captions,
        "writer": writer.name,
        "valid": share(valid),
        "novel": share(novel),
        "valid_and_novel": share([number < fresh for number in range(len(valid))]),
        "distinct_instructions": len(instructions),
        "attributes": dict(sorted(attributes.items())),
        "faults": dict(faults.most_common()),
        "fault_examples": examples,
    }
