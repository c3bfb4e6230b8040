"""Training an editor: one function, resumable exactly, on one device or on many.

Everything random is a pure function of (seed, step, position) (``order``), so a run that was stopped, or killed, ends
with the same bits as one that was not; on a GPU as far as its kernels are deterministic.
"""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from wordbrush.errors import DataError, InvalidInput, TrainingError, nearest
from wordbrush.files import check_writable, locked, write_files
from wordbrush.models import Model, as_device
from wordbrush.training import loss as objective
from wordbrush.training import paraphrases, state
from wordbrush.training.batches import Batch, Batches, open_batches
from wordbrush.training.cache import digest_of
from wordbrush.training.config import CHANGEABLE, Config, Optimizer
from wordbrush.training.data import digest
from wordbrush.training.ema import Average
from wordbrush.training.export import FOLDER as EDITOR
from wordbrush.training.export import export
from wordbrush.training.log import Log
from wordbrush.training.lora import add_adapters
from wordbrush.training.network import Network, editor_with
from wordbrush.training.order import hash_seed
from wordbrush.training.samples import Sampler, diffusers_sampler, write_sheet
from wordbrush.training.state import Run
from wordbrush.training.widen import load_base
from wordbrush.version import __version__

RECORD = "run.json"

Progress = Callable[[str, int, int | None], None]
"""Called with what is done, how far it is, and how far it goes if that is known."""


@dataclass(frozen=True)
class Trained:
    """What a call of ``train`` has done.

    Args:
        step: optimizer steps done in all.
        finished: whether that is all there were to do.
        pairs: in the data.
        loss: mean of the last lines of the log; None if this call made no step.
        editor: the folder of the finished editor.
    """

    step: int
    finished: bool
    pairs: int
    loss: float | None = None
    editor: Path | None = None


def train(
    config: Config,
    out: Path,
    *,
    minutes: float = math.inf,
    device: str | None = None,
    only: Literal["prepare", "export"] | None = None,
    change: Collection[str] = (),
    sampler: Sampler = diffusers_sampler,
    progress: Progress | None = None,
) -> Trained:
    """Train an editor, or go on with one; the same call does both.

    Stops at the end of a step, with a state that the next call goes on from: after ``minutes``, at Ctrl-C, and when
    asked to terminate. Under ``accelerate launch`` or torchrun all processes call it alike.

    Args:
        out: gets the caches, states, log, samples and the finished ``editor``.
        device: ``"cpu"`` or ``"cuda"``; None takes a GPU if there is one.
        only: ``"prepare"`` makes the caches and stops; ``"export"`` writes the editor of the last state and stops.
        change: names of ``training.config.CHANGEABLE`` that may have other values than those the folder's training
            went on with until now; ``run.json`` keeps what they were, and until which step.
        sampler: makes the pictures of ``[samples]``.

    Raises:
        InvalidInput: settings that do not go together or with the model, a device that cannot be trained on, or a
            package that is not installed.
        ModelError: the model cannot be loaded, or is none that an editor can be made of.
        DataError: pairs that are missing or damaged, a stale cache, or a folder that holds another training.
        TrainingError: a loss that is not finite, with the pairs of the batch, or too little memory; the last state is
            kept.
        CannotWrite: the disk refuses; nothing is left half-written.
    """
    out = Path(out)
    for name in change:
        if name not in CHANGEABLE:
            raise InvalidInput(
                f"{name} cannot be changed under way{nearest(name, CHANGEABLE)}: only {', '.join(CHANGEABLE)} can"
            )
    check_writable(out)
    accelerator = _accelerator(device)
    main = accelerator.is_main_process
    per_process = _per_process(config, accelerator.num_processes)
    model = load_base(config.model.base, config=config.model.config, averaged=config.model.averaged)
    objective.prediction_of(model.scheduler)
    with locked(out) if main else nullcontext():
        if main:
            _claim(out, config, model, change)
            state.remove_leftovers(out)
        with accelerator.main_process_first(), _enough_memory_for_caches(config, model, accelerator.device):
            for part in (model.vae, model.text_encoder):
                part.to(accelerator.device)
            batches = open_batches(config, model, out, progress=_caching(progress) if main else None)
        if only == "prepare":
            return Trained(0, False, len(batches.keys))
        with _enough_memory(config, per_process):
            return _Training(accelerator, config, model, batches, out, sampler, progress).run(minutes, only)


