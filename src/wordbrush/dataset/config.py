"""The settings of a whole run, as they stand in a TOML file; what is not known is refused, not ignored."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from wordbrush.config import Section, make, read_toml
from wordbrush.dataset.pairs import PairStage


class Captions(Section):
    """``[captions]``: what is read, and the filters in the order in which they are asked.

    What the writer writes passes the same filters; of an instruction one word is enough.

    Args:
        sources: as ``readers.reader`` takes them, for example ``"captions.jsonl"``, ``"hf:owner/name"``,
            ``"storybook:2000"``.
        column, url_column, split: of those sources that have such.
        limit: read no more than so many.
        words, characters: the fewest and the most words, and the most characters.
        language: a code such as ``"en"``, or ``"any"``.
        blocked_words: ``"default"``, ``"none"``, or a file with one word or phrase a line, and lines that
            begin with ``#`` for comments.
        pattern: a regular expression that no caption may match.
        rows_per_unit: captions per file.
    """

    sources: tuple[str, ...] = Field(min_length=1)
    column: str | None = None
    url_column: str | None = None
    split: str = "train"
    limit: PositiveInt | None = None
    words: tuple[int, int] = (2, 60)
    characters: PositiveInt = 400
    language: str = "en"
    blocked_words: str = "default"
    pattern: str | None = None
    rows_per_unit: PositiveInt = 10_000


class Writer(Section):
    """``[writer]``: what writes the triplets, and how often it may try.

    What is not given is the writer's own default.

    Args:
        kind: ``"storybook"``, the embedded one; ``"local"``, a causal language model of transformers; or
            ``"server"``, one of OpenAI's protocol.
        model: a directory, a hub id, or as the server names it; for the storybook writer a directory of the recipe.
        examples: a file of triplets written by hand, of which the first ``shown`` stand before every caption.
        temperature, top_p, frequency_penalty, max_tokens: how the next token is drawn.
        batch, device, dtype: of the computation; not for a server.
        form, base_url, concurrency, timeout, retries: as in ``writers.openai.OpenAIWriter``, for a server only.
        truth: reject what is not true of the storybook; None where the storybook writer writes.
        per_caption, attempts: as in ``triplets.TripletStage``.
        rows_per_unit: captions per file; by default 256, and 32 where a server writes.
    """

    kind: Literal["storybook", "local", "server"] = "storybook"
    model: str | None = None
    examples: Path | None = None
    shown: PositiveInt = 8
    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    max_tokens: PositiveInt | None = None
    batch: PositiveInt | None = None
    device: str | None = None
    dtype: str | None = None
    form: Literal["json", "published"] | None = None
    base_url: str | None = None
    concurrency: PositiveInt | None = None
    timeout: PositiveFloat | None = None
    retries: NonNegativeInt | None = None
    truth: bool | None = None
    per_caption: PositiveInt = 1
    attempts: PositiveInt = 4
    rows_per_unit: PositiveInt | None = None


class Select(Section):
    """``[select]``: the rules of the selection.

    Args:
        preset: a name of ``rules.PRESETS``; None takes the gates of the pairs, and then the best 4 by direction.
        at_least: score → its least value, in place of the preset's.
        best: pairs per triplet, in place of the preset's.
        where: an SQL condition over the columns of the pairs.
    """

    preset: str | None = None
    at_least: dict[str, float] = Field(default_factory=dict)
    best: PositiveInt | None = None
    where: str | None = None


class Engine(Section):
    """``[engine]``: what makes the units.

    Args:
        name: ``"local"``, this process, or ``"ray"``, a pool of Ray actors.
        workers: number of actors.
        address: of a running Ray cluster; None starts Ray on this machine.
        cpus, gpus: what Ray reserves for an actor; None for as many cores as ``threads``.
        threads: of torch in each worker. Both engines write the same bytes with the same number; other numbers
            round differently, and do not go on with a stage that is half made.
    """

    name: Literal["local", "ray"] = "local"
    workers: PositiveInt = 1
    address: str | None = None
    cpus: NonNegativeFloat | None = None
    gpus: NonNegativeFloat = 0
    threads: PositiveInt = 1


class Export(Section):
    """``[export]``: data sets made of the selected pairs.

    Args:
        formats: names of ``formats.FORMATS``.
        licence: an identifier of the Hugging Face hub, such as ``"cc-by-4.0"``.
    """

    formats: tuple[str, ...] = ()
    licence: str | None = None


class Config(Section):
    """A whole run.

    Args:
        seed: everything random is drawn from it and the records' keys.
    """

    seed: int = Field(default=0, ge=0)
    captions: Captions
    writer: Writer = Writer()
    pairs: PairStage = PairStage()
    select: Select = Select()
    engine: Engine = Engine()
    export: Export = Export()

    @property
    def pair_stage(self) -> PairStage:
        """The stage of the pairs, with the run's seed."""
        return dataclasses.replace(self.pairs, seed=self.seed)


def read_config(path: Path, changes: Sequence[str] = ()) -> Config:
    """Read the settings of a run from a TOML file, as ``wordbrush.config.read_toml`` does.

    Raises:
        DataError: the file cannot be read, or is no TOML.
        InvalidInput: a section, setting or value that there is not, with the nearest one.
    """
    return make(Config, read_toml(path, changes), where=str(path))
