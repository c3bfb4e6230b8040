"""The settings of a training, as they stand in a TOML file, and the published ones as a preset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)

from wordbrush import config
from wordbrush.config import make, read_toml
from wordbrush.errors import InvalidInput, nearest
from wordbrush.instruct import EditorDefaults

Weighting = Literal["none", "min_snr", "min_snr_terminal"]

CHANGEABLE = ("optimizer.rate", "optimizer.clip", "speed.precision", "batch.micro")
"""What decides the weights and may yet be changed from a state on, if that is asked for: it is recorded."""


Beta = Annotated[float, Field(ge=0, lt=1)]


class Section(config.Section):
    """A table of the file; all its numbers are finite."""

    model_config = ConfigDict(allow_inf_nan=False)


class Base(Section):
    """``[model]``: what training starts from.

    Args:
        base: a text-to-image model as ``wordbrush.load`` takes it, which gets room for the condition; or an editor as
            ``wordbrush.load_editor`` does, which is continued.
        config: for a single file, a directory or hub id of the same family.
        averaged: for a single file that has both, whether to begin with the averaged (EMA) weights or those last
            trained; None for the last trained of a text-to-image model, and the averaged ones of an editor.
    """

    base: str = "storybook"
    config: str | None = None
    averaged: bool | None = None


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class Data(Section):
    """``[data]``: the pairs, and how pictures become batches.

    Args:
        source: a folder, a file, or ``"hf:owner/name"``; or a list of them, all of one format.
        format: ``"run"``, a folder of ``wordbrush data`` with its last selection, or a name of
            ``wordbrush.dataset.formats.FORMATS``.
        split: of formats that have such.
        selection: of a folder of ``wordbrush data``, the name of one that is kept beside its own.
        share: the part of the prompts that is used, chosen by their keys.
        one_per_prompt: an epoch is a pass over prompts, with one pair of each drawn at every visit; else over pairs.
        paraphrases: a file of other wordings (``paraphrases.read``), or a list of them; at every visit of a pair one is
            drawn, its own instruction among them.
        long_instructions: what becomes of those that the text encoder does not read to the end.
        size: side of the square that is trained on, in pixels; None is the model's own.
        resize: the side before the crop is drawn between these two; None is ``size``.
        fit: ``"cover"`` keeps the aspect, the shorter side gets the size; ``"squash"`` does not, as published.
        crop: where the square is taken: ``"random"`` or ``"centre"``; the same for both pictures.
        flip: mirror both pictures of every second pair.
        buckets: shapes of other aspects and about the area of ``size``², up to ``aspect`` to 1.
    """

    source: Annotated[list[str], BeforeValidator(_listed), Field(min_length=1)]
    format: str = "run"
    split: str | None = None
    selection: str | None = None
    share: float = Field(default=1.0, gt=0, le=1)
    one_per_prompt: bool = False
    paraphrases: Annotated[list[str], BeforeValidator(_listed)] = Field(default_factory=list)
    long_instructions: Literal["refuse", "truncate"] = "refuse"
    size: PositiveInt | None = None
    resize: tuple[PositiveInt, PositiveInt] | None = None
    fit: Literal["cover", "squash"] = "cover"
    crop: Literal["centre", "random"] = "centre"
    flip: bool = True
    buckets: bool = False
    aspect: float = Field(default=2.0, ge=1)


class Cache(Section):
    """``[cache]``: what is computed once.

    Args:
        latents: encode every picture once; otherwise the files of the pictures are copied, for random access.
        text: encode every instruction once.
        folder: where; None is inside the output. Several trainings on the same data may share one.
        dtype: of what is cached.
    """

    latents: bool = True
    text: bool = True
    folder: Path | None = None
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"


class Loss(Section):
    """``[loss]``: what is weighted and left out.

    Args:
        weighting: ``"none"``, as published, ``"min_snr"`` or ``"min_snr_terminal"``; see ``loss.weights``.
        gamma: the limit of both.
        dropout: share of samples without text, without picture, and without both: each this much.
    """

    weighting: Weighting = "none"
    gamma: PositiveFloat = 5.0
    dropout: float = Field(default=0.05, ge=0, le=1 / 3)


class Batch(Section):
    """``[batch]``: counted over all processes.

    Args:
        size: pairs of a step.
        micro: pairs of one forward pass of one process, gradients being accumulated over the rest; None is all at once.
    """

    size: PositiveInt = 32
    micro: PositiveInt | None = None


class Optimizer(Section):
    """``[optimizer]``: AdamW.

    Args:
        name: ``"adamw"``, or ``"adamw8bit"`` with the package bitsandbytes.
        rate: learning rate between warm-up and decay.
        betas, epsilon, weight_decay: of AdamW.
        clip: greatest norm of the gradient; None does not clip.
        warmup: steps in which the rate rises from 0.
        decay: last steps in which it falls to 0.
    """

    name: Literal["adamw", "adamw8bit"] = "adamw"
    rate: PositiveFloat = 1e-4
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    epsilon: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01
    clip: PositiveFloat | None = 1.0
    warmup: NonNegativeInt = 0
    decay: NonNegativeInt = 0


class Ema(Section):
    """``[ema]``: the averaged weights.

    Args:
        decay: share of the old average that an update keeps, in the end.
        per: updated after every ``"step"``, or as published after every micro-``"batch"``.
    """

    decay: float = Field(default=0.9999, ge=0, lt=1)
    per: Literal["step", "batch"] = "step"


class Lora(Section):
    """``[lora]``: low-rank adapters (arXiv:2106.09685) instead of all weights; the first convolution is trained too.

    Args:
        rank: 0 trains every weight.
        alpha: the adapters are scaled by alpha/rank; None is ``rank``.
        targets: ends of the names of the layers that get one.
    """

    rank: NonNegativeInt = 0
    alpha: PositiveFloat | None = None
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")


class Speed(Section):
    """``[speed]``: what changes memory and time, and the result by rounding alone.

    Args:
        precision: of the forward and backward pass; weights and optimizer stay in float32.
        gradient_checkpointing: compute activations again instead of keeping them.
        workers: threads that read and decode ahead.
    """

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    gradient_checkpointing: bool = False
    workers: NonNegativeInt = 2


class Save(Section):
    """``[save]``: the states that a stopped run goes on from, and the log.

    Args:
        every: steps between two states, of which the last two are kept.
        log_every: steps between two lines of ``log.jsonl``.
        tensorboard: write them for TensorBoard, too.
    """

    every: PositiveInt = 500
    log_every: PositiveInt = 10
    tensorboard: bool = False


class Samples(Section):
    """``[samples]``: pictures drawn while training, with the averaged weights.

    Args:
        every: steps between two sheets; 0 draws none.
        count: pairs of the data on a sheet.
        steps, text_guidance, image_guidance: of the sampler. Diffusers' pipeline draws without any guidance where the
            first scale is not above 1 or the second is below 1, so those are refused.
    """

    every: NonNegativeInt = 0
    count: PositiveInt = 4
    steps: PositiveInt = 20
    text_guidance: float = Field(default=7.5, gt=1)
    image_guidance: float = Field(default=1.5, ge=1)


class Export(Section):
    """``[export]``: the directory of the finished editor.

    Args:
        weights: ``"average"``, or ``"raw"`` for those of the last step.
        dtype: they are stored in.
        licence: an identifier of the Hugging Face hub, for the card.
        defaults: what ``wordbrush.json`` makes the editor do where its caller says nothing.
    """

    weights: Literal["average", "raw"] = "average"
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    licence: str | None = None
    defaults: EditorDefaults = EditorDefaults()


class Config(Section):
    """A whole training.

    Args:
        preset: a name of ``PRESETS``, whose values stand where the file has none.
        seed: everything random is drawn from it.
        steps: optimizer steps.
        text_encoder: ``"frozen"``, as published, or ``"trained"`` along with the network: for encoders that have never
            read instructions. Instructions are then not cached.
    """

    preset: str | None = None
    seed: int = Field(default=0, ge=0)
    steps: PositiveInt
    text_encoder: Literal["frozen", "trained"] = "frozen"
    model: Base = Base()
    data: Data
    cache: Cache = Cache()
    loss: Loss = Loss()
    batch: Batch = Batch()
    optimizer: Optimizer = Optimizer()
    ema: Ema = Ema()
    lora: Lora = Lora()
    speed: Speed = Speed()
    save: Save = Save()
    samples: Samples = Samples()
    export: Export = Export()

    @property
    def decisive(self) -> dict[str, Any]:
        """What decides the weights, apart from the model and the pairs themselves; only the same can be continued.

        More steps are the same training as long as the learning rate does not depend on their number, and so are
        smaller micro-batches, up to rounding, as long as the average does not count them.
        """
        values = self.model_dump(mode="json", exclude={"preset", "model", "save", "samples", "export"})
        del values["speed"]["workers"], values["speed"]["gradient_checkpointing"]
        for name in ("source", "selection", "paraphrases"):  # what is read there has digests of its own
            del values["data"][name]
        del values["cache"]["folder"]
        if self.ema.per == "step":
            del values["batch"]["micro"]
        if not self.optimizer.decay:
            del values["steps"]
        return values


PRESETS: dict[str, dict[str, Any]] = {
    "published": {
        "steps": 10_000,
        "data": {
            "one_per_prompt": True,
            "long_instructions": "truncate",
            "size": 256,
            "resize": (256, 256),
            "fit": "squash",
            "crop": "random",
            "flip": True,
        },
        "cache": {"latents": False, "text": False},
        "loss": {"weighting": "none", "dropout": 0.05},
        "batch": {"size": 1024, "micro": 32},
        "optimizer": {
            "rate": 1e-4,
            "betas": (0.9, 0.999),
            "weight_decay": 0.01,
            "clip": None,
            "warmup": 0,
            "decay": 0,
        },
        "ema": {"decay": 0.9999, "per": "batch"},
        "speed": {"precision": "float32", "gradient_checkpointing": True},
    }
}
"""What InstructPix2Pix was trained with, by its released code; the paper has ``resize = [256, 288]``."""


def read_config(path: Path, changes: Sequence[str] = ()) -> Config:
    """Read the settings of a training from a TOML file, as ``wordbrush.config.read_toml`` does.

    Raises:
        DataError: the file cannot be read, or is no TOML.
        InvalidInput: a preset, section, setting or value that there is not, with the nearest one.
    """
    return make_config(read_toml(path, changes), where=str(path))


def make_config(values: Mapping[str, Any], *, where: str) -> Config:
    """Return the settings, with those of the preset where ``values`` has none."""
    preset = values.get("preset")
    if preset is not None and preset not in PRESETS:
        raise InvalidInput(
            f"{where} has no preset {preset!r}{nearest(str(preset), PRESETS)}; there are {', '.join(PRESETS)}"
        )
    return make(Config, _below(values, PRESETS.get(str(preset), {})), where=where)


def _below(values: Mapping[str, Any], preset: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(preset) | dict(values)
    for name, given in preset.items():
        if isinstance(given, Mapping) and isinstance(values.get(name, {}), Mapping):
            merged[name] = {**given, **values.get(name, {})}
    return merged
