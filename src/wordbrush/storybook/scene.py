"""What a storybook picture shows, in data and in words.

A ``Scene`` has one value per attribute; ``caption`` puts it into one of many English phrasings and ``parse``
takes every one of them back. The module needs neither numpy nor a font: it is the storybook's language, not
its look.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from wordbrush.errors import WordbrushError, nearest

if TYPE_CHECKING:
    import numpy as np

Form = TypeVar("Form")

SUBJECTS: tuple[str, ...] = (
    "cat", "dog", "horse", "rabbit", "elephant", "fox", "bear", "owl", "penguin", "duck",
    "turtle", "dinosaur", "frog", "fish", "crab", "whale", "snail", "sheep", "lion",
    "car", "bus", "sailboat", "rocket", "tractor", "train",
    "cake", "pizza", "apple", "pumpkin", "sunflower", "rose", "mushroom", "cactus", "tree",
    "house", "castle", "snowman", "robot", "tent", "teapot",
)  # fmt: skip
PLACES: tuple[str, ...] = (
    "beach", "forest", "mountain", "desert", "city", "lake", "meadow", "volcano", "room", "moon",
)  # fmt: skip
TIMES: tuple[str, ...] = ("noon", "sunset", "night", "rain", "snow", "fog")
STYLES: tuple[str, ...] = ("plain", "watercolor", "oil painting", "pixel art", "pencil sketch")
COMPANIONS: tuple[str, ...] = ("balloon", "umbrella", "kite", "gift", "ball", "butterfly", "flag", "lantern")
COLOURS: tuple[str, ...] = ("red", "orange", "yellow", "green", "blue", "purple", "pink")
COLOURABLE: frozenset[str] = frozenset(
    (
        "cat", "horse", "rabbit", "elephant", "dinosaur", "fish",
        "car", "bus", "sailboat", "rocket", "tractor",
        "apple", "rose", "mushroom", "house", "robot", "tent", "teapot",
    )
)  # fmt: skip

KINDS: tuple[str, ...] = (
    "subject",
    "place",
    "time",
    "style",
    "colour",
    "companion added",
    "companion removed",
)
"""The kinds of edits that change one attribute."""


class UnknownScene(WordbrushError, ValueError):
    """A scene was asked for with a value outside the storybook's vocabulary."""


class UnknownCaption(WordbrushError, ValueError):
    """A caption holds a word, or an arrangement of words, that the storybook does not know."""


@dataclass(frozen=True)
class Scene:
    """One picture of the storybook, attribute by attribute.

    Raises ``UnknownScene`` for a value outside the vocabulary and for a colour on a subject not in
    ``COLOURABLE``.
    """

    subject: str
    place: str
    time: str = "noon"
    style: str = "plain"
    colour: str | None = None
    companion: str | None = None

    def __post_init__(self) -> None:
        _require("subject", self.subject, SUBJECTS)
        _require("place", self.place, PLACES)
        _require("time", self.time, TIMES)
        _require("style", self.style, STYLES)
        if self.companion is not None:
            _require("companion", self.companion, COMPANIONS)
        if self.colour is not None:
            _require("colour", self.colour, COLOURS)
            if self.subject not in COLOURABLE:
                raise UnknownScene(
                    f"a {self.subject} cannot be given the colour {self.colour!r}; "
                    f"subjects with a colour are {', '.join(sorted(COLOURABLE))}"
                )


