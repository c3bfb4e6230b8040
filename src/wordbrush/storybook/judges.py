"""Reading pictures with the shipped judges: the subject, place, time, style, companion and colour in them.

The judges are classifiers trained on renders alone (``storybook.recipe.judge``); what they say of a model's pictures is
therefore independent of every model and filter that they measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from wordbrush.errors import InvalidInput, ModelError
from wordbrush.storybook.recipe.autoencoder import to_unit
from wordbrush.storybook.recipe.judge import KINDS, STRENGTHS, Judge, Outliner, build
from wordbrush.storybook.scene import COLOURS

if TYPE_CHECKING:
    from PIL.Image import Image

FOLDER = Path(__file__).parent / "weights" / "judge"
SIDE = 128


@dataclass(frozen=True)
class Reading:
    """What the judges read in n pictures.

    Attributes:
        words: attribute → the word read in each picture; ``"none"`` for no companion and no colour.
        strength: time or weather → how much of it there is, (n,) in [0, 1]: 0 for none, 0.5 to 1 for weak to strong.
        colours: colour → the probability that the picture has it, (n,) in [0, 1].
        outline: (n, 32, 32) bool, the subject's silhouette.
    """

    words: dict[str, list[str]]
    strength: dict[str, np.ndarray]
    colours: dict[str, np.ndarray]
    outline: np.ndarray

    def of(self, row: int, *, coloured: bool) -> dict[str, str]:
        """Return the words read in one picture.

        Args:
            coloured: the subject should have a colour, so it is only asked which: a red mushroom is also one that has
                no colour of its own, and which of the two was meant no picture can tell.
        """
        words = {name: read[row] for name, read in self.words.items()}
        if coloured:
            words["colour"] = max(COLOURS, key=lambda word: self.colours[word][row])
        return words


class Judges:
    """The judges, loaded from ``folder``.

    Raises:
        ModelError: the weights are not there.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        self._judges: dict[str, Judge | Outliner] = {}
        for kind in KINDS:
            path = folder / f"{kind}.safetensors"
            if not path.exists():
                raise ModelError(
                    f"the judge {path} is missing: train it with `wordbrush storybook train --stage judge_{kind}`"
                )
            judge = build(kind)
            try:
                weights = {name: value.float() for name, value in load_file(path).items()}
                judge.load_state_dict(weights)
            except (SafetensorError, RuntimeError) as error:
                raise ModelError(f"the judge {path} cannot be read; it may be truncated: {error}") from error
            self._judges[kind] = judge.eval()

    @torch.no_grad()
    def read(self, images: Sequence[Image]) -> Reading:
        """Read pictures of 128 × 128 pixels.

        Raises:
            InvalidInput: a picture has another size; the judges know no other.
        """
        for image in images:
            if image.size != (SIDE, SIDE):
                raise InvalidInput(
                    f"the judges read pictures of {SIDE} × {SIDE} pixels, not {image.width} × {image.height}"
                )
        pixels = to_unit(
            np.stack([np.asarray(image.convert("RGB")) for image in images]), torch.device("cpu")
        )
        words: dict[str, list[str]] = {}
        strength: dict[str, np.ndarray] = {}
        colours: dict[str, np.ndarray] = {}
        outline = np.zeros((len(images), SIDE // 4, SIDE // 4), dtype=bool)
        for judge in self._judges.values():
            output = judge(pixels)
            if isinstance(judge, Outliner):
                outline = (output > 0).numpy()
                continue
            if "strength" in output:
                strength = dict(zip(STRENGTHS, output["strength"].T.numpy(), strict=True))
                colours = dict(
                    zip(judge.heads_of["colour"], output["colour"].softmax(1).T.numpy(), strict=True)
                )
            for name, values in judge.heads_of.items():
                words[name] = [values[i] for i in output[name].argmax(1).tolist()]
        return Reading(words, strength, colours, outline)
