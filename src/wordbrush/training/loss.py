"""Noise, targets and weights of the loss, for both parametrisations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from wordbrush.errors import InvalidInput, ModelError

if TYPE_CHECKING:
    from wordbrush.training.config import Weighting

Prediction = Literal["epsilon", "v_prediction"]


def prediction_of(scheduler: Any) -> Prediction:
    """Return what a network predicts, by its scheduler.

    Raises:
        ModelError: neither the noise nor v.
    """
    kind = scheduler.config.prediction_type
    if kind not in ("epsilon", "v_prediction"):
        raise ModelError(f"the model predicts {kind!r}; training knows 'epsilon' and 'v_prediction'")
    return kind


def _split(signal: Tensor) -> tuple[Tensor, Tensor]:
    return signal.sqrt().view(-1, 1, 1, 1), (1 - signal).sqrt().view(-1, 1, 1, 1)


def noisy(clean: Tensor, noise: Tensor, signal: Tensor) -> Tensor:
    """Return √a·x + √(1-a)·e for (n, C, h, w) latents and (n,) signal powers a (``alphas_cumprod``)."""
    alpha, sigma = _split(signal)
    return alpha * clean + sigma * noise


def target(kind: Prediction, clean: Tensor, noise: Tensor, signal: Tensor) -> Tensor:
    """Return what the network should say: e, or v = √a·e - √(1-a)·x (arXiv:2202.00512), (n, C, h, w)."""
    if kind == "epsilon":
        return noise
    alpha, sigma = _split(signal)
    return alpha * noise - sigma * clean


def per_sample(prediction: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean squared error of every sample, (n,)."""
    return weights * (prediction.float() - wanted.float()).square().flatten(1).mean(1)


def weights(weighting: Weighting, kind: Prediction, signal: Tensor, *, gamma: float) -> Tensor:
    """Return the weight of every timestep, (T,).

    ``min_snr`` (arXiv:2303.09556) weights the error of the denoised picture by min(SNR, γ), which is min(SNR, γ)/SNR
    on the noise and min(SNR, γ)/(SNR + 1) on v. ``min_snr_terminal`` is (min(SNR, γ) + 1)/(SNR + 1) on v: 1 instead
    of 0 where there is no signal at all, and (γ + 1)/γ times ``min_snr`` wherever the SNR is at least γ.

    Args:
        signal: (T,) signal powers.

    Raises:
        InvalidInput: a weighting that does not go with the model.
    """
    if weighting == "none":
        return torch.ones_like(signal)
    ratio = signal / (1 - signal)
    least = ratio.clamp(max=gamma)
    if weighting == "min_snr_terminal":
        if kind == "epsilon":
            raise InvalidInput(
                "the weighting min_snr_terminal is for v-prediction; this model predicts the noise: use min_snr"
            )
        return (least + 1) / (ratio + 1)
    if kind == "epsilon":
        return torch.where(ratio > 0, least / ratio.clamp(min=torch.finfo(ratio.dtype).tiny), 1.0)
    if ratio.min() < 1e-6:
        raise InvalidInput(
            "the weighting min_snr never trains the last timestep of this model, which has no signal (zero terminal "
            "SNR): use min_snr_terminal"
        )
    return least / (ratio + 1)
