"""Timesteps of models that were trained on straight paths from noise to picture (rectified flow)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from wordbrush.errors import InvalidInput


def set_flow_timesteps(
    scheduler: Any, steps: int, pixels: int, device: torch.device | None, *, even: bool = False
) -> None:
    """Set the timesteps of a flow scheduler; larger pictures are shifted towards noise where it says so.

    Args:
        pixels: attention pixels of the picture, on which the shift depends (arXiv:2403.03206, section 5.3.2).
        even: pass noise levels from 1 to 1/steps at even distances, as FLUX.1 was trained to be sampled, instead of
            the scheduler's own.

    Raises:
        InvalidInput: one step, which a schedule that is stretched to end above 0 cannot make.
    """
    if steps == 1 and scheduler.config.get("shift_terminal"):
        raise InvalidInput(
            "the scheduler of this model cannot make 1 step: its shift_terminal needs 2 at least"
        )
    settings: dict[str, Any] = {}
    if even and type(scheduler).__name__.startswith("FlowMatch"):
        settings["sigmas"] = np.linspace(1.0, 1 / steps, steps)
    if scheduler.config.get("use_dynamic_shifting"):
        settings["mu"] = resolution_shift(pixels, scheduler.config)
    scheduler.set_timesteps(steps, device=device, **settings)


def resolution_shift(pixels: int, config: Any) -> float:
    """Return the shift mu for a picture of so many attention pixels: linear between the two that the config gives."""
    smallest, largest = config["base_image_seq_len"], config["max_image_seq_len"]
    slope = (config["max_shift"] - config["base_shift"]) / (largest - smallest)
    return config["base_shift"] + slope * (pixels - smallest)
