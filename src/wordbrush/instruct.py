"""Editing by instruction, the second front door: a picture and a sentence that says what to change.

Brooks et al. 2023, "InstructPix2Pix: Learning to Follow Image Editing Instructions" (arXiv:2211.09800). The network
sees the picture beside the latents that it denoises, and two guidance scales weigh picture and instruction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from wordbrush.backbones.base import Backbone
from wordbrush.canvas import Canvas, Fitting, place
from wordbrush.changed import AUTO
from wordbrush.checks import check_count, check_seed, several
from wordbrush.edits.prompt import Prompt
from wordbrush.edits.window import Clock
from wordbrush.errors import InvalidInput, ModelError, OtherKind, nearest
from wordbrush.guidance import GuidedSteps, TextImage
from wordbrush.instruct_run import chunks, denoise, part_of, telling_of_memory
from wordbrush.models import DEFAULTS_FILE, EDITOR, PARTS, Model, load_parts, read_defaults
from wordbrush.results import Instructed
from wordbrush.run import check_finite
from wordbrush.sampling import Progress, Watch, check_steps, make_scheduler, noise_source
from wordbrush.sizes import Size
from wordbrush.vocabulary import check_words, warn_of_unknown_words

if TYPE_CHECKING:
    from wordbrush.pictures import PictureLike


@dataclass(frozen=True)
class Sampling:
    """How an edited picture is sampled.

    Args:
        steps: of the scheduler.
        scheduler: a name, or a diffusers scheduler.
        guided: the steps that ask all three branches; they cost three forward-samples, the others one.
    """

    steps: int
    scheduler: object
    guided: GuidedSteps


ALWAYS = GuidedSteps()
PRESETS = {
    "published": Sampling(100, "euler_a", ALWAYS),  # 300 forward-samples an edit
    "default": Sampling(15, "dpm++", ALWAYS),  # 45
    "fast": Sampling(6, "dpm++", ALWAYS),  # 18
}

GRID = (2 / 3, 1.0, 4 / 3)
"""What a grid shows of an editor's own scales: 5, 7.5 and 10 against 1, 1.5 and 2 with the published ones."""


def find_preset(name: str) -> Sampling:
    """Return a preset. Raises ``InvalidInput`` if there is none of that name."""
    if name not in PRESETS:
        raise InvalidInput(
            f"preset is one of {', '.join(PRESETS)}, not {name!r}{nearest(str(name), PRESETS)}"
        )
    return PRESETS[name]


