"""Where an inverted picture starts from when it is edited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Start:
    """The noise that a picture comes from under a prompt and fixed settings; ``wordbrush.edit`` takes it as source.

    Args:
        prompt: what the picture shows; the words to be edited must be in it.
        latents: (1, C, h, w), the inverted latent.
        steps: of the scheduler it was inverted with.
        guidance: the scale it is to be denoised with.
        scheduler: a name or an instance.
        negative: embeddings of the unconditional branch for every step, (1, tokens, channels) each, or None for the
            empty prompt.
    """

    prompt: str
    latents: Tensor
    steps: int
    guidance: float
    scheduler: object
    negative: Sequence[Tensor] | None = None
