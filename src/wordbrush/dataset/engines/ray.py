"""Units made by a pool of Ray actors, on this machine or a cluster whose machines share the output folder."""

from __future__ import annotations

import logging
import os
import pickle
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wordbrush.dataset.shards import Shard
from wordbrush.dataset.stage import UnitTask
from wordbrush.errors import DataError, InvalidInput, WordbrushError
from wordbrush.files import cannot_write
from wordbrush.optional import optional

ATTEMPTS = 4
"""How many workers may die over one unit before it is given up."""

SETTINGS = {
    "enable_progress_bars": False,
    "print_on_execution_start": False,
    "execution_no_progress_timeout_s": -1,  # one unit may well take more than the default half hour
}
"""Of Ray Data's ``DataContext``; a version of Ray that does not know one of them needs none."""

HIDDEN = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
"""Environment variables by which torch sees GPUs."""

ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
"""Of the Ray that is started here: it tells nobody about itself, the terminal included."""


@dataclass(frozen=True)
class RayEngine:
    """A pool of actors, each of which loads the models once, and writes the files of its units itself.

    A unit whose actor dies is given to another one. Ray is started on this machine when it is first needed, and stays
    until the process ends; a Ray that the caller has initialised is used as it is.

    Args:
        workers: number of actors.
        address: of a running cluster, as ``ray.init`` takes it; None starts Ray on this machine.
        cpus: cores that Ray reserves for an actor; None for as many as ``threads``.
        gpus: GPUs that Ray reserves for an actor of a stage that computes on them; with 0, actors see none.
        threads: of torch in an actor; with the local engine's number the bytes are the local engine's.

    Raises:
        InvalidInput: a number out of range.
        DataError: when it runs: Ray is not installed, no cluster answers, the cluster has less than one actor needs, or
            workers die over the same unit.
    """

    workers: int
    address: str | None = None
    cpus: float | None = None
    gpus: float = 0
    threads: int = 1

    def __post_init__(self) -> None:
        if self.workers < 1 or self.threads < 1:
            raise InvalidInput(
                f"the Ray engine needs at least 1 worker with 1 thread, not {self.workers} with {self.threads}"
            )
        if self.cores < 0 or self.gpus < 0:
            raise InvalidInput(f"a worker cannot have {self.cpus} cores and {self.gpus} GPUs")

    @property
    def cores(self) -> float:
        """Cores that Ray reserves for an actor."""
        return self.threads if self.cpus is None else self.cpus

    def device(self) -> str:
        """Return the kind of device that actors find."""
        return "cuda" if self.gpus else "cpu"

    def run(self, task: UnitTask, units: Sequence[int]) -> Iterator[Shard]:
        """Make every unit, in the order in which actors finish; errors are those that the worker raised."""
        ray = self._connect()
        # What computes nothing, or on the CPU, would only keep others from the GPUs.
        gpus = self.gpus if task.manifest.computed.get("device", "cpu") != "cpu" else 0
        _check_room(self.cores, gpus, ray.cluster_resources())
        from ray.data import ActorPoolStrategy, from_items

        data = from_items([{"unit": unit} for unit in units], override_num_blocks=len(units)).map(
            _Actor,  # pyright: ignore[reportArgumentType]
            # Ray's pickle carries what a script or notebook defines along, where the standard one only names it.
            fn_constructor_args=(
                ray.cloudpickle.dumps(task),
                self.threads,
                sys.path,
                os.getcwd(),
                bool(gpus),
            ),
            compute=ActorPoolStrategy(size=min(self.workers, len(units)), max_tasks_in_flight_per_actor=1),
            num_cpus=self.cores,
            num_gpus=gpus or None,
        )
        for name, value in SETTINGS.items():
            if hasattr(data.context, name):
                setattr(data.context, name, value)
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what goes wrong is raised
        try:
            for row in data.iter_rows():
                yield _unpack(row["result"])
        except ray.exceptions.RayError as error:
            raise DataError(
                f"Ray gave up {task.stage.name}: {_first_line(error)}; the same command goes on with what is missing"
            ) from error

    def _connect(self) -> Any:
        ray = optional("ray", extra="ray", why="the engine 'ray'")
        if ray.is_initialized():
            return ray
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self.address is None:
            for name, value in ENVIRONMENT.items():
                os.environ.setdefault(name, value)
            cores = max(os.cpu_count() or 1, round(self.workers * self.cores + 0.5))
            with _silent_stderr():
                ray.init(
                    address="local",
                    num_cpus=cores,
                    include_dashboard=False,
                    _node_ip_address="127.0.0.1",
                    **quiet,
                )
            return ray
        try:
            ray.init(address=self.address, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise DataError(f"no Ray cluster answers at {self.address}: {_first_line(error)}") from error
        return ray


def _check_room(cores: float, gpus: float, cluster: Mapping[str, float]) -> None:
    """Raise now if one actor needs more than there is: Ray would wait for it forever, and say nothing."""
    for wanted, name, thing in ((cores, "CPU", "cores"), (gpus, "GPU", "GPUs")):
        if wanted > cluster.get(name, 0):
            raise DataError(
                f"a worker needs {wanted:g} {thing}, and the Ray cluster has {cluster.get(name, 0):g} in all: ask for "
                "fewer, or start Ray where there are more"
            )


class _Actor:
    """Makes units in a process of its own. Errors travel as values: Ray would wrap them and print them.

    Args:
        task: pickled, so that what cannot be read here is an error like others.
        threads: of torch.
        path, folder: where the caller finds modules and files.
        gpus: whether it has any.
    """

    def __init__(self, task: bytes, threads: int, path: list[str], folder: str, gpus: bool) -> None:
        self.pickled, self.threads, self.path, self.folder, self.gpus = task, threads, path, folder, gpus
        self.task: UnitTask | None = None
        self.make: Callable[[int], Shard] | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, bytes]:
        try:
            return {"result": pickle.dumps(self._make(int(row["unit"])))}
        except Exception as error:
            return {"result": pickle.dumps(_portable(error))}

    def _make(self, unit: int) -> Shard:
        task = self.task = self.task or self._read()
        attempts = _count_attempt(task, unit)
        self.make = self.make or task.open(self.threads)
        made = self.make(unit)
        attempts.unlink(missing_ok=True)
        return made

    def _read(self) -> UnitTask:
        sys.path += [place for place in self.path if place not in sys.path]
        os.chdir(self.folder)
        if not self.gpus:  # Ray leaves those of the machine in sight
            os.environ.update(dict.fromkeys(HIDDEN, ""))
        return pickle.loads(self.pickled)