def _accelerator(device: str | None) -> Any:
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    if device is not None:
        as_device(device)
    # The other processes wait while the first one fills the caches, which may take hours. Precision is not left to
    # Accelerate: it is a setting of the training, and the same in every launch.
    patience = InitProcessGroupKwargs(timeout=timedelta(days=2))
    on_cpu = device is not None and torch.device(device).type == "cpu"
    try:
        accelerator = Accelerator(cpu=on_cpu, mixed_precision="no", kwargs_handlers=[patience])
    except ValueError as error:  # this process has trained on a GPU before
        raise InvalidInput(f"Accelerate cannot train on {device!r} in this process: {error}") from error
    if device is not None:
        _check_device(torch.device(device), accelerator.device)
    return accelerator


def _check_device(asked: torch.device, given: torch.device) -> None:
    """Raise ``InvalidInput`` if Accelerate has taken another device than was asked for."""
    if asked.type != given.type:
        raise InvalidInput(
            f"Accelerate trains on {str(given)!r} here, not on {str(asked)!r}: ask for that, or begin in a new process "
            "without ACCELERATE_USE_CPU and the like"
        )
    if asked.index not in (None, given.index):
        raise InvalidInput(
            f"Accelerate trains on {str(given)!r} here, not on {str(asked)!r}: ask for {given.type!r}, with the GPU "
            "chosen by CUDA_VISIBLE_DEVICES"
        )


def _per_process(config: Config, processes: int) -> int:
    """Return the pairs of a forward pass."""
    share, rest = divmod(config.batch.size, processes)
    micro = config.batch.micro or share
    if rest or micro > share or share % micro:
        raise InvalidInput(
            f"batch.size = {config.batch.size} is not {processes} process{'es' if processes > 1 else ''} times whole "
            f"micro-batches of {micro}: change batch.size or batch.micro"
        )
    return micro


def _caching(progress: Progress | None) -> Callable[[str, int], None] | None:
    if progress is None:
        return None
    return lambda what, count: progress(f"Caching {what}", count, None)


def _claim(out: Path, config: Config, model: Model, change: Collection[str]) -> None:
    """Take an output folder that is empty or holds this very training, but for what is to ``change``.

    Raises:
        DataError: it holds another one; the message names a setting that differs.
    """
    path = out / RECORD
    now = {
        **config.decisive,
        "pairs": digest(config.data),
        "paraphrases": paraphrases.digest(config.data.paraphrases),
        "base": {part: digest_of(getattr(model, part)) for part in ("unet", "vae", "text_encoder")},
    }
    changes: list[dict[str, Any]] = []
    if path.exists() and (states := state.saved(out)):  # settings that have trained nothing yet may change
        before = json.loads(path.read_text(encoding="utf-8"))
        changes = before.get("changes", [])
        for name, old, new in _differences(before["decisive"], json.loads(json.dumps(now))):
            if name not in change:
                raise _other_training(out, name, old, new)
            changes.append({"until": state.step_of(states[-1]), "setting": name, "was": old, "is": new})
    elif not path.exists() and (taken := [name for name in (state.STATES, EDITOR) if (out / name).exists()]):
        raise DataError(
            f"{out} holds a folder {taken[0]!r} that is of no training here: choose another output"
        )
    record = {
        "wordbrush": __version__,
        "decisive": now,
        "config": config.model_dump(mode="json"),
        "changes": changes,
    }
    write_files({path: (json.dumps(record, indent=1) + "\n").encode()})


