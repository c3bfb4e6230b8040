"""The log of a training: a line of JSON from time to time, and TensorBoard if wanted."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from wordbrush.files import append_json, cannot_write, write_files
from wordbrush.optional import optional

NAME = "log.jsonl"


class Log:
    """Writes lines after ``step``; what a stopped run had written beyond it is taken back.

    Raises:
        InvalidInput: TensorBoard is wanted and not installed.
    """

    def __init__(self, out: Path, *, step: int, tensorboard: bool) -> None:
        self.path = out / NAME
        self._take_back(step)
        self._board = _open_board(out / "tensorboard", step) if tensorboard else None

    def _take_back(self, step: int) -> None:
        if not self.path.exists():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):  # a kill may have cut the last line
                if json.loads(line)["step"] <= step:
                    kept.append(line)
        write_files({self.path: "".join(f"{line}\n" for line in kept).encode()})

    def write(self, step: int, numbers: dict[str, float]) -> None:
        """Write a line. Raises ``CannotWrite`` if the disk refuses."""
        append_json(self.path, [{"step": step, **numbers}])
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Finish the files."""
        if self._board is not None:
            self._board.close()


def _open_board(folder: Path, step: int) -> Any:
    optional("tensorboard", extra="training", why="save.tensorboard", instead="set it to false")
    from torch.utils.tensorboard.writer import SummaryWriter

    try:
        return SummaryWriter(str(folder), purge_step=step + 1)
    except OSError as error:
        raise cannot_write(folder, error) from error
