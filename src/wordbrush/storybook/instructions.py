"""What makes an instruction true of two storybook captions; it is decidable, since captions can be parsed."""

from __future__ import annotations

import re
from pathlib import Path

from wordbrush.storybook.scene import (
    COLOURS,
    COMPANIONS,
    PLACES,
    SUBJECTS,
    Scene,
    UnknownCaption,
    parse,
)

HAND_WRITTEN = Path(__file__).parent / "triplets.jsonl"
"""Triplets written by hand, in the published form (``input``, ``edit``, ``output``)."""

ATTRIBUTES = ("subject", "place", "time", "style", "colour", "companion")

NOUNS = {"subject": SUBJECTS, "place": PLACES, "companion": COMPANIONS, "colour": COLOURS}
"""Attributes whose values are named by a word of their own."""

CUES: dict[str, frozenset[str]] = {
    value: frozenset(words.split())
    for value, words in {
        "noon": "noon midday day daytime daylight sun sunny sunshine summer bright brighter brighten",
        "sunset": "sunset sunsets dusk evening golden",
        "night": "night nighttime midnight dark moonlight stars starry",
        "rain": "rain rains raining rainy pour pours pouring showers shower downpour drizzle wet storm",
        "snow": "snow snows snowing snowy snowflakes snowflake snowfall winter blizzard",
        "fog": "fog foggy mist misty haze hazy",
        "plain": "plain ordinary normal illustration",
        "watercolor": "watercolor watercolors watercolour watercolours",
        "oil painting": "oil oils",
        "pixel art": "pixel pixels pixelated pixelate pixelart",
        "pencil sketch": "pencil sketch sketched drawing",
    }.items()
}
"""Words that say a time, a weather or a style."""

UNCOLOURED = frozenset({"colour", "color", "natural", "paint", "uncoloured", "uncolored"})

WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")


def changed(before: Scene, after: Scene) -> tuple[str, ...]:
    """Return the attributes in which two scenes differ."""
    return tuple(name for name in ATTRIBUTES if getattr(before, name) != getattr(after, name))


def objection(before: str, instruction: str, after: str) -> str | None:
    """Return why this is no true triplet of the storybook, or None.

    It is one if both captions parse and differ in exactly one attribute, and the instruction says what is changed: it
    has a word for the new value, or, where something is taken away, for what was there; and it names no subject,
    place, companion or colour that is in neither caption.
    """
    if not instruction.strip():
        return "the instruction is empty"
    try:
        scenes = parse(before), parse(after)
    except UnknownCaption as error:
        return str(error)
    different = changed(*scenes)
    if len(different) != 1:
        return f"{' and '.join(different) or 'nothing'} changed, where one attribute should"
    return _unsaid(instruction, *scenes, different[0])


def _unsaid(instruction: str, before: Scene, after: Scene, attribute: str) -> str | None:
    words = set(WORD.findall(instruction.lower()))
    words |= {word.removesuffix("s") for word in words}
    for name, known in NOUNS.items():
        foreign = words & set(known) - {getattr(before, name), getattr(after, name)}
        if foreign:
            return f"the instruction names {sorted(foreign)[0]!r}, which is in neither caption"
    old, new = getattr(before, attribute), getattr(after, attribute)
    says = _words_for(attribute, new)
    if new in (None, "noon", "plain"):  # what is taken away may be named instead
        says |= _words_for(attribute, old)
    if not words & says:
        return f"the instruction does not say that the {attribute} becomes {new or 'none'}"
    return None


def _words_for(attribute: str, value: str | None) -> frozenset[str]:
    if value is None:
        return UNCOLOURED if attribute == "colour" else frozenset()
    return CUES.get(value) or frozenset({value})