def _differences(before: Any, now: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield name, old and new value of what decides now and was otherwise."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key, value in now.items():
            yield from _differences(before.get(key), value, f"{name}.{key}".lstrip("."))
    elif before != now:
        yield name, before, now


def _other_training(out: Path, name: str, old: Any, new: Any) -> DataError:
    told = f"{out} holds a training with {name} = {old!r}, not {new!r}: set it back, "
    other = "or choose another output"
    if name not in CHANGEABLE:
        return DataError(told + other)
    return DataError(
        f"{told}go on with it by change=[{name!r}], {other}",
        command=f"{told}go on with it by --change {name}={new}, {other}",
    )


def _changing(settings: list[tuple[str, Any]]) -> tuple[list[str], list[str]]:
    """Say how to go on with other values, in Python and on the command line."""
    ways = [f"set {name} = {value!r} with change=[{name!r}]" for name, value in settings]
    return ways, [f"go on with --change {name}={value}" for name, value in settings]


class _Training:
    """The parts of a training under way."""

    def __init__(
        self,
        accelerator: Any,
        config: Config,
        model: Model,
        batches: Batches,
        out: Path,
        sampler: Sampler,
        progress: Progress | None,
    ) -> None:
        self.accelerator, self.config, self.model = accelerator, config, model
        self.batches, self.out, self.sampler, self.progress = batches, out, sampler, progress
        self.device: torch.device = accelerator.device
        self.main: bool = accelerator.is_main_process
        self.micro = _per_process(config, accelerator.num_processes)
        self.kind: objective.Prediction = objective.prediction_of(model.scheduler)
        self.signal: Tensor = model.scheduler.alphas_cumprod.float().to(self.device)
        exact = self.signal.cpu().double()  # not every device computes in float64
        weights = objective.weights(config.loss.weighting, self.kind, exact, gamma=config.loss.gamma)
        self.weights = weights.float().to(self.device)
        # What is cached need not stay on the GPU.
        if config.cache.latents:
            model.vae.to("cpu")
        if config.cache.text:
            model.text_encoder.to("cpu")
        self.network, self.state = self._prepare()

    def _prepare(self) -> tuple[Any, Run]:
        """Place network, optimizer and average, from the last state if there is one."""
        config, unet = self.config, self.model.unet
        fsdp = self.accelerator.distributed_type.name == "FSDP"
        if fsdp and (config.speed.precision == "float16" or config.lora.rank):
            raise InvalidInput(
                "with FSDP, use speed.precision = 'bfloat16' or 'float32' and lora.rank = 0; adapters are small enough "
                "for configs/accelerate/ddp.yaml"
            )
        if config.lora.rank:
            add_adapters(unet, config.lora, seed=config.seed)
        else:
            unet.requires_grad_(True)
        if config.speed.gradient_checkpointing:
            unet.enable_gradient_checkpointing()  # pyright: ignore[reportCallIssue]
        text_encoder = None
        if config.text_encoder == "trained":
            text_encoder = self.model.text_encoder.to(self.device).requires_grad_(True)
        network = Network(unet, text_encoder)
        trained = [p for p in network.parameters() if p.requires_grad]
        wrapped, optimizer = self.accelerator.prepare(network, make_optimizer(config.optimizer, trained))
        wrapped.train()
        own = self.accelerator.unwrap_model(wrapped)
        parameters = {name: p for name, p in own.named_parameters() if p.requires_grad}
        run = Run(
            parameters,
            Average(parameters, decay=config.ema.decay),
            getattr(optimizer, "optimizer", optimizer),
            torch.amp.GradScaler(self.device.type, enabled=config.speed.precision == "float16"),
        )
        if found := state.saved(self.out):
            state.restore(run, found[-1])
        return wrapped, run

    def run(self, minutes: float, only: Literal["prepare", "export"] | None) -> Trained:
        """Make the steps that are left."""
        config, run = self.config, self.state
        if only == "export":
            if not run.step:
                raise DataError(f"{self.out} has no state to export yet")
            return Trained(run.step, run.step >= config.steps, len(self.batches.keys), editor=self._export())
        log = Log(self.out, step=run.step, tensorboard=config.save.tensorboard) if self.main else None
        end = time.monotonic() + 60 * minutes
        recent: list[dict[str, float]] = []
        last = None
        reads = self.batches.ahead(self._plan(run.step), config.speed.workers)
        try:
            with _stop_signals() as stopped:
                while run.step < config.steps and not self._agree(stopped.is_set() or time.monotonic() > end):
                    recent.append(self._step(reads))
                    if run.step % config.save.log_every == 0 or run.step == config.steps:
                        last = self._log(log, recent)
                        recent = []
                    if run.step % config.save.every == 0:
                        state.save(run, self.out, main=self.main)
                    if config.samples.every and run.step % config.samples.every == 0:
                        self._sample()
                    if self.progress is not None and self.main:
                        self.progress("Training", run.step, config.steps)
                state.save(run, self.out, main=self.main)
        finally:
            reads.close()
            if log is not None:
                log.close()
        if recent:
            last = sum(one["loss"] for one in recent) / len(recent)
        finished = run.step >= config.steps
        editor = self._export() if finished else None
        return Trained(run.step, finished, len(self.batches.keys), last, editor)

    def _plan(self, start: int) -> Iterator[tuple[int, range]]:
        """Yield the micro-batches of this process: step, and positions in the whole batch."""
        share = self.config.batch.size // self.accelerator.num_processes
        first = self.accelerator.process_index * share
        for step in range(start, self.config.steps):
            for place in range(first, first + share, self.micro):
                yield step, range(place, place + self.micro)

    def _step(self, reads: Iterator[Any]) -> dict[str, float]:
        """Make one optimizer step and return its numbers."""
        config, run = self.config, self.state
        count = config.batch.size // self.accelerator.num_processes // self.micro
        seen: list[Tensor] = []
        for number in range(count):
            batch = self.batches.make(next(reads), self.device)
            last = number == count - 1
            with nullcontext() if last else self.accelerator.no_sync(self.network):
                each = self._losses(batch, number)
                # A process's gradients are averaged over processes, so each divides by its own share.
                run.scaler.scale(each.sum() / (count * self.micro)).backward()
            seen.append(each.detach())
        # Nothing of the state has changed yet: if one of these stops the training, it can be saved as it is.
        value = self._check_loss(torch.cat(seen))
        run.scaler.unscale_(run.optimizer)
        norm = self._clip()
        if config.ema.per == "batch":
            for _ in range(count - 1):  # over the same weights, whenever it is done
                run.average.update(run.parameters)
        rate = rate_at(config.optimizer, run.step, config.steps)
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        run.scaler.step(run.optimizer)
        run.scaler.update()
        run.optimizer.zero_grad(set_to_none=True)
        run.average.update(run.parameters)
        run.step += 1
        return {"loss": value, "gradient": norm, "rate": rate}

    def _losses(self, batch: Batch, number: int) -> Tensor:
        """Return the loss of every pair, (n,) float32."""
        signal = self.signal[batch.timesteps]
        noisy = objective.noisy(batch.clean, batch.noise, signal)
        wanted = objective.target(self.kind, batch.clean, batch.noise, signal)
        precision = getattr(torch, self.config.speed.precision)
        cast = torch.autocast(self.device.type, precision, enabled=precision != torch.float32)
        devices = [self.device] if self.device.type == "cuda" else []
        # A network with dropout draws from the global generator: seeded here, and put back.
        with torch.random.fork_rng(devices), cast:
            torch.manual_seed(
                hash_seed(self.config.seed, self.state.step, number, self.accelerator.process_index)
            )
            prediction = self.network(noisy, batch.condition, batch.timesteps, batch.text)
        return objective.per_sample(prediction, wanted, self.weights[batch.timesteps])

    def _check_loss(self, mine: Tensor) -> float:
        """Return the mean loss over all processes; stop at one that is not finite."""
        every = self.accelerator.gather(mine)
        value = every.mean().item()
        if math.isfinite(value):
            return value
        bad = torch.nonzero(~torch.isfinite(every)).flatten().tolist()
        rows, _ = self.batches.drawn(self.state.step, range(self.config.batch.size))
        keys = [self.batches.keys[rows[position]] for position in bad]
        raise self._not_finite("loss", f"for {_listed(keys)}")

    def _clip(self) -> float:
        """Return the norm of the gradient before it is clipped."""
        limit = self.config.optimizer.clip
        parameters = list(self.state.parameters.values())
        norm = torch.nn.utils.clip_grad_norm_(parameters, math.inf if limit is None else limit)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # pyright: ignore
        value = norm.item()
        # In float16 the scaler skips such a step and tries a smaller scale.
        if not math.isfinite(value) and not self.state.scaler.is_enabled():
            rows, _ = self.batches.drawn(self.state.step, range(self.config.batch.size))
            keys = [self.batches.keys[row] for row in rows]
            raise self._not_finite("gradient", f"with {_listed(keys)}")
        return value

    def _not_finite(self, what: str, pairs: str) -> TrainingError:
        """Save the state before the step that failed, if it is good, and return what to say."""
        run, config = self.state, self.config
        tensors = [*run.parameters.values(), *run.average.values.values()]
        mine = [value.to_local() if hasattr(value, "to_local") else value for value in tensors]  # pyright: ignore
        good = not self._agree(not all(bool(value.isfinite().all()) for value in mine))
        if good and run.step:
            state.save(run, self.out, main=self.main)
        found = state.saved(self.out)
        kept = (
            f"the last {'good ' if good else ''}state is {found[-1]}"
            if found
            else "no state has been saved yet"
        )
        spoilt = "" if good else "the weights are not finite any more, "
        steadier = {"float16": "bfloat16", "bfloat16": "float32"}.get(config.speed.precision)
        changes = [("speed.precision", steadier)] if steadier else []
        ways, commands = _changing([*changes, ("optimizer.rate", config.optimizer.rate / 2)])
        told = (
            f"the {what} of step {run.step + 1} is not finite, {pairs}: {spoilt}{kept}; look at these pairs, "
        )
        back = f"; remove {found[-1].name} to go back further" if found else ""
        return TrainingError(
            f"{told}{', or '.join(ways)}{back}", command=f"{told}{', or '.join(commands)}{back}"
        )

    def _agree(self, stop: bool) -> bool:
        """Return whether any process wants to stop, so that all do at the same step."""
        if self.accelerator.num_processes == 1:
            return stop
        return bool(self.accelerator.gather(torch.tensor([int(stop)], device=self.device)).any())

    def _log(self, log: Log | None, recent: list[dict[str, float]]) -> float:
        means = {name: sum(one[name] for one in recent) / len(recent) for name in recent[0]}
        if log is not None:
            log.write(self.state.step, means)
        return means["loss"]

    def _editor(self, *, average: bool) -> Model | None:
        """Return the editor with copies of the averaged or raw weights; only the first process gets one."""
        chosen = self.state.average.values if average else self.state.parameters
        values = {name: state.whole(value) for name, value in chosen.items()}
        if not self.main:
            return None
        own = self.accelerator.unwrap_model(self.network)
        return editor_with(replace(self.model, unet=own.unet), values, adapters=bool(self.config.lora.rank))

    def _sample(self) -> None:
        editor = self._editor(average=True)
        if editor is not None:
            write_sheet(
                self.batches,
                editor,
                self.out,
                step=self.state.step,
                device=self.device,
                sampler=self.sampler,
            )

    def _export(self) -> Path | None:
        editor = self._editor(average=self.config.export.weights == "average")
        if editor is None:
            return None
        record = {
            "wordbrush": __version__,
            "step": self.state.step,
            "pairs": len(self.batches.keys),
            "prediction": self.kind,
            "config": self.config.model_dump(mode="json"),
            "changes": json.loads((self.out / RECORD).read_text(encoding="utf-8"))["changes"],
        }
        return export(self.config, editor, self.out, record=record)


def make_optimizer(section: Optimizer, parameters: list[Any]) -> torch.optim.Optimizer:
    """Return the optimizer. Raises ``InvalidInput`` if it needs a package that is not installed."""
    settings: dict[str, Any] = {
        "lr": section.rate,
        "betas": section.betas,
        "eps": section.epsilon,
        "weight_decay": section.weight_decay,
    }
    if section.name == "adamw":
        return torch.optim.AdamW(parameters, **settings)
    try:
        from bitsandbytes.optim import AdamW8bit  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InvalidInput(
            "optimizer.name = 'adamw8bit' needs the package bitsandbytes: pip install bitsandbytes, or set 'adamw'"
        ) from error
    return AdamW8bit(parameters, **settings)


def rate_at(section: Optimizer, step: int, steps: int) -> float:
    """Return the learning rate of a step, from 0: it rises, stays, and falls over the last ``decay`` steps."""
    rising = min(1.0, (step + 1) / section.warmup) if section.warmup else 1.0
    falling = min(1.0, (steps - step) / section.decay) if section.decay else 1.0
    return section.rate * rising * falling


def _listed(keys: list[str]) -> str:
    shown = ", ".join(dict.fromkeys(map(repr, keys[:8])))
    return f"the pairs {shown}" + (f" and {len(keys) - 8} more" if len(keys) > 8 else "")


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C or request to terminate into an event; a second one interrupts at once."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before: dict[int, Any] = {}

    def stop(number: int, frame: Any) -> None:
        stopped.set()
        signal.signal(number, before[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, stop)
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_full(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out."""
    told = ("out of memory", "can't allocate memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(one in str(error) for one in told)


@contextmanager
def _enough_memory_for_caches(config: Config, model: Model, device: torch.device) -> Iterator[None]:
    """Say what to change where memory runs out before the first step."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not _is_full(error):
            raise
        ways = ["free some of it"]
        if config.cache.latents:
            side = config.data.size or model.image_size[0]
            ways.append(
                f"lower data.size (now {side}; cache.latents = true encodes both pictures of a pair at once)"
            )
        if config.cache.text:
            ways.append("set cache.text = false")
        first = "make the caches on the CPU first, by"
        on_cpu = device.type == "cpu"
        python = [] if on_cpu else [f"{first} device='cpu' and only='prepare'"]
        command = [] if on_cpu else [f"{first} --device cpu --prepare"]
        told = "the memory is full while the caches are made: "
        raise TrainingError(
            told + ", or ".join([*ways, *python]), command=told + ", or ".join([*ways, *command])
        ) from error


@contextmanager
def _enough_memory(config: Config, micro: int) -> Iterator[None]:
    """Say what to lower where memory runs out."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not _is_full(error):
            raise
        plain: list[str] = []  # what can be set at once
        changing: list[tuple[str, Any]] = []  # what is asked for by name once there is a state
        if micro > 1:
            told = f"lower batch.micro (now {micro}; the result stays the same up to rounding)"
            plain += [told] if config.ema.per == "step" else []
            changing += [] if config.ema.per == "step" else [("batch.micro", micro // 2)]
        if not config.speed.gradient_checkpointing:
            plain.append("set speed.gradient_checkpointing = true (the same result)")
        if config.speed.precision == "float32":
            changing.append(("speed.precision", "bfloat16"))
        begin = ["optimizer.name = 'adamw8bit'"] if config.optimizer.name == "adamw" else []
        begin += [] if config.lora.rank else ["adapters, lora.rank = 16"]
        last = f"or begin again in another output with {', '.join([*begin, 'a lower data.size'])}"
        ways, commands = _changing(changing)
        told = "the memory is full; the last state is kept: "
        raise TrainingError(
            told + ", ".join([*plain, *ways, last]), command=told + ", ".join([*plain, *commands, last])
        ) from error
