"""Parts of a model that take turns on a device: each is there from when it runs until another one does.

The others wait in main memory, so the device needs room for the largest part instead of for all. diffusers' pipelines
call it ``enable_model_cpu_offload``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from accelerate.utils import send_to_device
from torch import nn

from wordbrush.errors import InvalidInput

WAITING = torch.device("cpu")


def check_offload(device: torch.device) -> None:
    """Raise ``InvalidInput`` for a device from which nothing can be taken to main memory."""
    if device.type == WAITING.type:
        raise InvalidInput(
            "offload lets parts wait in main memory, where the device 'cpu' computes already: leave offload out, "
            "or choose a device such as 'cuda'",
            command="--offload lets parts wait in main memory, where --device cpu computes already: leave it out, "
            "or choose a device such as cuda",
        )


def take_turns(parts: Iterable[nn.Module], device: torch.device) -> None:
    """Let modules run on ``device`` one at a time; what they are called with is brought there, too."""
    turns = _Turns(device)
    for part in parts:
        part.to(WAITING)
        add_hook_to_module(part, _Turn(turns))


class _Turns:
    """Which of some modules is on the device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._present: nn.Module | None = None

    def admit(self, module: nn.Module) -> None:
        """Bring a module to the device, and the one that is there back."""
        if module is self._present:
            return
        if self._present is not None:
            self._leave(self._present)
        try:
            module.to(self.device)
        except BaseException:  # memory may run out on the way
            self._leave(module)
            raise
        self._present = module

    def _leave(self, module: nn.Module) -> None:
        module.to(WAITING)
        self._present = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


class _Turn(ModelHook):
    """What accelerate calls before a module runs, and diffusers before an autoencoder encodes or decodes."""

    def __init__(self, turns: _Turns) -> None:
        super().__init__()
        self._turns = turns

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Let it be its turn."""
        self._turns.admit(module)
        return send_to_device(args, self._turns.device), send_to_device(kwargs, self._turns.device)
