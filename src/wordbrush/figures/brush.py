"""How figures make their pictures: the models, the user's settings, the same few calls everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL.Image import Image

import wordbrush as wb
from wordbrush.figures.inputs import picture

INJECTED: Mapping[str, Any] = {"until": 0.8, "self_attention": 0.4, "blend": "none"}
"""The paper's own settings, for figures that show what injecting attention does by itself."""


@dataclass(frozen=True)
class Brush:
    """Models with the settings of a whole figure.

    Args:
        model: the text-to-image model; a figure that needs none can be drawn without.
        seed: None keeps the seed that each row of a figure was composed with.
        steps: None is the model's default.
        progress: called with (steps done, steps in all) in every run.
        editors: by the names that they are shown with; the first is the one that figures of a single editor have.
        own: the user's picture, shown in place of a figure's.
        instructions: the user's, in place of a figure's.
        results: the folder of an evaluation, for figures that show measures.
        labels: by the names of editors, what they are shown as where no editor is loaded, but ``results`` are read.
        examples: how many storybook edits are measured where there is none.
    """

    model: wb.Model | None = None
    seed: int | None = None
    steps: int | None = None
    progress: Callable[[int, int], None] | None = None
    editors: Mapping[str, wb.Editor] = field(default_factory=dict)
    own: Image | None = None
    instructions: Sequence[str] = ()
    results: Path | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    examples: int = 70

    @property
    def drawer(self) -> wb.Model:
        """The text-to-image model."""
        assert self.model is not None, "the figure says that it needs no model"
        return self.model

    @property
    def short_drawer(self) -> wb.Model:
        """The text-to-image model with the figure's number of steps as its own."""
        if self.steps is None:
            return self.drawer
        return replace(self.drawer, defaults=replace(self.drawer.defaults, steps=self.steps))

    @property
    def editor(self) -> wb.Editor:
        """The editor of figures that have a single one."""
        return next(iter(self.editors.values()))

    def picture(self, name: str) -> Image:
        """Return the user's picture, or else the one of this name in ``inputs``."""
        return self.own or picture(name)

    def instruct(
        self, image: Image, instructions: Sequence[str], *, seed: int, **settings: Any
    ) -> list[Image]:
        """Edit one picture as each instruction says, from the same noise."""
        edited = self.editor([image] * len(instructions), list(instructions), seed=self.seed_of(seed), steps=self.steps,
                             progress=self.progress, **settings)  # fmt: skip
        return edited.images

    def edit(self, source: str, to: Sequence[str], *, seed: int, **settings: Any) -> wb.EditResult:
        """Edit as ``wordbrush.edit`` does, with the figure's settings."""
        return wb.edit(self.drawer, source, to=list(to), seed=self.seed_of(seed), steps=self.steps,
                       progress=self.progress, **settings)  # fmt: skip

    def same_noise(self, prompts: Sequence[str], *, seed: int) -> list[Image]:
        """Generate each prompt from one and the same noise, without any control."""
        return self.generate(prompts, seed=seed).images

    def generate(self, prompts: Sequence[str], *, seed: int, maps: bool = False) -> wb.Generation:
        """Generate as ``wordbrush.generate`` does, with the figure's settings."""
        return wb.generate(self.drawer, list(prompts), seed=self.seed_of(seed), steps=self.steps, maps=maps,
                           progress=self.progress)  # fmt: skip

    def seed_of(self, seed: int) -> int:
        """Return the user's seed, or else the one that a row was composed with."""
        return seed if self.seed is None else self.seed