def _require(attribute: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UnknownScene(
            f"unknown {attribute} {value!r}{nearest(str(value), known)}; known: {', '.join(known)}"
        )


def random_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene: subject, place and time uniform, the rest with the storybook's fixed shares.

    Plain style 40 % and 15 % for each of the other four; a companion in 30 %; a colour on 35 % of the
    subjects that can carry one, but never in a pencil sketch, which hardly shows it.
    """
    subject = SUBJECTS[rng.integers(len(SUBJECTS))]
    place = PLACES[rng.integers(len(PLACES))]
    time = TIMES[rng.integers(len(TIMES))]
    style = STYLES[rng.choice(len(STYLES), p=(0.4, 0.15, 0.15, 0.15, 0.15))]
    companion = COMPANIONS[rng.integers(len(COMPANIONS))] if rng.random() < 0.30 else None
    colour = COLOURS[rng.integers(len(COLOURS))] if rng.random() < 0.35 else None
    if subject not in COLOURABLE or style == "pencil sketch":
        colour = None
    return Scene(subject, place, time, style, colour, companion)


# ------------------------------------------------------------------------------------------------------------
# Words. The first form of each list is the canonical one; "" leaves the attribute unsaid.

_PREPOSITIONS: dict[str, tuple[str, ...]] = {
    "beach": ("on a", "at a"),
    "forest": ("in a",),
    "mountain": ("near a", "by a"),
    "desert": ("in a",),
    "city": ("in a",),
    "lake": ("by a", "near a"),
    "meadow": ("in a",),
    "volcano": ("near a", "by a"),
    "room": ("in a",),
    "moon": ("on the",),
}
_TIME_PHRASES: dict[str, tuple[str, ...]] = {
    "noon": ("", "at noon", "on a sunny day"),
    "sunset": ("at sunset", "in the evening", "during sunset"),
    "night": ("at night", "in the dark", "during the night"),
    "rain": ("in the rain", "on a rainy day", "in heavy rain"),
    "snow": ("in the snow", "on a snowy day", "in falling snow"),
    "fog": ("in the fog", "on a foggy day", "in heavy fog"),
}
_TIME_ADJECTIVES: dict[str, str] = {"sunny": "noon", "rainy": "rain", "snowy": "snow", "foggy": "fog"}
_STYLE_PREFIXES: dict[str, tuple[str, ...]] = {
    "plain": ("", "a picture of", "an illustration of"),
    "watercolor": ("a watercolor of", "a watercolor picture of", "a watercolor painting of"),
    "oil painting": ("an oil painting of",),
    "pixel art": ("pixel art of", "a pixel art picture of"),
    "pencil sketch": ("a pencil sketch of", "a pencil drawing of"),
}
_STYLE_SUFFIXES: dict[str, tuple[str, ...]] = {
    "plain": ("",),
    "watercolor": (", watercolor", ", in watercolor", ", as a watercolor"),
    "oil painting": (", oil painting", ", as an oil painting"),
    "pixel art": (", pixel art", ", as pixel art"),
    "pencil sketch": (", pencil sketch", ", as a pencil sketch"),
}
# "and" only reads well right after the subject.
_LINKS: tuple[str, ...] = ("with", "and", "next to", "beside")
_FAR_LINKS: tuple[str, ...] = ("with", "next to", "beside")
# Sentence orders; one that stands twice is drawn twice as often.
_ORDERS: tuple[tuple[str, ...], ...] = (
    ("subject", "place", "time", "companion"),
    ("subject", "place", "time", "companion"),
    ("subject", "companion", "place", "time"),
    ("subject", "companion", "place", "time"),
    ("subject", "place", "companion", "time"),
    ("subject", "time", "place", "companion"),
    ("subject", "companion", "time", "place"),
    ("time", ",", "subject", "companion", "place"),
    ("place", ",", "subject", "companion", "time"),
    ("place", "time", ",", "subject", "companion"),
)
_ARTICLES = ("a", "an", "the")


def caption(scene: Scene, seed: int | None = None) -> str:
    """Describe a scene in words, at most 20 of them.

    Without a seed: the canonical wording, ``"a cat on a beach at sunset"``. A seed chooses one of many
    phrasings (order, prepositions, what stays unsaid); two scenes that differ in one attribute then get the
    same sentence with those words changed, where English allows it. ``parse(caption(scene, seed)) ==
    scene`` for every seed.
    """
    if seed is None:
        body = _join(_subject(scene), _place(scene), _TIME_PHRASES[scene.time][0], _companion(scene, "with"))
        return _join(_STYLE_PREFIXES[scene.style][0], body)
    # Every choice is drawn, needed or not, so that the phrasing depends on the seed alone.
    choice = random.Random(seed)
    style_first, adjective = choice.random() < 0.7, choice.random() < 0.25
    order, style, preposition, when, link = (choice.random() for _ in range(5))

    prefix = _pick(_STYLE_PREFIXES[scene.style], style) if style_first else ""
    suffix = "" if style_first else _pick(_STYLE_SUFFIXES[scene.style], style)
    # "a watercolor of at night, a cat" is no English: after a style, the sentence starts with its subject.
    orders = tuple(form for form in _ORDERS if form[0] == "subject") if prefix else _ORDERS
    form = _pick(orders, order)
    adjectives = [word for word, time in _TIME_ADJECTIVES.items() if time == scene.time and adjective]
    parts = {
        "subject": _subject(scene),
        "place": _place(scene, _pick(_PREPOSITIONS[scene.place], preposition), adjectives),
        "time": "" if adjectives else _pick(_TIME_PHRASES[scene.time], when),
        "companion": _companion(scene, _pick(_LINKS if _follows_subject(form) else _FAR_LINKS, link)),
        ",": ",",
    }
    text = _join(*(parts[name] for name in form)).replace(" ,", ",").removeprefix(", ")
    return _join(prefix, text) + suffix


def _subject(scene: Scene) -> str:
    return with_article(_join(scene.colour or "", scene.subject))


def _companion(scene: Scene, link: str) -> str:
    return _join(link, with_article(scene.companion)) if scene.companion else ""


def _place(scene: Scene, preposition: str | None = None, adjectives: Iterable[str] = ()) -> str:
    return _join(preposition or _PREPOSITIONS[scene.place][0], *adjectives, scene.place)


def with_article(noun: str) -> str:
    """Return ``"a cat"`` or ``"an elephant"``."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def _follows_subject(form: tuple[str, ...]) -> bool:
    return form.index("companion") == form.index("subject") + 1


def _pick(forms: Sequence[Form], draw: float) -> Form:
    return forms[int(draw * len(forms))]


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)


