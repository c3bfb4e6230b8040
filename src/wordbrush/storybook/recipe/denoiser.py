"""What the text-to-image stages share: training, loading and previews, for any network and any way to add noise."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from wordbrush.errors import WordbrushError
from wordbrush.storybook.recipe import vocabulary
from wordbrush.storybook.recipe.budget import Budget
from wordbrush.storybook.recipe.lessons import (
    PREVIEWS,
    Lessons,
    Parts,
    multiplies_bfloat16,
    preview_noise,
    stratified,
    tokenize,
    write_previews,
)
from wordbrush.storybook.recipe.loop import Run, Schedule, load_average, put_average

N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True, eq=False)
class Noised:
    """Pictures with noise in them, and what a network should say of them.

    Attributes:
        latents: (n, 8, 16, 16), the pictures with their noise.
        timesteps: (n,), as the network is told them.
        aim: (n, 8, 16, 16), what it should predict.
        clean: from a prediction to the clean latents that it amounts to.
        signal: (n,) signal powers from 0 to 1.
    """

    latents: Tensor
    timesteps: Tensor
    aim: Tensor
    clean: Callable[[Tensor], Tensor]
    signal: Tensor


@dataclass(frozen=True)
class Denoiser(Generic[N]):
    """One text-to-image stage.

    Attributes:
        stage: its name.
        build: from a name of ``SIZES`` and the size of the vocabulary to the untrained network, which predicts from
            noisy latents, timesteps and token ids.
        add_noise: from clean latents, noise like them and (n,) numbers within 0 and 1 that choose how much of it.
        scheduler: makes the diffusers scheduler that draws with it.
    """

    stage: str
    build: Callable[[str, int], N]
    add_noise: Callable[[Tensor, Tensor, Tensor], Noised]
    scheduler: Callable[[], Any]

    def train(
        self,
        parts: Parts,
        out: Path,
        *,
        device: torch.device,
        budget: Budget,
        total: int,
        decay: int,
        size: str,
        batch: int = 32,
    ) -> bool:
        """Train or continue the stage; returns whether the schedule ended."""
        lessons = Lessons(parts, device)
        model = self.build(size, len(lessons.tokenizer)).to(device)
        run = Run(model, Schedule(batch=batch, peak=1e-3, total=total, decay=decay), out)
        run.resume()

        def loss(step: int, drawn: np.ndarray, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
            lesson = lessons.at(drawn, step)
            uniform = stratified(len(lesson.clean), generator, device)
            noise = torch.randn(lesson.clean.shape, generator=generator, device=device)
            noised = self.add_noise(lesson.clean, noise, uniform)
            with torch.autocast(device.type, torch.bfloat16, enabled=multiplies_bfloat16(device)):
                output = model(noised.latents, noised.timesteps, lesson.tokens)
            error = (output.float() - noised.aim).square()
            return lessons.loss(lesson, error, noised.clean(output.float()), noised.signal)

        def preview(seen: int) -> None:
            self.write_samples(run, size, parts, out / f"sample_{seen:08d}.png", device)

        return run.fit(loss, len(lessons), budget=budget, preview=preview)

    def load(self, folder: Path, tokenizer: Any, device: torch.device) -> N:
        """Return the trained network with the averaged weights, in evaluation mode.

        Raises:
            WordbrushError: the stage has not been run.
        """
        path = folder / "settings.json"
        if not path.exists():
            raise WordbrushError(
                f"no model under {folder}: run `wordbrush storybook train --stage {self.stage}` first"
            )
        size = json.loads(path.read_text(encoding="utf-8"))["size"]
        return load_average(self.build(size, len(tokenizer)).to(device), folder)

    def write_samples(self, run: Run, size: str, parts: Parts, path: Path, device: torch.device) -> None:
        """Draw one picture for each preview prompt with the averaged weights and write them as one PNG."""
        tokenizer = vocabulary.load(parts.tokenizer)
        model = put_average(run, self.build(size, len(tokenizer)).to(device))
        tokens = tokenize(tokenizer, PREVIEWS).to(device)
        empty = tokenize(tokenizer, [""] * len(PREVIEWS)).to(device)
        latents = sample_latents(
            model, tokens, empty, preview_noise(device), self.scheduler(), steps=20, guidance=4.0
        )
        write_previews(latents, parts, path)


@torch.no_grad()
def sample_latents(
    model: nn.Module,
    tokens: Tensor,
    empty: Tensor,
    noise: Tensor,
    scheduler: Any,
    *,
    steps: int,
    guidance: float,
) -> Tensor:
    """Denoise with classifier-free guidance, for previews: (n, 32) ids and (n, 8, 16, 16) noise to latents."""
    scheduler.set_timesteps(steps, device=noise.device)
    both, latents = torch.cat([empty, tokens]), noise
    for t in scheduler.timesteps:
        unconditional, conditional = model(torch.cat([latents] * 2), t.expand(len(both)), both).chunk(2)
        prediction = unconditional + guidance * (conditional - unconditional)
        latents = scheduler.step(prediction, t, latents).prev_sample
    return latents
