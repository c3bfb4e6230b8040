"""The methods that are compared (arXiv:2211.09800, section 4), and how the command line makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from wordbrush.baselines.sdedit import fitting_of, sdedit
from wordbrush.baselines.text2live import Settings, text2live
from wordbrush.canvas import place
from wordbrush.errors import DataError, InvalidInput, nearest
from wordbrush.evaluation.example import Example
from wordbrush.evaluation.method import Edited, Method
from wordbrush.instruct import Editor
from wordbrush.instruct_run import telling_of_memory
from wordbrush.inversion.picture import invert
from wordbrush.metrics.clip import Clip
from wordbrush.models import Model
from wordbrush.prompt_to_prompt import edit, generate

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_SCALES = (1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2)
"""Image guidance of the published curve."""

STRENGTHS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Strengths of SDEdit on the published curve."""


@dataclass(frozen=True, eq=False)
class Instruct:
    """An instruction editor at two guidance scales.

    Args:
        sampling: further arguments of the editor, such as ``preset`` and ``steps``, where they are not its own.
    """

    editor: Editor
    image_guidance: float
    text_guidance: float
    sampling: dict[str, Any] = field(default_factory=dict)
    name = "instruct"
    along = "image_guidance"

    @property
    def settings(self) -> dict[str, Any]:
        """The two scales, the model, and how it is sampled."""
        model = self.editor.model
        return {
            "model": model.name,
            "dtype": str(model.dtype).removeprefix("torch."),
            "image_guidance": self.image_guidance,
            "text_guidance": self.text_guidance,
            "preset": self.editor.defaults.preset,
            **{name: _plain(value) for name, value in self.sampling.items()},
        }

    def edit(self, examples: Sequence[Example], seeds: Sequence[int]) -> Edited:
        """Edit the pictures as the instructions say."""
        result = self.editor(
            [example.image for example in examples],
            [example.instruction for example in examples],
            text_guidance=self.text_guidance,
            image_guidance=self.image_guidance,
            seed=list(seeds),
            batch=len(examples),
            **self.sampling,
        )
        return Edited(result.images, result.settings["forward_samples"])


def _plain(value: Any) -> Any:
    """Return a setting as JSON can hold it."""
    return value if isinstance(value, str | int | float | None) else repr(value)


def _defaults(model: Model) -> dict[str, Any]:
    """Return the settings of a text-to-image model that is sampled by its defaults."""
    return {
        "model": model.name,
        "dtype": str(model.dtype).removeprefix("torch."),
        **{name: _plain(getattr(model.defaults, name)) for name in ("steps", "scheduler", "guidance")},
    }


@dataclass(frozen=True, eq=False)
class SDEdit:
    """SDEdit at a strength, asked for the caption after the edit, or for the instruction as if it were one."""

    model: Model
    strength: float
    asked: Literal["caption", "instruction"]
    guidance: float | None
    along = "strength"

    @property
    def name(self) -> str:
        """``sdedit`` or ``sdedit-instruction``."""
        return "sdedit" if self.asked == "caption" else "sdedit-instruction"

    @property
    def settings(self) -> dict[str, Any]:
        """The strength, what it is asked for, and how the model is sampled."""
        how = {"strength": self.strength, "asked": self.asked}
        return {**_defaults(self.model), **how, "guidance": self.guidance}

    def edit(self, examples: Sequence[Example], seeds: Sequence[int]) -> Edited:
        """Draw the pictures anew from where their noise is as strong as asked for."""
        made = sdedit(
            self.model,
            [example.image for example in examples],
            [
                example.instruction
                if self.asked == "instruction"
                else example.caption("after", for_=self.name)
                for example in examples
            ],
            strength=self.strength,
            seeds=seeds,
            guidance=self.guidance,
            batch=len(examples),
        )
        return Edited(made.images, made.settings["forward_samples"])


@dataclass(frozen=True, eq=False)
class PromptToPrompt:
    """Prompt-to-Prompt on the inverted picture, from the caption before the edit to the one after it."""

    model: Model
    inversion: str = "direct"
    name = "p2p"
    along = ""

    @property
    def settings(self) -> dict[str, Any]:
        """The inversion, and the model's defaults, by which the picture is edited."""
        return {**_defaults(self.model), "inversion": self.inversion}

    def edit(self, examples: Sequence[Example], seeds: Sequence[int]) -> Edited:
        """Invert and edit one picture after the other; nothing of it is random."""
        images: list[Image] = []
        forward_samples = 0
        for example in examples:
            canvas = place(example.image, None, "whole", fitting_of(self.model))
            width, height = canvas.worked.size
            with telling_of_memory(1, (height, width)):
                start = invert(
                    self.model,
                    canvas.worked,
                    example.caption("before", for_=self.name),
                    method=self.inversion,
                    size=(height, width),
                )
                result = edit(self.model, start, to=example.caption("after", for_=self.name))
                images.append(canvas.finish(result.images[0]))
            forward_samples += start.forward_samples + result.settings["forward_samples"]
        return Edited(images, forward_samples)


@dataclass(frozen=True, eq=False)
class Text2Live:
    """Text2LIVE, from the caption before the edit to the one after it.

    Args:
        clip: what it is fitted to; scores of the same model flatter it.
        fit: a name of ``baselines.text2live.PRESETS``, or settings of one's own; None for the preset of the
            storybook's model, or else the published one.
    """

    clip: Clip
    fit: str | Settings | None = None
    name = "text2live"
    along = ""

    @property
    def settings(self) -> dict[str, Any]:
        """The contrastive model, and how the layer is fitted to it."""
        return {
            "model": self.clip.name,
            "fit": asdict(self._fit) if isinstance(self._fit, Settings) else self._fit,
        }

    def edit(self, examples: Sequence[Example], seeds: Sequence[int]) -> Edited:
        """Fit a layer to one picture after the other; no denoising network is called."""
        made = [
            text2live(
                example.image,
                example.caption("after", for_=self.name),
                source=example.caption("before", for_=self.name),
                clip=self.clip,
                settings=self._fit,
                seed=seed,
            )
            for example, seed in zip(examples, seeds, strict=True)
        ]
        return Edited([one.image for one in made], 0)

    @property
    def _fit(self) -> str | Settings:
        return self.fit or ("storybook" if self.clip.name == "storybook" else "published")


