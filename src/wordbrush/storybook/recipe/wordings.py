"""More triplets from those written by hand: the same wordings, said of other scenes.

A few hundred triplets do not show every word in every place. So the scene of a hand-written triplet is drawn anew, and
where its instruction names something by a word of its own, that word is replaced by another one of the same class:
"turn the cat into a fox" becomes "turn the owl into a crab". The wording itself is never touched; a time, a weather or
a value that the instruction only paraphrases stays what it was. Combinations that are held out of all training stay
held out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wordbrush.dataset.writers.form import Example
from wordbrush.storybook.instructions import CUES, NOUNS, WORD, changed, objection
from wordbrush.storybook.recipe.renders import is_held_out
from wordbrush.storybook.scene import (
    SUBJECTS,
    Scene,
    UnknownCaption,
    UnknownScene,
    caption,
    parse,
    random_scene,
)

TRIES = 200
GROUPS = tuple(SUBJECTS[start:end] for start, end in ((0, 19), (19, 25), (25, 29), (29, 34), (34, 40)))
"""Animals, vehicles, food, plants, and what is built: subjects that can be spoken of in the same words."""

STYLES_WITH_ARTICLE = ("watercolor", "oil painting", "pencil sketch")
DEFAULTS = (None, "noon", "plain")
"""What is there when something is taken away."""

ARTICLE = re.compile(r"\b(an?|the) $", re.IGNORECASE)
PLACED = re.compile(r"\b(in|on|at|by|near) (a|the) $")


@dataclass(frozen=True)
class Wording:
    """A hand-written triplet, with the words of its instruction that stand for something in its captions.

    Args:
        slots: (start, end, attribute, "before" | "after") of every such word.
    """

    example: Example
    before: Scene
    after: Scene
    attribute: str
    slots: tuple[tuple[int, int, str, str], ...]

    @classmethod
    def of(cls, example: Example) -> Wording:
        """Read a triplet that is true of the storybook."""
        before, after = parse(example.before), parse(example.after)
        (attribute,) = changed(before, after)
        return cls(example, before, after, attribute, tuple(_slots(example.instruction, before, after)))

    def says(self, attribute: str, side: str) -> bool:
        """Whether the instruction names this value by its own word."""
        return any(slot[2:] == (attribute, side) for slot in self.slots)

    def paraphrases(self, value: str) -> bool:
        """Whether the instruction has some other word for this time, weather or style."""
        return not CUES.get(value, frozenset()).isdisjoint(WORD.findall(self.example.instruction.lower()))


def _slots(instruction: str, before: Scene, after: Scene) -> list[tuple[int, int, str, str]]:
    found = []
    for attribute in (*NOUNS, "style"):
        for side, scene in (("before", before), ("after", after)):
            value = getattr(scene, attribute)
            if value is None or (attribute == "style" and value not in STYLES_WITH_ARTICLE):
                continue
            if side == "after" and getattr(before, attribute) == value:
                continue  # not changed: already found as what was before
            for match in re.finditer(rf"\b{value}\b", instruction, re.IGNORECASE):
                if attribute != "style" or ARTICLE.search(instruction[: match.start()]):
                    found.append((match.start(), match.end(), attribute, side))
    return sorted(found)


def vary(wording: Wording, rng: np.random.Generator) -> Example:
    """Return a triplet in this wording about another scene; the hand-written one itself if no other is found."""
    for _ in range(TRIES):
        scenes = _draw(wording, rng)
        if scenes is None or any(map(is_held_out, scenes)):
            continue
        instruction = _say(wording, *scenes)
        if instruction is None:
            continue
        phrasing = int(rng.integers(2**31))
        made = Example(caption(scenes[0], phrasing), instruction, caption(scenes[1], phrasing))
        if objection(made.before, made.instruction, made.after) is None:
            return made
    return wording.example


def _draw(wording: Wording, rng: np.random.Generator) -> tuple[Scene, Scene] | None:
    """Draw the scenes before and after, or None if what was drawn does not go together."""
    before = random_scene(rng)
    for attribute in NOUNS:  # words that are named have to be there, and of the same class
        value = getattr(wording.before, attribute)
        if attribute == wording.attribute or not wording.says(attribute, "before"):
            continue
        try:
            before = replace(before, **{attribute: _other(attribute, value, rng)})
        except UnknownScene:
            return None
    name = wording.attribute
    old, new = getattr(wording.before, name), getattr(wording.after, name)
    if wording.says(name, "before"):
        old = _other(name, old, rng)
    elif new not in DEFAULTS and old is not None and not wording.paraphrases(old):
        old = getattr(before, name) or old
    if new is not None and wording.says(name, "after"):
        new = _other(name, new, rng)
    try:
        before = replace(before, **{name: old})
        return (before, replace(before, **{name: new})) if old != new else None
    except UnknownScene:  # a colour on what takes none
        return None


def _other(attribute: str, value: str, rng: np.random.Generator) -> str:
    """Draw a value that can be spoken of in the same words as ``value``."""
    if attribute == "style":
        known: Sequence[str] = STYLES_WITH_ARTICLE
    elif attribute == "subject":
        known = next(group for group in GROUPS if value in group)
    else:
        known = NOUNS[attribute]
    return known[rng.integers(len(known))]


def _say(wording: Wording, before: Scene, after: Scene) -> str | None:
    """Put the scenes' words into the instruction; None if a place does not take the preposition before it."""
    text = wording.example.instruction
    for start, end, attribute, side in reversed(wording.slots):
        value = getattr(before if side == "before" else after, attribute)
        head = text[:start]
        if attribute == "place" and (placed := PLACED.search(head)) and not _fits(placed[1], value):
            return None
        if article := ARTICLE.search(head):
            head = f"{head[: article.start()]}{_article(article[1], value)} "
        word = value.capitalize() if text[start].isupper() else value
        text = head + word + text[end:]
    return text


def _fits(preposition: str, place: str) -> bool:
    article = "the" if place == "moon" else "a"
    try:
        parse(f"a cat {preposition} {article} {place}")
    except UnknownCaption:
        return False
    return True


def _article(was: str, noun: str) -> str:
    if was.lower() == "the" or noun == "moon":
        return "The" if was[0].isupper() else "the"
    article = "an" if noun[0] in "aeiou" else "a"
    return article.capitalize() if was[0].isupper() else article
