"""The run behind an instruction editor: pictures and instructions encoded once, three branches, two scales."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from wordbrush.backbones.base import Backbone
from wordbrush.backbones.seam import remembering_text
from wordbrush.edits.prompt import Prompt
from wordbrush.errors import ModelError
from wordbrush.guidance import Intermittent, TextImage
from wordbrush.sampling import Progress, Watch, sample


@torch.no_grad()
def denoise(
    backbone: Backbone,
    scheduler: Any,
    noise: Tensor,
    *,
    pictures: Tensor,
    instructions: Sequence[Prompt],
    negatives: Sequence[Prompt],
    guidance: TextImage,
    asking: Collection[int],
    reuse: bool = True,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Tensor:
    """Return the edited latents, (n, C, h, w), scaled as the autoencoder's are for the network.

    Args:
        backbone: one that sees a picture (``backbones.instruct``).
        scheduler: with its timesteps set; used up by the run.
        noise: (n, C, h, w) of variance 1.
        pictures: (n, C, h, w), as ``Model.condition`` encodes them.
        instructions, negatives: one for each picture; the second are those of the branches without instruction.
        asking: the steps that ask all three branches.
        reuse: whether the other steps add what guidance added last.
        progress: called with (steps done, steps in all).
        watch: called before it with the (n, C, h, w) latents that the run is heading for.
    """
    samples = len(noise)
    encoded = backbone.encode([*instructions, *negatives])
    both = {**{name: rows[:samples] for name, rows in encoded.items()}, "image": pictures}
    every = {name: torch.cat([rows, rows[samples:]]) for name, rows in encoded.items()}
    every["image"] = torch.cat([pictures, pictures, torch.zeros_like(pictures)])
    with remembering_text(backbone):
        return sample(
            backbone,
            scheduler,
            noise,
            text=lambda step: every if step in asking else both,
            guidance=Intermittent(guidance, asking, reuse),
            progress=progress,
            watch=watch,
        )


def chunks(sizes: Sequence[tuple[int, int]], most: int) -> list[list[int]]:
    """Return the numbers of pictures to be run together: of one size, at most so many, in order."""
    alike: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, size in enumerate(sizes):
        alike[size].append(number)
    return [same[start : start + most] for same in alike.values() for start in range(0, len(same), most)]


def part_of(progress: Progress | None, part: int, parts: int) -> Progress | None:
    """Return what one of several equally long runs reports to, so that ``progress`` sees them as one."""
    if progress is None:
        return None
    return lambda step, steps: progress(part * steps + step, parts * steps)


@contextmanager
def telling_of_memory(pictures: int, size: tuple[int, int]) -> Iterator[None]:
    """Turn what torch raises when memory runs out into a ``ModelError`` that says what to lower."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if type(error) is RuntimeError and "allocate memory" not in str(error):
            raise
        fewer = "edit fewer pictures at once with batch=, " if pictures > 1 else ""
        raise ModelError(
            f"memory ran out over {pictures} picture{'s' if pictures > 1 else ''} of {size[0]} × {size[1]} pixels: "
            f"{fewer}choose a smaller size, or load the model with dtype='bfloat16'"
        ) from error