@dataclass(frozen=True, eq=False)
class Generation:
    """A new picture of the caption after the edit: the control that does everything and keeps nothing."""

    model: Model
    name = "generation"
    along = ""

    @property
    def settings(self) -> dict[str, Any]:
        """The model's defaults, by which the picture is made."""
        return _defaults(self.model)

    def edit(self, examples: Sequence[Example], seeds: Sequence[int]) -> Edited:
        """Generate pictures, each by itself, since they may differ in size."""
        images: list[Image] = []
        forward_samples = 0
        for example, seed in zip(examples, seeds, strict=True):
            canvas = place(example.image, None, "whole", fitting_of(self.model))
            width, height = canvas.worked.size
            caption = example.caption("after", for_=self.name)
            with telling_of_memory(1, (height, width)):
                made = generate(self.model, caption, seed=seed, size=(height, width))
                images.append(canvas.finish(made.images[0]))
            forward_samples += made.settings["forward_samples"]
        return Edited(images, forward_samples)


@dataclass(frozen=True, eq=False)
class Identity:
    """The picture as it is: the control that does nothing."""

    name = "identity"
    along = ""

    @property
    def settings(self) -> dict[str, Any]:
        """None."""
        return {}

    def edit(self, examples: Sequence[Example], seeds: Sequence[int]) -> Edited:
        """Return the pictures."""
        return Edited([example.image for example in examples], 0)


@dataclass(frozen=True, eq=False)
class Truth:
    """The picture as it should become: what the measures say of a faultless edit."""

    name = "truth"
    along = ""

    @property
    def settings(self) -> dict[str, Any]:
        """None."""
        return {}

    def edit(self, examples: Sequence[Example], seeds: Sequence[int]) -> Edited:
        """Return the ground truth."""
        return Edited([_truth(example) for example in examples], 0)


def _truth(example: Example) -> Image:
    if example.truth is None:
        raise DataError(f"example {example.key!r} has no picture after the edit, which truth needs")
    return example.truth


EDITOR_METHODS = ("instruct",)
MODEL_METHODS = ("sdedit", "sdedit-instruction", "p2p", "generation")
CLIP_METHODS = ("text2live",)
CONTROLS = ("identity", "truth")
METHODS = (*EDITOR_METHODS, *MODEL_METHODS, *CLIP_METHODS, *CONTROLS)
"""The names of all methods."""


def check_methods(names: Sequence[str]) -> None:
    """Raise ``InvalidInput`` for a name that is not in ``METHODS``, or stands twice."""
    for number, name in enumerate(names):
        if name not in METHODS:
            raise InvalidInput(
                f"there is no method {name!r}, only {', '.join(METHODS)}{nearest(name, METHODS)}"
            )
        if name in names[:number]:
            raise InvalidInput(f"the method {name} is named twice")


def _scale(editor: Editor, text_guidance: float | None) -> float:
    return editor.defaults.text_guidance if text_guidance is None else text_guidance


def make_methods(
    names: Sequence[str],
    *,
    editors: Sequence[Editor] = (),
    model: Model | None = None,
    clip: Clip | None = None,
    scales: Sequence[float] = IMAGE_SCALES,
    strengths: Sequence[float] = STRENGTHS,
    text_guidance: float | None = None,
    sampling: dict[str, Any] | None = None,
) -> list[Method]:
    """Return the methods of these names, at every point of their curves.

    Args:
        names: of ``METHODS``.
        editors: each makes a curve of ``instruct``.
        model: the text-to-image model of the other methods.
        clip: the contrastive model of ``text2live``.
        scales: image guidance of ``instruct``.
        strengths: of SDEdit.
        text_guidance: of ``instruct``, and the guidance of SDEdit; None for the editor's own and the model's. That of
            the published curves is 7.5, for Stable Diffusion.
        sampling: further arguments of the editors, such as ``preset``.

    Raises:
        InvalidInput: an unknown name, or a model that is missing.
    """
    check_methods(names)
    made: list[Method] = []
    for name in names:
        if name in MODEL_METHODS and model is None:
            raise InvalidInput(f"the method {name} needs a text-to-image model")
        if name in EDITOR_METHODS and not editors:
            raise InvalidInput(f"the method {name} needs an editor")
        if name in CLIP_METHODS and clip is None:
            raise InvalidInput(f"the method {name} needs a CLIP model")
        match name:
            case "instruct":
                made += [
                    Instruct(editor, scale, _scale(editor, text_guidance), sampling or {})
                    for editor in editors
                    for scale in scales
                ]
            case "sdedit" | "sdedit-instruction":
                assert model is not None
                asked = "caption" if name == "sdedit" else "instruction"
                guidance = model.defaults.guidance if text_guidance is None else text_guidance
                made += [SDEdit(model, strength, asked, guidance) for strength in strengths]
            case "p2p":
                assert model is not None
                made.append(PromptToPrompt(model))
            case "generation":
                assert model is not None
                made.append(Generation(model))
            case "text2live":
                assert clip is not None
                made.append(Text2Live(clip))
            case "identity":
                made.append(Identity())
            case _:
                made.append(Truth())
    return made
