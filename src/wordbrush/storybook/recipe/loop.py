"""The training loop of every stage: resumable exactly, because nothing in it depends on more than (seed, step).

The learning rate, the average of the weights, the order of the data and all noise are pure functions of the step, as in
the EDM2 recipe (arXiv:2312.02696); so a killed run that is started again by the same command ends with the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from wordbrush.errors import WordbrushError
from wordbrush.files import append_json, mend_lines, write_files
from wordbrush.storybook.recipe.budget import Budget
from wordbrush.training.order import hash_seed, indices_at

M = TypeVar("M", bound=nn.Module)

Loss = Callable[[int, np.ndarray, torch.Generator], tuple[Tensor, dict[str, float]]]
"""``loss(step, indices, generator) -> (scalar, numbers to log)``."""


@dataclass(frozen=True)
class Schedule:
    """Warm-up, constant, linear decay to zero; everything is counted in samples seen.

    Attributes:
        batch: samples per step.
        peak: learning rate after the warm-up.
        warmup: samples over which the rate rises linearly from zero.
        total: samples after which training is over.
        decay: samples of the final linear decay (part of ``total``).
        ema: half-life of the averaged weights, in samples.
    """

    batch: int
    peak: float
    total: int
    decay: int
    warmup: int = 3200
    ema: int = 8000

    def rate(self, seen: int) -> float:
        """Learning rate after ``seen`` samples."""
        rising = min(1.0, (seen + self.batch) / self.warmup)
        falling = min(1.0, max(0.0, (self.total - seen) / max(1, self.decay)))
        return self.peak * rising * falling

    def ema_keep(self, seen: int) -> float:
        """Share of the old average kept at this step; the half-life grows with training up to ``ema``."""
        half_life = min(self.ema, max(1.0, 0.1 * seen))
        return 0.5 ** (self.batch / half_life)


FROZEN = Schedule(batch=1, peak=0.0, total=0, decay=0)
"""That of a run which is only read."""


class Run:
    """One stage's weights, averaged weights, optimizer and position, saved in a single safetensors file.

    The modules have no persistent buffers, so ``average`` is a complete state dict. ``before`` counts the samples that
    the weights had seen when this run began, if it did not begin from nothing.
    """

    def __init__(self, module: nn.Module, schedule: Schedule, out: Path, *, seed: int = 0) -> None:
        self.module, self.schedule, self.out, self.seed = module, schedule, out, seed
        self.step = self.before = 0
        self.average = {name: p.detach().clone() for name, p in module.named_parameters()}
        decayed = [p for p in module.parameters() if p.ndim >= 2]
        plain = [p for p in module.parameters() if p.ndim < 2]
        groups = [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=schedule.peak, betas=(0.9, 0.99), foreach=True)

    @property
    def seen(self) -> int:
        """Samples seen so far."""
        return self.step * self.schedule.batch

    @property
    def checkpoint(self) -> Path:
        """The file that holds the whole state."""
        return self.out / "state.safetensors"

    @property
    def log(self) -> Path:
        """The file that gets a line of JSON every hundred steps."""
        return self.out / "log.jsonl"

    def save(self) -> None:
        """Write the state under a temporary name and rename it."""
        from safetensors.torch import save

        tensors: dict[str, Tensor] = {}
        for name, parameter in self.module.named_parameters():
            tensors[f"weight/{name}"] = parameter.detach()
            tensors[f"average/{name}"] = self.average[name]
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer/{key}/{name}"] = torch.as_tensor(value)
        tensors = {key: value.contiguous().cpu().clone() for key, value in tensors.items()}
        position = {
            "step": str(self.step),
            "samples": str(self.before + self.seen),
            "before": str(self.before),
        }
        write_files({self.checkpoint: save(tensors, position)})

    def resume(self) -> None:
        """Continue from the saved state if there is one; raises as ``load``, and ``CannotWrite`` for the log."""
        mend_lines(self.log)
        if self.checkpoint.exists():
            self.load()

    def load(self) -> None:
        """Continue from the saved state.

        Raises:
            WordbrushError: the state belongs to a model of other shapes.
        """
        from safetensors import SafetensorError, safe_open

        try:
            opened = safe_open(self.checkpoint, "pt")
        except SafetensorError as error:
            raise WordbrushError(f"{self.checkpoint} cannot be read; it may be truncated: {error}") from error
        with opened as state, torch.no_grad():
            names = set(state.keys())
            for name, parameter in self.module.named_parameters():
                if f"weight/{name}" not in names or state.get_slice(f"weight/{name}").get_shape() != list(
                    parameter.shape
                ):
                    raise WordbrushError(
                        f"{self.checkpoint} holds no weight {name!r} of shape {tuple(parameter.shape)}: "
                        "it belongs to another model; choose another --output or move it away"
                    )
                parameter.copy_(state.get_tensor(f"weight/{name}"))
                self.average[name] = state.get_tensor(f"average/{name}").to(parameter.device)
                self.optimizer.state[parameter] = {
                    key.split("/")[1]: state.get_tensor(key).to(
                        "cpu" if key.startswith("optimizer/step") else parameter.device
                    )
                    for key in (f"optimizer/{kind}/{name}" for kind in ("step", "exp_avg", "exp_avg_sq"))
                    if key in names
                }
            position = state.metadata()
            self.step, self.before = int(position["step"]), int(position["before"])

    def fit(
        self,
        loss: Loss,
        count: int,
        *,
        budget: Budget,
        preview: Callable[[int], None] | None = None,
        save_every: float = 4.0,
    ) -> bool:
        """Train until the schedule ends or the time is over; return whether the schedule ended.

        ``loss`` gets data indices below ``count`` and a generator that is a function of (seed, step) alone.
        """
        saved = time.monotonic()
        device = next(self.module.parameters()).device
        recent: list[dict[str, float]] = []
        while self.seen < self.schedule.total and not budget.spent:
            generator = torch.Generator(device=device).manual_seed(hash_seed(self.seed, self.step))
            indices = indices_at(self.step, self.schedule.batch, count, self.seed)
            for group in self.optimizer.param_groups:
                group["lr"] = self.schedule.rate(self.seen)
            value, numbers = loss(self.step, indices, generator)
            self.optimizer.zero_grad(set_to_none=True)
            value.backward()
            norm = nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
            self.optimizer.step()
            self._update_average()
            self.step += 1
            budget.tell(self.seen, self.schedule.total)
            recent.append({"loss": value.item(), "grad_norm": norm.item(), **numbers})
            if len(recent) == 100:
                self._log(recent, budget.seconds)
                recent = []
            if time.monotonic() - saved > 60 * save_every:
                self.save()
                if preview is not None:
                    preview(self.seen)
                saved = time.monotonic()
        self.save()
        if preview is not None:
            preview(self.seen)
        return self.seen >= self.schedule.total

    @torch.no_grad()
    def _update_average(self) -> None:
        keep = self.schedule.ema_keep(self.seen)
        for name, parameter in self.module.named_parameters():
            self.average[name].lerp_(parameter, 1.0 - keep)

    def _log(self, recent: list[dict[str, float]], elapsed: float) -> None:
        means = {key: float(np.mean([entry[key] for entry in recent])) for key in recent[0]}
        if not math.isfinite(means["loss"]):
            raise WordbrushError(f"the loss is not finite after {self.seen} samples: lower the learning rate")
        line = {
            "samples": self.seen,
            "seconds": round(elapsed, 1),
            **{k: round(v, 5) for k, v in means.items()},
        }
        append_json(self.log, [{**line, "rate": self.schedule.rate(self.seen)}])


def load_average(module: M, folder: Path) -> M:
    """Put the averaged weights of the state saved in a stage's folder into a module, and return it for evaluation.

    Raises:
        WordbrushError: the state belongs to a model of other shapes.
    """
    run = Run(module, FROZEN, folder)
    run.load()
    return put_average(run, module)


def put_average(run: Run, module: M) -> M:
    """Put the averaged weights of a run into a module of the same shapes, and return it for evaluation."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(run.average[name])
    module.eval()
    return module
