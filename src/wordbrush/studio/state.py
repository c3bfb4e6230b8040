"""What a person has before them: a prompt, what was done to its words, and how it is to be painted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from wordbrush.checks import check_seed, is_number
from wordbrush.cli.parse import parse_blend, parse_size
from wordbrush.edits.prompt import Prompt, WordLike
from wordbrush.errors import AmbiguousWord, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL.Image import Image

    from wordbrush.models import Defaults


@dataclass(frozen=True)
class Limits:
    """What one person may ask of a machine that others share.

    Args:
        pixels: of a picture.
        steps: of a run.
        waiting: people in line for the model.
        upload: bytes of a file.
    """

    pixels: int = 1024 * 1024
    steps: int = 100
    waiting: int = 16
    upload: int = 16 * 2**20

    def check_pixels(self, height: int, width: int) -> None:
        """Raise ``InvalidInput`` for a picture that is too large."""
        if height * width > self.pixels:
            raise InvalidInput(
                f"a picture of {height} × {width} pixels is more than the {self.pixels:,} that this studio allows: "
                "make it smaller, or start the studio with --max-pixels"
            )

    def check_steps(self, steps: int) -> None:
        """Raise ``InvalidInput`` for a run that is too long."""
        if steps > self.steps:
            raise InvalidInput(f"this studio takes at most {self.steps} steps, not {steps}")


@dataclass(frozen=True)
class Draft:
    """A prompt and what was done to its words, each named by its number in the prompt.

    Args:
        source: the prompt.
        spans: where its words stand, (start, stop) in characters.
        retyped: word → what stands in its place; empty where it was deleted.
        strengths: word → the factor of its attention.
    """

    source: str
    spans: tuple[tuple[int, int], ...]
    retyped: Mapping[int, str] = field(default_factory=dict)
    strengths: Mapping[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, prompt: Prompt) -> Draft:
        """Return the draft of a prompt whose words are as they were written."""
        spans, end = [], 0
        for word in prompt.words:
            start = prompt.text.index(word.text, end)
            end = start + len(word.text)
            spans.append((start, end))
        return cls(prompt.text, tuple(spans))

    def word(self, number: int) -> str:
        """Return a word as it was written."""
        start, stop = self.spans[number]
        return self.source[start:stop]

    def retype(self, number: int, text: str) -> Draft:
        """Return the draft with something else in a word's place; the word itself undoes that."""
        text = " ".join(text.split())
        others = {other: new for other, new in self.retyped.items() if other != number}
        return replace(self, retyped=others if text == self.word(number) else {**others, number: text})

    def weigh(self, number: int, strength: float) -> Draft:
        """Return the draft with a word turned up or down; 1 undoes that."""
        if not is_number(strength):
            raise InvalidInput(f"a strength is a number such as 2, not {strength!r}")
        others = {other: old for other, old in self.strengths.items() if other != number}
        return replace(self, strengths=others if strength == 1 else {**others, number: float(strength)})

    @property
    def target(self) -> str:
        """The prompt after the edit."""
        return self._rewritten()[0]

    @property
    def edited(self) -> bool:
        """Whether anything was done."""
        return bool(self.retyped or self.strengths)

    def places(self) -> dict[int, tuple[int, int]]:
        """Return where each word, or what stands in its place, is in the target; deleted ones are left out."""
        return self._rewritten()[1]

    def address(self, number: int, target: Prompt) -> WordLike:
        """Return how an edit names the word in the target: its text, with its occurrence if there are several."""
        start, stop = self.places()[number]
        text, wanted = target.text[start:stop], target.covering(start, stop)
        try:
            target.find(text)
        except AmbiguousWord:
            occurrence = 0
            while target.find((text, occurrence)) != wanted:
                occurrence += 1
            return text, occurrence
        return text

    def weights(self, target: Prompt) -> dict[WordLike, float]:
        """Return the strengths by words of the target."""
        there = self.places()
        return {
            self.address(number, target): strength
            for number, strength in sorted(self.strengths.items())
            if number in there
        }

    def _rewritten(self) -> tuple[str, dict[int, tuple[int, int]]]:
        text, end, places = "", 0, {}
        for number, (start, stop) in enumerate(self.spans):
            between, word = self.source[end:start], self.retyped.get(number, self.source[start:stop])
            text += between if word else between.rstrip()
            text = text if places or number == 0 else text.lstrip()
            if word:
                places[number] = (len(text), len(text) + len(word))
                text += word
            end = stop
        return text + self.source[end:], places


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture of one's own.

    Args:
        path: its file on this machine.
        name: the name it was uploaded with.
        told: that name, and how the file was read where that is not plain.
    """

    path: str
    name: str
    image: Image
    told: str


@dataclass(frozen=True)
class Order:
    """One picture to be painted, in the terms of ``wb.generate`` and ``wb.edit``; None is the model's default.

    Args:
        source: what it shows.
        target: None for a picture without an edit.
        weights: word of the target → factor.
        until: part of the steps that keep the source's word maps.
        self_attention: part of the steps that keep its shapes.
        blend: as ``--blend`` of the command line.
        photo: what is edited instead of the picture that the seed gives; it is cut to the shape of the model's size.
        inversion: how it is inverted.
    """

    source: str
    target: str | None = None
    seed: int = 0
    weights: Mapping[WordLike, float] = field(default_factory=dict)
    until: float | None = None
    self_attention: float | None = None
    blend: str | None = None
    steps: int | None = None
    guidance: float | None = None
    negative: str = ""
    size: tuple[int, int] | None = None
    photo: Photo | None = None
    inversion: str | None = None

    @property
    def sampling(self) -> dict[str, Any]:
        """The arguments that ``wb.generate`` and ``wb.edit`` share, those that differ from the defaults."""
        given = {
            "steps": self.steps,
            "guidance": self.guidance,
            "negative": self.negative or None,
            "size": self.size,
            "seed": self.seed,
        }
        return {name: value for name, value in given.items() if value is not None}

    @property
    def inverting(self) -> dict[str, Any]:
        """The arguments of ``wb.invert`` beside the picture and what it shows, those that differ from the defaults."""
        given = {"method": self.inversion, "steps": self.steps, "guidance": self.guidance, "size": self.size}
        return {"crop": True, **{name: value for name, value in given.items() if value is not None}}

    def starts_as(self, other: Order) -> bool:
        """Tell whether both edit one inverted picture."""
        return (self.photo, self.source, self.inverting) == (other.photo, other.source, other.inverting)

    @property
    def editing(self) -> dict[str, Any]:
        """The arguments of ``wb.edit`` alone, those that differ from the defaults."""
        import wordbrush as wb

        edits: list[Any] = [] if self.until is None else [wb.Replace(until=self.until)]
        edits += [wb.Reweight(self.weights)] if self.weights else []
        words = parse_blend(self.blend)
        blend = wb.Blend(source=words[0], target=words[1]) if isinstance(words, tuple) else words
        given = {"edits": edits or None, "self_attention": self.self_attention, "blend": blend}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class Knobs:
    """The controls of the page as they stand; a box that was emptied is None or empty."""

    seed: object
    until: float
    self_attention: float
    blend: str | None
    steps: int
    guidance: float
    negative: str = ""
    size: str = ""

    def order(self, draft: Draft, read: Callable[[str], Prompt], defaults: Defaults, limits: Limits) -> Order:
        """Return the order for a draft; a control that stands at the model's default is left out.

        Args:
            read: tokenizes a prompt, as ``model.backbone.read``.

        Raises:
            InvalidInput: a control has a value that cannot be used, or one above the limits.
        """
        if not draft.edited:
            return Order(draft.source, **self._sampling(defaults, limits))
        target = draft.target
        return self.edit(draft.source, target, draft.weights(read(target)), defaults, limits)

    def edit(
        self,
        source: str,
        target: str,
        weights: Mapping[WordLike, float],
        defaults: Defaults,
        limits: Limits,
    ) -> Order:
        """Return the order for an edit from one prompt to another. Raises as ``order`` does."""
        return Order(
            source,
            target,
            weights=weights,
            until=unless(self.until, defaults.until),
            self_attention=unless(self.self_attention, defaults.self_attention),
            blend=unless((self.blend or "").strip(), defaults.blend),
            **self._sampling(defaults, limits),
        )

    def _sampling(self, defaults: Defaults, limits: Limits) -> dict[str, Any]:
        seed = check_seed(self.seed)
        limits.check_steps(self.steps)
        size = parse_size(self.size.strip() or None)
        if size:
            limits.check_pixels(*size)
        return {
            "seed": seed,
            "steps": unless(self.steps, defaults.steps),
            "guidance": unless(self.guidance, defaults.guidance),
            "negative": self.negative.strip(),
            "size": size,
        }


def unless(value: Any, default: Any) -> Any:
    """Return ``value``, or None where it is the default."""
    return None if value == default else value
