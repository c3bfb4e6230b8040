"""Guidance: which conditions the network is asked under, and how the answers are combined."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from wordbrush.checks import check_count, is_number
from wordbrush.edits.window import Clock, Fraction, Window
from wordbrush.errors import InvalidInput

if TYPE_CHECKING:
    from torch import Tensor


class Guidance(Protocol):
    """Named branches, each a copy of the whole batch, and one way to combine their predictions."""

    @property
    def branches(self) -> tuple[str, ...]:
        """The names, in the order of the batch; attention is edited in the branch named ``"cond"``."""
        ...

    def combine(self, predictions: tuple[Tensor, ...]) -> Tensor:
        """Combine one prediction per branch, (samples, C, h, w) each."""
        ...


@dataclass(frozen=True)
class ClassifierFree:
    """Classifier-free guidance (arXiv:2207.12598): uncond + scale · (cond - uncond). It never switches itself off."""

    scale: float
    branches = ("uncond", "cond")

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", check_scale("guidance", self.scale, such_as=7.5))

    def combine(self, predictions: tuple[Tensor, ...]) -> Tensor:
        """Combine the unconditional and the conditional prediction, (samples, C, h, w) each."""
        uncond, cond = predictions
        return uncond + self.scale * (cond - uncond)


@dataclass(frozen=True)
class Unguided:
    """The conditional prediction alone, as with a scale of 1: for models that were distilled to need no guidance."""

    branches = ("cond",)
    scale = 1.0

    def combine(self, predictions: tuple[Tensor, ...]) -> Tensor:
        """Return the only prediction, (samples, C, h, w)."""
        (cond,) = predictions
        return cond


@dataclass(frozen=True)
class Distilled:
    """Guidance distilled into the network, which is told the scale (arXiv:2210.03142): FLUX.1-dev and LCM.

    It asks for one prediction, so there is no negative prompt.
    """

    scale: float
    branches = ("cond",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", check_scale("guidance", self.scale, such_as=7.5))

    def combine(self, predictions: tuple[Tensor, ...]) -> Tensor:
        """Return the only prediction, (samples, C, h, w)."""
        (cond,) = predictions
        return cond


@dataclass(frozen=True)
class Renormalised:
    """Classifier-free guidance that leaves the conditional prediction as long as it was: Qwen-Image and Lumina 2.

    What the scale does to the direction of a prediction stays, what it does to its length is undone, as diffusers'
    pipelines of these models do.

    Args:
        scale: of classifier-free guidance.
        per: what has one length: every ``"patch"`` of 2 × 2 latent pixels with all channels, or every ``"row"`` of
            latent pixels of one channel.
    """

    scale: float
    per: Literal["patch", "row"]
    branches = ("uncond", "cond")

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", check_scale("guidance", self.scale, such_as=4.0))

    def combine(self, predictions: tuple[Tensor, ...]) -> Tensor:
        """Combine the unconditional and the conditional prediction, (samples, C, h, w) each."""
        cond = predictions[1]
        combined = ClassifierFree(self.scale).combine(predictions)
        if self.per == "row":
            return combined * (cond.norm(dim=-1, keepdim=True) / combined.norm(dim=-1, keepdim=True))
        patches, own = (part.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)) for part in (combined, cond))
        # n, C, h/2, 2, w/2, 2
        lengths, grown = (part.square().sum(dim=(1, 3, 5), keepdim=True).sqrt() for part in (own, patches))
        return (patches * (lengths / grown)).flatten(4).flatten(2, 3)


@dataclass(frozen=True)
class SourceApart:
    """One guidance for the source, the first of the samples, and another of the same branches for its targets."""

    source: Guidance
    targets: Guidance

    @property
    def branches(self) -> tuple[str, ...]:
        """Those of both."""
        return self.targets.branches

    @property
    def scale(self) -> float | None:
        """That of the targets."""
        return getattr(self.targets, "scale", None)

    def combine(self, predictions: tuple[Tensor, ...]) -> Tensor:
        """Combine one prediction per branch, (samples, C, h, w) each, the source first."""
        combined = self.targets.combine(predictions)
        combined[:1] = self.source.combine(tuple(prediction[:1] for prediction in predictions))
        return combined


@dataclass(frozen=True)
class TextImage:
    """The two scales of InstructPix2Pix (arXiv:2211.09800, Eq. 3), for networks that see a picture and a text.

    none + image · (I - none) + text · (T - I), where T is predicted under the picture and the text, I under the
    picture alone, and none under neither. The coefficients sum to 1, so it is the same for predictions of noise,
    velocity and clean picture. It never switches itself off: scales of 1 and below, or below 0, mean what they say.

    Args:
        text: the scale of the instruction, s_T.
        image: the scale of the picture, s_I.

    Raises:
        InvalidInput: a scale that is no finite number.
    """

    text: float
    image: float
    branches = ("image+text", "image", "none")

    def __post_init__(self) -> None:
        check_scale("text guidance", self.text, such_as=7.5)
        check_scale("image guidance", self.image, such_as=1.5)

    def combine(self, predictions: tuple[Tensor, ...]) -> Tensor:
        """Combine the predictions under both conditions, the picture alone and neither, (samples, C, h, w) each."""
        both, image, none = predictions
        return none + float(self.image) * (image - none) + float(self.text) * (both - image)


@dataclass(frozen=True)
class GuidedSteps:
    """In which steps all branches are asked; in the others only the first one is, at a part of the cost.

    Limiting guidance to an interval is after Kynkäänniemi et al. 2024 (arXiv:2404.07724).

    Args:
        during: the part of the run that is guided, a fraction or a pair (start, stop).
        every: inside that part, one step in so many asks all branches; 1 is every step.
        reuse: in steps that do not, add what guidance added to the first branch's prediction the last time. Without
            it such steps are not guided. Steps before the first guided one never are.

    Raises:
        InvalidInput: a number out of its range.
    """

    during: Fraction = 1.0
    every: int = 1
    reuse: bool = True

    def __post_init__(self) -> None:
        window = Window.of(self.during)
        if window.start == window.stop:
            raise InvalidInput(
                f"guidance during {self.during!r} is none at all: give a part of the run, as (0, 0.8)"
            )
        check_count("every", self.every)

    def steps(self, clock: Clock) -> range:
        """Return the steps that ask all branches."""
        return Window.of(self.during).steps(clock)[:: self.every]


@dataclass(eq=False)
class Intermittent:
    """One run of a guidance that asks all its branches in some steps; called with a step, it gives that step's.

    It remembers what guidance added, so every run needs its own.

    Args:
        whole: the guidance of the steps in ``asking``.
        asking: those steps.
        reuse: whether the other steps add what was added last.
    """

    whole: Guidance
    asking: Collection[int]
    reuse: bool
    added: Tensor | None = field(default=None, init=False)

    def __call__(self, step: int) -> Guidance:
        """Return the guidance of a step."""
        return _Remembered(self) if step in self.asking else _First(self)


@dataclass(frozen=True, eq=False)
class _Remembered:
    """All branches; what they add to the first is kept."""

    run: Intermittent

    @property
    def branches(self) -> tuple[str, ...]:
        return self.run.whole.branches

    def combine(self, predictions: tuple[Tensor, ...]) -> Tensor:
        combined = self.run.whole.combine(predictions)
        if self.run.reuse:
            self.run.added = combined - predictions[0]
        return combined


@dataclass(frozen=True, eq=False)
class _First:
    """The first branch, and what was added to it last."""

    run: Intermittent

    @property
    def branches(self) -> tuple[str, ...]:
        return self.run.whole.branches[:1]

    def combine(self, predictions: tuple[Tensor, ...]) -> Tensor:
        (first,) = predictions
        return first if self.run.added is None else first + self.run.added


def check_scale(name: str, scale: Any, *, such_as: float) -> float:
    """Return a scale as a float, so that 7 is 7.0. Raises ``InvalidInput`` unless it is a finite number."""
    if not is_number(scale):
        raise InvalidInput(f"the {name} scale must be a finite number such as {such_as}, not {scale!r}")
    return float(scale)


def check_strengthening(scale: Any) -> float:
    """Return a guidance scale given as a number, as a float.

    Raises:
        InvalidInput: it is no finite number, or below 1, where guidance would not strengthen the prompt.
    """
    scale = check_scale("guidance", scale, such_as=7.5)
    if scale >= 1:
        return scale
    effect = (
        "turn the picture away from its prompt" if scale < 0
        else "leave the prompt out" if scale == 0
        else "weaken the prompt instead of strengthening it"
    )  # fmt: skip
    told = (
        f"a guidance of {scale:g} would {effect}: give 1 for no guidance, even where diffusers' pipelines are "
        "given 0"
    )
    raise InvalidInput(f"{told}, or ClassifierFree({scale:g}) if that is meant", command=told)
