"""What a data set is: a name, and examples in an order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from wordbrush.evaluation.example import Example


@dataclass(frozen=True)
class Data:
    """Examples to be read one at a time.

    Args:
        name: what results are kept under: the same name, the same examples.
        read: starts from the front.
        total: how many there are, if that is known beforehand.
        judged: whether the storybook's judges can read the pictures and its grammar the captions.
    """

    name: str
    read: Callable[[], Iterator[Example]]
    total: int | None = None
    judged: bool = False

    def __iter__(self) -> Iterator[Example]:
        return self.read()
