"""The state that a stopped run goes on from: safetensors and JSON, complete under its name or not there.

    states/step-00001000/
        weights.safetensors     what is trained
        average.safetensors     its moving average
        optimizer.safetensors   the optimizer's tensors, as KIND/NAME
        state.json              the step, and numbers

Weights that several processes share out (FSDP) are gathered, so that a state does not depend on their number.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wordbrush.errors import DataError
from wordbrush.files import CannotWrite, new_folder
from wordbrush.training.ema import Average

STATES = "states"
KEPT = 2
FULL = ("No space left", "os error 28", "File too large", "os error 27", "quota", "os error 122")
"""How safetensors says that nothing more goes onto the disk."""


@dataclass
class Run:
    """What changes while training.

    Args:
        parameters: what is trained, by name.
        average: its moving average.
        optimizer: over ``parameters``.
        scaler: of the loss in float16.
        step: optimizer steps done.
        saved: the step of the last state; None if there is none.
    """

    parameters: Mapping[str, Tensor]
    average: Average
    optimizer: Any
    scaler: torch.amp.GradScaler
    step: int = 0
    saved: int | None = None


def saved(out: Path) -> list[Path]:
    """Return the states of a run, the oldest first."""
    return sorted((out / STATES).glob("step-*"))


def step_of(folder: Path) -> int:
    """Return the step of a state."""
    return int(folder.name.removeprefix("step-"))


def save(run: Run, out: Path, *, main: bool = True) -> None:
    """Write the state and remove all but the last two. All processes call it, and the ``main`` one writes.

    Raises:
        CannotWrite: the disk refuses; the states before are kept, and nothing half-written stays.
    """
    if run.step == run.saved:
        return
    tensors, numbers = _collect(run)
    run.saved = run.step
    if not main:
        return
    folder = out / STATES / f"step-{run.step:08d}"
    try:
        with new_folder(folder) as fresh:
            for name, part in tensors.items():
                _write(part, fresh / f"{name}.safetensors")
            text = json.dumps({"step": run.step, **numbers}, indent=1)
            (fresh / "state.json").write_text(text, encoding="utf-8")
    except Exception as error:
        reason = str(error)
        if "SafetensorError" in type(error).__name__:
            told = "the disk is full" if any(sign in reason for sign in FULL) else reason
            raise CannotWrite(f"cannot write {folder}: {told}") from error
        raise
    for old in saved(out)[:-KEPT]:
        # Renamed first: a folder that is half removed must not look like a state.
        gone = old.with_name(f".{old.name}.{uuid.uuid4().hex}.partial")
        with suppress(OSError):
            old.rename(gone)
            shutil.rmtree(gone)


def _write(tensors: Mapping[str, Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    save_file(dict(tensors), path)


def _collect(run: Run) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Return all tensors on the CPU by file, and all numbers."""
    tensors: dict[str, dict[str, Tensor]] = {"weights": {}, "average": {}, "optimizer": {}}
    kept: dict[str, dict[str, float]] = {}
    for name, parameter in run.parameters.items():
        tensors["weights"][name] = whole(parameter)
        tensors["average"][name] = whole(run.average.values[name])
        for kind, value in run.optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors["optimizer"][f"{kind}/{name}"] = whole(value)
            elif isinstance(value, int | float):
                kept.setdefault(name, {})[kind] = value
    numbers = {"updates": run.average.updates, "scaler": run.scaler.state_dict(), "optimizer": kept}
    return tensors, numbers


def whole(value: Tensor) -> Tensor:
    """Return a tensor's values on the CPU, gathered from all processes if they share it out."""
    value = value.detach()
    if hasattr(value, "full_tensor"):
        value = value.full_tensor()  # pyright: ignore[reportAttributeAccessIssue]
    return value.cpu().contiguous().clone()


def _like(value: Tensor, model: Tensor) -> Tensor:
    """Return a whole tensor where ``model`` is, and shared out as it is."""
    placed = value.to(model.device)
    if hasattr(model, "full_tensor") and value.ndim:
        from torch.distributed.tensor import distribute_tensor

        return distribute_tensor(placed, model.device_mesh, model.placements)  # pyright: ignore
    return placed


def restore(run: Run, folder: Path) -> None:
    """Put a saved state in place.

    Raises:
        DataError: it is damaged, or of other weights.
    """
    try:
        numbers = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        weights = _read(folder / "weights.safetensors")
        average = _read(folder / "average.safetensors")
        moments = _optimizer_states(_read(folder / "optimizer.safetensors"), numbers["optimizer"])
        if set(weights) != set(run.parameters) or set(average) != set(run.parameters):
            raise DataError(
                f"{folder} is of other weights than those that are trained now: choose another output"
            )
        with torch.no_grad():
            for name, parameter in run.parameters.items():
                parameter.copy_(_like(weights[name], parameter))
                run.average.values[name] = _like(average[name], parameter)
                run.optimizer.state[parameter] = {
                    kind: _optimizer_place(kind, value, parameter)
                    for kind, value in moments.get(name, {}).items()
                }
        if numbers["scaler"]:  # empty of a run that had none, from which one in float16 goes on
            run.scaler.load_state_dict(numbers["scaler"])
        run.average.updates = numbers["updates"]
        run.step = run.saved = numbers["step"]
    except DataError:
        raise
    except Exception as error:  # safetensors, json and torch share no base class
        raise DataError(
            f"the state {folder} cannot be read: {str(error).splitlines()[0]}; delete it to go on from the one before"
        ) from error


def _optimizer_states(
    tensors: Mapping[str, Tensor], numbers: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, Any]]:
    """Return the optimizer's state by parameter."""
    found: dict[str, dict[str, Any]] = {name: dict(values) for name, values in numbers.items()}
    for key, value in tensors.items():
        kind, _, name = key.partition("/")
        found.setdefault(name, {})[kind] = value
    return found


def _optimizer_place(kind: str, value: Any, parameter: Tensor) -> Any:
    """Return a value where the optimizer wants it: AdamW counts its steps on the CPU."""
    if not isinstance(value, Tensor) or kind == "step":
        return value
    return _like(value, parameter) if value.shape == parameter.shape else value.to(parameter.device)


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


def remove_leftovers(out: Path) -> None:
    """Remove what a killed run left half-written or half-removed."""
    for place in (out, out / STATES):
        for left in place.glob(".*.partial"):
            shutil.rmtree(left, ignore_errors=True)
        for lock in place.glob(".*.partial.lock"):
            lock.unlink(missing_ok=True)
