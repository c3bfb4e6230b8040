"""From settings to the objects that work: readers and filters, writers, rules, engines."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordbrush.dataset import config
from wordbrush.dataset.captions import CaptionSource, CaptionStage, caption_source
from wordbrush.dataset.engines.local import LocalEngine
from wordbrush.dataset.engines.ray import RayEngine
from wordbrush.dataset.filters import DEFAULTS, BlockedWords, Filter, Language, Length, Matching
from wordbrush.dataset.rules import Best, Keep, Rule, preset
from wordbrush.dataset.stage import Engine
from wordbrush.dataset.triplets import TripletStage, checks_of
from wordbrush.dataset.writers.base import StorybookTruth, Writer
from wordbrush.errors import InvalidInput

if TYPE_CHECKING:
    from wordbrush.dataset.writers.local import LocalWriter
    from wordbrush.dataset.writers.openai import OpenAIWriter

ANY = "any"
DEFAULT = "default"
NONE = "none"
DRAWING = ("temperature", "top_p", "frequency_penalty", "max_tokens")
COMPUTING = ("batch", "device", "dtype")
ASKING = ("form", "base_url", "concurrency", "timeout", "retries")
WRITTEN, SERVED = 256, 32
"""Captions of a unit that this machine, or a server, writes: what a server has answered is lost with the unit that the
run stops in."""

BEST = 4
"""Pairs per triplet that the published filter keeps."""


def captions(section: config.Captions) -> tuple[CaptionSource, CaptionStage]:
    """Return what the first stage reads and the stage itself.

    Raises:
        DataError, InvalidInput: a source or filter that there is not.
    """
    filters: list[Filter] = [Length(section.words, section.characters)]
    if section.language != ANY:
        filters.append(Language(section.language))
    if section.blocked_words == DEFAULT:
        filters.append(BlockedWords())
    elif section.blocked_words != NONE:
        filters.append(BlockedWords.read(Path(section.blocked_words)))
    if section.pattern is not None:
        filters.append(Matching(section.pattern))
    source = caption_source(
        section.sources,
        filters=filters,
        column=section.column,
        url_column=section.url_column,
        split=section.split,
        limit=section.limit,
    )
    return source, CaptionStage(section.rows_per_unit)


def triplets(section: config.Writer, *, seed: int, filters: Sequence[Filter] = DEFAULTS) -> TripletStage:
    """Return the stage that writes the triplets.

    Args:
        filters: those that the captions have passed; what is written for them has to pass them as well.

    Raises:
        InvalidInput, DataError, ModelError: settings or files that the writer cannot use.
    """
    truth = section.kind == "storybook" if section.truth is None else section.truth
    checks = (*checks_of(filters), StorybookTruth()) if truth else checks_of(filters)
    return TripletStage(
        writer(section),
        seed=seed,
        per_caption=section.per_caption,
        checks=checks,
        attempts=section.attempts,
        rows_per_unit=section.rows_per_unit or (SERVED if section.kind == "server" else WRITTEN),
    )


def writer(section: config.Writer) -> Writer:
    """Return the writer that a section describes.

    Raises:
        InvalidInput, DataError, ModelError: settings, files or models that it cannot use.
    """
    made = _writer(section)
    own = _given(section, *COMPUTING, *ASKING)
    known = {one.name for one in dataclasses.fields(made)}
    for name in own:
        if name not in known:
            raise InvalidInput(f"the {section.kind} writer has no setting {name!r}")
    if section.examples is not None:
        from wordbrush.dataset.writers.form import read_examples

        own["examples"] = tuple(read_examples(section.examples)[: section.shown])
    sampling = dataclasses.replace(made.sampling, **_given(section, *DRAWING))
    return dataclasses.replace(made, sampling=sampling, **own)


def _writer(section: config.Writer) -> LocalWriter | OpenAIWriter:
    if section.kind == "storybook":
        from wordbrush.dataset.writers.storybook import storybook_writer

        return storybook_writer(Path(section.model) if section.model else None)
    if section.model is None:
        raise InvalidInput(f"a {section.kind} writer needs a setting model")
    if section.kind == "local":
        from wordbrush.dataset.writers.local import LocalWriter

        return LocalWriter(section.model)
    from wordbrush.dataset.writers.openai import OpenAIWriter

    return OpenAIWriter(section.model)


def rules(section: config.Select, gates: Mapping[str, float]) -> tuple[Rule, ...]:
    """Return the rules of a selection; without a preset, the gates that the pairs were made with.

    Raises:
        InvalidInput: an unknown preset.
    """
    chosen: list[Rule] = list(
        preset(section.preset)
        if section.preset is not None
        else (
            *(Keep(score, at_least=least) for score, least in gates.items()),
            Best("clip_direction", k=BEST),
        )
    )
    changed = {rule.score: position for position, rule in enumerate(chosen) if isinstance(rule, Keep)}
    for score, least in section.at_least.items():
        if score in changed:
            chosen[changed[score]] = Keep(score, at_least=least)
        else:
            chosen.insert(len(changed), Keep(score, at_least=least))
    if section.best is not None:
        chosen = [
            dataclasses.replace(rule, k=section.best) if isinstance(rule, Best) else rule for rule in chosen
        ]
    return tuple(chosen)


def engine(section: config.Engine) -> Engine:
    """Return the engine.

    Raises:
        InvalidInput: settings that the engine does not have.
    """
    if section.name == "ray":
        return RayEngine(section.workers, section.address, section.cpus, section.gpus, section.threads)
    if section.workers != 1 or section.address is not None or section.cpus is not None or section.gpus:
        raise InvalidInput(
            "the engine 'local' is this process alone, which takes what it finds: for workers, a cluster, or cores and "
            "GPUs of workers, use the engine 'ray'"
        )
    return LocalEngine(section.threads)


def _given(section: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(section, name) for name in names if getattr(section, name) is not None}
