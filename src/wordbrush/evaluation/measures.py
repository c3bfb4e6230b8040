"""What is said of an edited picture: small objects that give named numbers for every example.

A measure leaves out what it has nothing to say of: a direction without captions, a background without a mask. It raises
``InvalidInput`` or ``ModelError`` where it should have had something to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from wordbrush.evaluation.example import Example
from wordbrush.metrics.alignment import alignment_shift
from wordbrush.metrics.background import Background, background
from wordbrush.metrics.clip import Clip
from wordbrush.metrics.pixels import WINDOW, fits, l1, psnr, ssim
from wordbrush.metrics.structure import Keys, structure_distance

if TYPE_CHECKING:
    from PIL.Image import Image

    from wordbrush.storybook.judges import Judges

Scores = dict[str, float]


class Measure(Protocol):
    """Named numbers for edited pictures."""

    def __call__(self, examples: Sequence[Example], images: Sequence[Image]) -> list[Scores]:
        """Return the numbers of each picture, which is of the size of its example's."""
        ...


@dataclass(frozen=True, eq=False)
class ClipScores:
    """The axes of the published curves: ``clip_image`` and ``clip_direction``; and ``clip_after``, cosines in [-1, 1].

    An object serves one data set: it remembers the pictures and captions of its examples by their keys.

    Pictures are given to CLIP in [0, 1]. The published script gives it those in [-1, 1], input and result alike, so its
    numbers compare with each other only.
    """

    clip: Clip
    _known: dict[str, tuple[Tensor, Tensor | None]] = field(default_factory=dict, init=False, repr=False)

    def __call__(self, examples: Sequence[Example], images: Sequence[Image]) -> list[Scores]:
        """Return the cosines between pictures, to the caption after the edit, and of the two changes."""
        self._learn(examples)
        scores: list[Scores] = []
        for example, image, embedded in zip(examples, images, self.clip.images(images), strict=True):
            old, captions = self._known[example.key]
            # Embeddings of one picture in two batches differ by rounding, which is no direction.
            new = old if image.tobytes() == example.image.tobytes() else embedded
            found = {"clip_image": _cosine(old, new)}
            if captions is not None:
                before, after = captions
                found["clip_after"] = _cosine(new, after)
                if example.before != example.after:
                    found["clip_direction"] = _cosine(new - old, after - before)
            scores.append(found)
        return scores

    def _learn(self, examples: Sequence[Example]) -> None:
        """Embed what belongs to the examples and not to an edit, once for all methods."""
        new = [example for example in examples if example.key not in self._known]
        if not new:
            return
        for example, embedded in zip(new, self.clip.images([one.image for one in new]), strict=True):
            captions = None
            if example.before is not None and example.after is not None:
                captions = self.clip.texts([example.before, example.after])
            self._known[example.key] = embedded, captions


def _cosine(a: Tensor, b: Tensor) -> float:
    return float(F.cosine_similarity(a.double(), b.double(), dim=0))


@dataclass(frozen=True, eq=False)
class Structure:
    """``structure``: how far the self-similarity of the picture's patches has moved; 0 for none."""

    keys: Keys

    def __call__(self, examples: Sequence[Example], images: Sequence[Image]) -> list[Scores]:
        """Return the distance between input and result."""
        return [
            {"structure": structure_distance(self.keys, example.image, image)}
            for example, image in zip(examples, images, strict=True)
        ]


class Change:
    """``l1`` and ``alignment_shift`` from the input: how much of the picture changed, and how far it slid."""

    def __call__(self, examples: Sequence[Example], images: Sequence[Image]) -> list[Scores]:
        """Return both for every picture."""
        return [
            {"l1": l1(example.image, image), "alignment_shift": alignment_shift(example.image, image)}
            for example, image in zip(examples, images, strict=True)
        ]


@dataclass(frozen=True)
class Outside:
    """``background_psnr``, ``background_mse`` and ``background_ssim``: what changed where nothing should."""

    mode: Background = "area"

    def __call__(self, examples: Sequence[Example], images: Sequence[Image]) -> list[Scores]:
        """Return the three where there is a mask that leaves a background; SSIM as ``background`` does."""
        return [
            {}
            if example.mask is None or example.mask.all()
            else {
                f"background_{name}": value
                for name, value in background(example.image, image, example.mask, mode=self.mode).items()
            }
            for example, image in zip(examples, images, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class PieClip:
    """``clip_whole`` and ``clip_edited`` of PIE-Bench: 100 · max(cosine, 0) to the caption after the edit.

    The first is of the whole picture; the second of the edited region on black, the whole caption all the same.
    """

    clip: Clip

    def __call__(self, examples: Sequence[Example], images: Sequence[Image]) -> list[Scores]:
        """Return the first where there is a caption, and the second where there is a mask, too, that is not empty."""
        return [
            {} if example.after is None else dict(self._scores(example.after, example.mask, image))
            for example, image in zip(examples, images, strict=True)
        ]

    def _scores(self, caption: str, mask: np.ndarray | None, image: Image) -> Iterator[tuple[str, float]]:
        (text,) = self.clip.texts([caption])
        regions = {"clip_whole": image}
        if mask is not None and mask.any():
            regions["clip_edited"] = _on_black(image, mask)
        for name, embedded in zip(regions, self.clip.images(list(regions.values())), strict=True):
            yield name, 100 * max(_cosine(embedded, text), 0.0)


def _on_black(image: Image, mask: np.ndarray) -> Image:
    from PIL import Image

    return Image.fromarray(np.asarray(image.convert("RGB")) * mask[..., None].astype(np.uint8))


class AgainstTruth:
    """``truth_psnr``, ``truth_ssim`` and ``truth_l1``: how near the picture is to the one after a faultless edit."""

    def __call__(self, examples: Sequence[Example], images: Sequence[Image]) -> list[Scores]:
        """Return the three where there is a ground truth; of pictures smaller than its window no SSIM."""
        return [
            {}
            if example.truth is None
            else {
                "truth_psnr": psnr(example.truth, image),
                **({"truth_ssim": ssim(example.truth, image)} if fits(image, WINDOW) else {}),
                "truth_l1": l1(example.truth, image),
            }
            for example, image in zip(examples, images, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class Judged:
    """``success`` and ``kept``, 0 or 1, of storybook pictures: the judges read the changed attribute as it should be,
    and all others as they should be. What that is, the two captions say.
    """

    judges: Judges

    def __call__(self, examples: Sequence[Example], images: Sequence[Image]) -> list[Scores]:
        """Read every picture. Raises ``InvalidInput`` for one of another size than the judges know."""
        from wordbrush.storybook.evaluate import ATTRIBUTES, described
        from wordbrush.storybook.recipe.judge import NONE
        from wordbrush.storybook.scene import parse

        reading = self.judges.read(images)
        scores: list[Scores] = []
        for number, example in enumerate(examples):
            old = described(parse(example.caption("before", for_="the judges")))
            new = described(parse(example.caption("after", for_="the judges")))
            read = reading.of(number, coloured=new["colour"] != NONE)
            right = {name: read[name] == new[name] for name in ATTRIBUTES}
            changed = [name for name in ATTRIBUTES if old[name] != new[name]]
            scores.append(
                {
                    "success": float(all(right[name] for name in changed)),
                    "kept": float(all(right[name] for name in ATTRIBUTES if name not in changed)),
                }
            )
        return scores
