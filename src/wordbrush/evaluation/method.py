"""What a method is: a name, settings, and one verb."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from PIL.Image import Image

    from wordbrush.evaluation.example import Example


@dataclass(frozen=True, eq=False)
class Edited:
    """What a method made.

    Args:
        images: one for every example and of the size of its picture.
        forward_samples: the rows of all calls of the denoising network.
    """

    images: list[Image]
    forward_samples: int


class Method(Protocol):
    """A way to edit a picture, with all its settings: one point of a curve."""

    @property
    def name(self) -> str:
        """What it is called by."""
        ...

    @property
    def along(self) -> str:
        """The setting that varies along its curve; empty for methods that are a single point."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that its pictures depend on beside example and seed, as JSON values."""
        ...

    def edit(self, examples: Sequence[Example], seeds: Sequence[int]) -> Edited:
        """Edit the pictures of examples, each with the seed of its own.

        Raises:
            InvalidInput: an example that the method cannot edit.
            DataError: the data set lacks what the method needs.
            ModelError: the model cannot be used, or memory ran out.
        """
        ...
