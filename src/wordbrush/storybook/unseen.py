"""Edits of storybook scenes that no model has been trained on, asked for in wordings that no training text has.

Each has the scene and its ground-truth edit, so that everything about it can be decided. The words of the wordings are
ordinary ones; what is new is how they are put together. Neither the hand-written triplets nor their variations
(``recipe.wordings``) nor other wordings for them (``recipe.paraphrases``) have them, which a test makes sure of.
``{old}`` and ``{new}`` stand for what is there and what should be.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from wordbrush.storybook.phrases import said
from wordbrush.storybook.recipe.renders import is_held_out
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
    caption,
    random_scene,
)

WORDINGS: dict[str, tuple[str, ...]] = {
    "subject": (
        "it would be nicer to see {a_new} than {a_old}",
        "get rid of the {old} and put {a_new} in the same place",
        "what should be here is {a_new}",
        "I asked for {a_new}, and this is {a_old}",
        "play a bit: where the {old} was, {a_new} is now",
        "please remove the {old} and draw {a_new}",
        "the {old} is not needed, I'd like {a_new} to stand here",
        "let us have {a_new} as the main subject now",
    ),
    "place": (
        "I'd like all this {in_new}",
        "the whole thing belongs {in_new}",
        "the backdrop should be {the_new}",
        "could you take us all over to {the_new}?",
        "same subject, but {in_new}",
        "imagine everyone is {in_new} now",
        "not here, please: {in_new}",
        "it is time to go to {the_new}",
    ),
    "time": (
        "show the same picture {at_new}",
        "I want to see all of it {at_new}",
        "what would it be like {at_new}?",
        "let everything here be {at_new}",
        "the same view, only {at_new}",
        "draw this again, {at_new}",
        "for this picture I prefer it {at_new}",
        "how about the same place {at_new}?",
    ),
    "style": (
        "I'd like it better as {new_style}",
        "redo the whole picture as {new_style}",
        "what this picture needs is to be {new_style}",
        "what I want is {new_style} of the same scene",
        "could you draw this again as {new_style}?",
        "would you show me the same view as {new_style}?",
        "let this be {new_style}",
        "the same thing again, but as {new_style}",
    ),
    "colour": (
        "I'd like the {subject} to be {new}",
        "what if the {subject} was {new}, not {old}?",
        "make this {subject} {new} all over",
        "take away the {old} and make it {new}",
        "let me have a look at the {subject} in {new}",
        "{a_new} {subject} is what I asked for",
        "all that is {old} on the {subject} should be {new}",
        "give us the same {subject}, only {new}",
    ),
    "companion added": (
        "I'd like to see {a_new} in here too",
        "let there be {a_new} close to the {subject}",
        "please draw {a_new} in as well",
        "the {subject} would love to have {a_new} beside it",
        "it would look better with {a_new}",
        "could you put in {a_new}?",
        "what is missing in this picture is {a_new}",
        "now show {a_new} next to the {subject}",
    ),
    "companion removed": (
        "I'd rather not see the {old}",
        "please clear the {old} out of this picture",
        "the {old} should not be here",
        "let the {old} be gone",
        "just leave the {old} out",
        "could you get the {old} out of the way?",
        "the {subject} needs no {old}",
        "show it all again, but without the {old}",
    ),
}


@dataclass(frozen=True)
class UnseenEdit:
    """One edit with its truth.

    Args:
        kind: of ``scene.KINDS``.
        before, after: the scenes; the first is of a combination that no model was trained on, and they differ in the
            attribute that the kind names.
        instruction: what says so.
        seed: both are rendered with it.
        phrasing: both are captioned with it.
    """

    kind: str
    before: Scene
    after: Scene
    instruction: str
    seed: int
    phrasing: int

    @property
    def captions(self) -> tuple[str, str]:
        """What the pictures before and after show, in one phrasing."""
        return caption(self.before, self.phrasing), caption(self.after, self.phrasing)


def unseen_edit(index: int) -> UnseenEdit:
    """Return edit ``index``, a pure function of it; the kinds come in turn."""
    kind = KINDS[index % len(KINDS)]
    rng = np.random.default_rng([41, index])
    while True:
        before, after = scenes_for(kind, random_scene(rng), rng)
        if is_held_out(before):
            break
    wordings = WORDINGS[kind]
    text = said(wordings[int(rng.integers(len(wordings)))], kind.split()[0], before, after)
    seed, phrasing = (int(number) for number in rng.integers(2**31, size=2))
    return UnseenEdit(kind, before, after, text, seed, phrasing)


def scenes_for(kind: str, scene: Scene, rng: np.random.Generator) -> tuple[Scene, Scene]:
    """Return a scene that the kind of edit can be made of, near ``scene``, and the edited one."""

    def other(words: tuple[str, ...], present: str | None) -> str:
        return str(rng.choice([word for word in words if word != present]))

    match kind:
        case "subject":  # a coloured subject stays one that can have the colour
            known = tuple(word for word in SUBJECTS if scene.colour is None or word in COLOURABLE)
            return scene, replace(scene, subject=other(known, scene.subject))
        case "place":
            return scene, replace(scene, place=other(PLACES, scene.place))
        case "time":
            return scene, replace(scene, time=other(TIMES, scene.time))
        case "style":  # a sketch hardly shows a colour
            scene = replace(scene, colour=None)
            return scene, replace(scene, style=other(STYLES, scene.style))
        case "colour":
            subject = scene.subject if scene.subject in COLOURABLE else str(rng.choice(sorted(COLOURABLE)))
            style = "plain" if scene.style == "pencil sketch" else scene.style
            coloured = replace(
                scene, subject=subject, style=style, colour=scene.colour or other(COLOURS, None)
            )
            return coloured, replace(coloured, colour=other(COLOURS, coloured.colour))
        case "companion added":
            scene = replace(scene, companion=None)
            return scene, replace(scene, companion=other(COMPANIONS, None))
        case _:
            scene = replace(scene, companion=scene.companion or other(COMPANIONS, None))
            return scene, replace(scene, companion=None)