@dataclass(frozen=True)
class EditorDefaults:
    """What None means to an ``Editor``; ``wordbrush.json`` beside ``model_index.json`` overrides it.

    Args:
        text_guidance, image_guidance: the two scales.
        preset: a name of ``PRESETS``.
        side: to which the longer side of a picture is brought; None for the one in the network's configuration.
        words: all that the editor was shown in training, in small letters; others are warned of. None where that is not
            known.

    Raises:
        InvalidInput: a scale that is no finite number, an unknown preset, a side that is no number of pixels, or words
            that are none.
    """

    text_guidance: float = 7.5
    image_guidance: float = 1.5
    preset: str = "default"
    side: int | None = None
    words: Sequence[str] | None = None

    def __post_init__(self) -> None:
        TextImage(self.text_guidance, self.image_guidance)
        find_preset(self.preset)
        if self.side is not None:
            check_count("side", self.side)
        check_words(self.words)

    @property
    def grid(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Three rising scales of text and three of image guidance around these, to be looked at side by side."""
        text, image = (
            tuple(round(share * scale, 2) for share in GRID)
            for scale in (self.text_guidance, self.image_guidance)
        )
        return text, image

    @classmethod
    def read(cls, folder: Path, family: Mapping[str, Any]) -> EditorDefaults:
        """Read the defaults of an editor's directory, on top of those of its family.

        Raises:
            ModelError: they cannot be read, or used.
        """
        given = read_defaults(folder, {field.name for field in fields(cls)})
        try:
            return cls(**{**family, **given})
        except InvalidInput as error:
            raise ModelError(f"{folder / DEFAULTS_FILE}: {error}") from error


def load_editor(
    name: str | Path,
    *,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    config: str | Path | None = None,
    offload: bool = False,
    averaged: bool | None = None,
) -> Editor:
    """Load a model that edits pictures by instruction.

    Args:
        name: ``"storybook"``; the directory of a ``StableDiffusionInstructPix2PixPipeline`` or
            ``StableDiffusionXLInstructPix2PixPipeline``; a single ``.safetensors`` file in the layout of the published
            checkpoints; or the id of a model on the Hugging Face hub, the only case in which anything is downloaded.
        dtype: float32 unless given; a torch dtype or its name.
        device: a GPU if there is one unless given.
        config: for a single file, the diffusers directory or hub id of an editor of the same family, which has the
            tokenizer and the layout that such files lack.
        offload: let the parts take turns on the device, as for ``load``.
        averaged: for a single file, whether to take the averaged (EMA) weights, as published inference does, or those
            last trained; None for the averaged ones if the file has any.

    Raises:
        ModelError: the model is missing, unreadable, incomplete, or no instruction editor.
        InvalidInput: there is no such dtype or device, or nothing to be offloaded from.
    """
    parts, family, folder, place = load_parts(
        name, EDITOR, dtype=dtype, device=device, config=config, offload=offload, averaged=averaged
    )
    own = {part: parts.pop(part) for part in PARTS}
    model = Model(str(name), **own, family=family, more=parts, place=place)
    _check(model)
    usual = family.defaults(model.unet)
    return Editor(model, EditorDefaults.read(folder, usual) if folder else EditorDefaults(**usual))


@dataclass(eq=False)
class Editor:
    """An instruction editor: ``editor(picture, "make it night", seed=3).images[0]``.

    Args:
        model: a network with twice the channels of its autoencoder's latents, and what belongs to it.
        defaults: the settings used where a caller gives None.
    """

    model: Model
    defaults: EditorDefaults = EditorDefaults()

    @cached_property
    def backbone(self) -> Backbone:
        """The network as it is sampled from."""
        return self.model.backbone

    @property
    def fitting(self) -> Fitting:
        """The sizes that the network works at."""
        grain = self.model.factor * max(site.factor for site in self.backbone.sites)
        return Fitting(self.model.factor, grain, self.defaults.side or max(self.model.image_size))

    def __call__(
        self,
        images: PictureLike | Sequence[PictureLike],
        instructions: str | Sequence[str],
        *,
        text_guidance: float | None = None,
        image_guidance: float | None = None,
        seed: int | Sequence[int] | np.ndarray = 0,
        mask: PictureLike | Sequence[PictureLike] | None = None,
        preset: str | None = None,
        steps: int | None = None,
        scheduler: object = None,
        guided: GuidedSteps | None = None,
        negative: str | Sequence[str] = "",
        size: str | Size = "whole",
        batch: int = 4,
        progress: Progress | None = None,
        watch: Watch | None = None,
    ) -> Instructed:
        """Edit pictures as instructions say.

        Images, instructions, seeds, masks and negative prompts are each one, for all edits, or a list with one for
        each: three images and one instruction are three edits, and so are one image and three seeds. An edit depends
        on its own picture, instruction and seed alone, whatever else is edited with it.

        Args:
            images: paths of files, PIL images, or uint8 arrays (h, w, 3); what becomes of unusual ones is said in
                ``wordbrush.pictures`` and noted in the result's ``rows``.
            instructions: what to change, as "make it night".
            text_guidance: how closely to follow the instruction, s_T of Eq. 3; 5 to 10 with the published editor.
                It and ``image_guidance`` are the editor's defaults if None, and act at any value, those below 1 too.
            image_guidance: how closely to keep to the picture, s_I of Eq. 3; 1 to 2 with the published
                editor.
            seed: of the noise, all of which is drawn for each edit by itself.
            mask: white where the picture may change, black where it must not, of the picture's size; grey mixes. Where
                it is black, the result has exactly the pixels of the picture. Also an array (h, w), uint8 or bool; or
                ``"auto"``, found from the edit itself (``wordbrush.changed``): what it left alone keeps the picture's
                pixels instead of what the autoencoder makes of them.
            preset: steps, scheduler and guided steps at once, a name of ``PRESETS``: ``"published"`` is 100 steps of
                Euler ancestral.
            steps: of the scheduler; this, ``scheduler`` and ``guided`` are the preset's if None.
            scheduler: a name from ``wordbrush.sampling.SCHEDULERS``, ``"euler_a"``, or a diffusers scheduler of one of
                these classes.
            guided: the steps in which both scales act.
            negative: in place of the empty text of the branches without instruction.
            size: ``"whole"``: at about the size that the network knows, and back at the picture's own; ``"native"``:
                at the picture's own, both sides of which must be multiples of a latent pixel; ``"published"``: cropped
                a little and left at the size that the published code edits at; or pixels, one number or (height,
                width), to which the picture is stretched.
            batch: how many pictures of one size are edited at once.
            progress: called with (steps done, steps in all) after every step.
            watch: called before ``progress`` with the (n, C, h, w) latents that the n pictures that are edited at once
                seem to be heading for.

        Raises:
            InvalidInput: a picture, mask, instruction, number, size or scheduler that cannot be used as given.
            PromptTooLong: an instruction or negative prompt does not fit the text encoder.
            ModelError: the model made NaN, or memory ran out.
        """
        sampling = self._sampling(preset, steps, scheduler, guided)
        guidance = TextImage(
            self.defaults.text_guidance if text_guidance is None else text_guidance,
            self.defaults.image_guidance if image_guidance is None else image_guidance,
        )
        check_count("batch", batch)
        trial = make_scheduler(sampling.scheduler, self.model.scheduler, noise=noise_source([0], (1, 1, 1)))
        check_steps(trial, sampling.steps)
        trial.set_timesteps(int(sampling.steps))
        evaluations = len(trial.timesteps)
        asking = sampling.guided.steps(Clock(sampling.steps, evaluations))
        edits = self._edits(images, instructions, seed, mask, negative, size)
        warn_of_unknown_words((edit.instruction.text for edit in edits), self.defaults.words)
        groups = chunks([edit.canvas.worked.size for edit in edits], batch)
        latents: dict[int, Tensor] = {}
        for number, group in enumerate(groups):
            part = part_of(progress, number, len(groups))
            made = self._run([edits[i] for i in group], sampling, guidance, asking, part, watch)
            latents |= dict(zip(group, made, strict=True))
        cost, named = evaluations + 2 * len(asking), sampling.scheduler
        return Instructed(
            [latents[number] for number in range(len(edits))],
            [edit.canvas for edit in edits],
            model=self.model,
            settings={
                "model": self.model.name,
                "text_guidance": guidance.text,
                "image_guidance": guidance.image,
                "steps": sampling.steps,
                "scheduler": named if isinstance(named, str) else type(named).__name__,
                "guided": {**asdict(sampling.guided), "steps": len(asking), "of": evaluations},
                "forward_samples": cost * len(edits),
                "forward_samples_per_edit": cost,
                "dtype": str(self.model.dtype).removeprefix("torch."),
            },
            rows=[edit.row for edit in edits],
        )

    def _sampling(
        self, preset: str | None, steps: int | None, scheduler: object, guided: GuidedSteps | None
    ) -> Sampling:
        chosen = find_preset(self.defaults.preset if preset is None else preset)
        if guided is not None and not isinstance(guided, GuidedSteps):
            raise InvalidInput(f"guided is GuidedSteps((0, 0.8)) or the like, not {guided!r}")
        return Sampling(
            chosen.steps if steps is None else steps,
            chosen.scheduler if scheduler is None else scheduler,
            chosen.guided if guided is None else guided,
        )

    def _edits(
        self, images: Any, instructions: Any, seed: Any, mask: Any, negative: Any, size: Any
    ) -> list[_Edit]:
        """Pair what is to be edited: each argument is one value for all edits, or a list with one for each."""
        given = {
            "images": images,
            "instructions": instructions,
            "seeds": seed,
            "masks": mask,
            "negative prompts": negative,
        }
        found = {name: several(name, value) for name, value in given.items()}
        counts = {name: len(values) for name, values in found.items() if values is not None}
        lists = {name: [given[name]] if values is None else values for name, values in found.items()}
        edits = max(counts.values(), default=1)
        if any(count not in (1, edits) for count in counts.values()) or not edits:
            told = ", ".join(f"{count} {name}" for name, count in counts.items())
            raise InvalidInput(f"{told} cannot be paired: give one for all edits, or one for each")
        columns = [values * edits if len(values) == 1 else values for values in lists.values()]
        return [self._edit(row, size) for row in zip(*columns, strict=True)]

    def _edit(self, row: Sequence[Any], size: Any) -> _Edit:
        image, instruction, seed, mask, negative = row
        read = self.backbone.read
        asked, avoided = read(instruction), read(negative)
        if not asked.text.strip():
            raise InvalidInput(
                "an empty instruction asks for no change: say what to change, as 'make it night'"
            )
        automatic = isinstance(mask, str) and mask == AUTO
        canvas = place(image, None if automatic else mask, size, self.fitting)
        masked = AUTO if automatic else mask is not None
        return _Edit(canvas, asked, avoided, check_seed(seed), masked)

    def _run(
        self,
        edits: Sequence[_Edit],
        sampling: Sampling,
        guidance: TextImage,
        asking: range,
        progress: Progress | None,
        watch: Watch | None,
    ) -> Tensor:
        """Edit pictures of one size: (edits, C, h, w) latents."""
        width, height = edits[0].canvas.worked.size
        factor, model = self.model.factor, self.model
        shape = (self.backbone.latent_channels, height // factor, width // factor)
        draw = noise_source([edit.seed for edit in edits], shape)
        scheduler = make_scheduler(sampling.scheduler, model.scheduler, noise=draw)
        scheduler.set_timesteps(sampling.steps, device=model.device)
        with telling_of_memory(len(edits), (height, width)):
            final = denoise(
                self.backbone,
                scheduler,
                draw().to(device=model.device, dtype=model.dtype),
                pictures=model.condition([edit.canvas.worked for edit in edits]),
                instructions=[edit.instruction for edit in edits],
                negatives=[edit.negative for edit in edits],
                guidance=guidance,
                asking=asking,
                reuse=sampling.guided.reuse,
                progress=progress,
                watch=watch,
            )
        scales = {"the text guidance": guidance.text, "the image guidance": guidance.image}
        check_finite(final, model, scales)
        return final


@dataclass(frozen=True, eq=False)
class _Edit:
    """One picture with what is to become of it."""

    canvas: Canvas
    instruction: Prompt
    negative: Prompt
    seed: int
    masked: bool | str

    @property
    def row(self) -> dict[str, Any]:
        """What only this edit has, as it is told."""
        worked, size = self.canvas.worked, self.canvas.before.size
        return {
            "instruction": self.instruction.text,
            "negative": self.negative.text,
            "seed": self.seed,
            "size": size[::-1],
            "worked_size": (worked.height, worked.width),
            "masked": self.masked,
            "notes": list(self.canvas.notes),
        }


def _check(model: Model) -> None:
    """Refuse networks that are no instruction editors."""
    unet: Any = model.unet
    taken, made = unet.config.in_channels, model.vae.config.latent_channels
    if taken == made:
        told = (
            f"{model.name} has a network of {taken} input channels, so it is a text-to-image model, which takes no "
            "instructions: use"
        )
        raise OtherKind(f"{told} load, and edit its words", command=f"{told} wordbrush edit")
    if taken != 2 * made:
        raise OtherKind(
            f"{model.name} has a network of {taken} input channels where an instruction editor with this autoencoder "
            f"has {2 * made}"
        )