# ------------------------------------------------------------------------------------------------------------
# Reading captions.


def _fixed_phrases() -> dict[tuple[str, ...], tuple[str, str]]:
    """Map every phrase that stands for one value by itself to (attribute, value)."""
    phrases: dict[tuple[str, ...], tuple[str, str]] = {}
    for attribute, tables in (("time", (_TIME_PHRASES,)), ("style", (_STYLE_PREFIXES, _STYLE_SUFFIXES))):
        for table in tables:
            for value, forms in table.items():
                phrases |= {_words(form): (attribute, value) for form in forms if form}
    return phrases


def caption_words() -> list[str]:
    """Return all words that captions are made of, in the order of the alphabet."""
    values = (*SUBJECTS, *PLACES, *COLOURS, *COMPANIONS, *_TIME_ADJECTIVES, *_ARTICLES, *_LINKS)
    prepositions = (form for forms in _PREPOSITIONS.values() for form in forms)
    fixed = (" ".join(phrase) for phrase in _PHRASES)
    return sorted({word for text in (*values, *prepositions, *fixed) for word in _words(text)})


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.lower().replace(",", " ").split())


_PHRASES = _fixed_phrases()
_LONGEST = max(map(len, _PHRASES))
_LINK_WORDS = {_words(link) for link in _LINKS}
_PLACE_WORDS = {place: {_words(form)[0] for form in forms} for place, forms in _PREPOSITIONS.items()}
_ADJECTIVES = {*COLOURS, *_TIME_ADJECTIVES}
VOCABULARY: tuple[str, ...] = tuple(
    sorted(
        {word for phrase in _PHRASES for word in phrase}
        | {word for link in _LINK_WORDS for word in link}
        | {word for words in _PLACE_WORDS.values() for word in words}
        | {*_ARTICLES, *_TIME_ADJECTIVES, *SUBJECTS, *PLACES, *COMPANIONS, *COLOURS}
    )
)


def parse(text: str) -> Scene:
    """Read a caption back into its scene: the inverse of ``caption`` in all its phrasings.

    Case, repeated spaces, commas and a final full stop do not matter; what is left unsaid is noon and
    plain. Raises ``UnknownCaption`` for a word outside ``VOCABULARY``, an arrangement that says nothing, an
    attribute said twice, a missing subject or place, or a colour on a subject that takes none; the message
    names the words.
    """
    words = _words(text.strip().removesuffix("."))
    for word in words:
        if word not in VOCABULARY:
            raise UnknownCaption(f"the storybook does not know the word {word!r}{nearest(word, VOCABULARY)}")
    found: dict[str, str] = {}
    position = 0
    while position < len(words):
        position, values = _read_phrase(words, position)
        for attribute, value in values.items():
            if attribute in found:
                raise UnknownCaption(
                    f"the caption names the {attribute} twice: {found[attribute]!r} and {value!r}"
                )
            found[attribute] = value
    for attribute, known in (("subject", SUBJECTS), ("place", PLACES)):
        if attribute not in found:
            raise UnknownCaption(f"the caption {text!r} names no {attribute}; known: {', '.join(known)}")
    try:
        return Scene(**found)
    except UnknownScene as error:
        raise UnknownCaption(str(error)) from error


def _read_phrase(words: tuple[str, ...], start: int) -> tuple[int, dict[str, str]]:
    """Read one phrase at ``start``; return the position after it and the attributes that it names."""
    for length in range(_LONGEST, 0, -1):
        known = _PHRASES.get(words[start : start + length])
        if known:
            attribute, value = known
            return start + length, {attribute: value}
    link_end = next((i for i in range(start, len(words)) if words[i] in _ARTICLES), len(words))
    noun_at = next((i for i in range(link_end + 1, len(words)) if words[i] not in _ADJECTIVES), len(words))
    if noun_at < len(words):
        values = _read_noun(words[start:link_end], words[link_end + 1 : noun_at], words[noun_at])
        if values:
            return noun_at + 1, values
    raise UnknownCaption(
        f"the caption cannot be read from {' '.join(words[start : noun_at + 1])!r} on; "
        'the storybook knows sentences such as "a red car in a city at night with a balloon"'
    )


def _read_noun(link: tuple[str, ...], adjectives: tuple[str, ...], noun: str) -> dict[str, str] | None:
    """Say which attributes a link, an adjective and a noun name together; None if they do not fit."""
    if len(adjectives) > 1:
        return None
    adjective = adjectives[0] if adjectives else None
    if noun in SUBJECTS and not link:
        if adjective is None:
            return {"subject": noun}
        return {"subject": noun, "colour": adjective} if adjective in COLOURS else None
    if noun in PLACES and len(link) == 1 and link[0] in _PLACE_WORDS[noun]:
        if adjective is None:
            return {"place": noun}
        time = _TIME_ADJECTIVES.get(adjective)
        return {"place": noun, "time": time} if time else None
    if noun in COMPANIONS and link in _LINK_WORDS and adjective is None:
        return {"companion": noun}
    return None