def _count_attempt(task: UnitTask, unit: int) -> Path:
    """Write down that a worker begins with a unit; if it dies the file stays, and a later run removes it.

    Raises:
        DataError: too many workers have died over this unit.
    """
    path = task.folder / f".{unit:05d}.attempts.tmp"
    try:
        with path.open("ab") as file:
            file.write(b"x")
        attempts = path.stat().st_size
    except OSError as error:
        raise cannot_write(path, error) from error
    if attempts > ATTEMPTS:
        raise DataError(
            f"unit {unit} of {task.stage.name} has killed {ATTEMPTS} workers, perhaps for want of memory: "
            "try fewer workers"
        )
    return path


def _portable(error: Exception) -> Exception:
    """Return the error as the caller can raise it; an unexpected one brings its traceback along."""
    if not isinstance(error, WordbrushError):
        error.add_note("in a Ray worker:\n" + traceback.format_exc())
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever a foreign exception does when it is pickled
        return DataError(f"a worker stopped with {type(error).__name__}: {error}")
    return error


def _unpack(result: bytes) -> Shard:
    made = pickle.loads(result)
    if isinstance(made, Exception):
        raise made
    return made


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Send what this process and those that it starts write to stderr nowhere; Ray's own log files stay."""
    sys.stderr.flush()
    before, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
