"""What ``generate``, ``edit`` and an editor return: latents, pictures, word maps and a contact sheet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from wordbrush.backbones.maps import MapHistory
from wordbrush.changed import AUTO, changed
from wordbrush.checks import is_whole
from wordbrush.contact import contact_sheet, overlay
from wordbrush.edits.plan import Edit, EditPlan
from wordbrush.edits.prompt import Prompt, WordLike, named
from wordbrush.edits.reweight import Reweight
from wordbrush.errors import InvalidInput, UnknownWord, nearest
from wordbrush.files import png, versions, write_files

if TYPE_CHECKING:
    from PIL.Image import Image

    from wordbrush.canvas import Canvas
    from wordbrush.models import Model


class WordMaps:
    """Where every word attends: ``maps["dog"]`` is an (h, w) array in [0, 1], at attention resolution.

    A map is the attention of a picture's own queries to the word's tokens, averaged over heads, layers and steps, and
    divided by its maximum. ``image`` chooses the picture, 0 being the first (for an edit, the source); by default it
    is the first one whose prompt has the word (for an edit, the targets come before the source).

    Args:
        history: what was read.
        prompts: one per picture.
        images: makes the pictures, for ``overlay``.
        order: the pictures in the order in which a word is looked for.
    """

    def __init__(
        self,
        history: MapHistory,
        prompts: Sequence[Prompt],
        *,
        images: Callable[[], Sequence[Image]],
        order: Sequence[int],
    ) -> None:
        self._probabilities = history.maps.numpy()
        self._prompts = tuple(prompts)
        self._images = images
        self._order = tuple(order)
        self.layers = history.layers

    def __getitem__(self, word: WordLike) -> np.ndarray:
        return self.of(word)

    def of(self, word: WordLike, *, image: int | None = None) -> np.ndarray:
        """Return the word's map, (h, w)."""
        return _scaled(self.raw(word, image=image).mean(axis=(0, 1)))

    def steps(self, word: WordLike, *, image: int | None = None) -> np.ndarray:
        """Return the word's map at every step, (steps, h, w); the greatest value of all is 1."""
        return _scaled(self.raw(word, image=image).mean(axis=1))

    def by_layer(self, word: WordLike, *, image: int | None = None) -> np.ndarray:
        """Return the word's map in every one of ``layers``, (layers, h, w); the greatest value of all is 1."""
        return _scaled(self.raw(word, image=image).mean(axis=0))

    def raw(self, word: WordLike, *, image: int | None = None) -> np.ndarray:
        """Return the attention probabilities themselves, (steps, layers, h, w)."""
        sample = self._sample(word, image)
        tokens = list(self._prompts[sample].find(word))
        return self._probabilities[:, :, sample][..., tokens].sum(axis=-1)

    def overlay(self, word: WordLike, *, image: int | None = None) -> Image:
        """Return the picture with the word's map drawn over it."""
        sample = self._sample(word, image)
        return overlay(self._images()[sample], self.of(word, image=sample))

    def _sample(self, word: WordLike, image: int | None) -> int:
        """Return the number of the picture that is meant."""
        if image is None:
            return self._find(word)
        if not is_whole(image) or not 0 <= image < len(self._prompts):
            raise InvalidInput(
                f"there is no image {image!r}: there are {len(self._prompts)}, counted from 0, the source of an edit "
                "first"
            )
        return image

    def _find(self, word: WordLike) -> int:
        for sample in self._order:
            if self._prompts[sample].has(word):
                return sample
        texts = " nor in ".join(repr(prompt.text) for prompt in self._prompts)
        words = [one.text for prompt in self._prompts for one in prompt.words]
        raise UnknownWord(f"the word {named(word)!r} is not in {texts}{nearest(named(word), words)}")


class Generation:
    """Pictures from prompts.

    Args:
        latents: (n, C, h, w), as the autoencoder's are scaled for the network.
        prompts: one per picture.
        settings: what it takes to make the same pictures again.
        model: decodes the latents.
        read_maps: repeats the run to read word maps, or returns those already read.
        finish: what is done to the decoded pictures, if anything is.
    """

    def __init__(
        self,
        latents: Tensor,
        prompts: Sequence[Prompt],
        *,
        settings: dict[str, Any],
        model: Model,
        read_maps: Callable[[], MapHistory],
        finish: Callable[[list[Image]], list[Image]] | None = None,
    ) -> None:
        self.latents = latents
        self.prompts = tuple(prompts)
        self.settings = settings
        self._model = model
        self._read_maps = read_maps
        self._finish = finish

    @cached_property
    def _pictures(self) -> list[Image]:
        decoded = self._model.decode(self.latents)
        return self._finish(decoded) if self._finish else decoded

    @property
    def images(self) -> list[Image]:
        """The pictures, one per prompt."""
        return self._pictures

    @cached_property
    def maps(self) -> WordMaps:
        """Where the words attend. Repeats the run exactly unless the maps were asked for at first."""
        return self._word_maps(range(len(self.prompts)))

    def grid(self, caption: bool = True) -> Image:
        """Return all pictures side by side, each with its prompt under it; an inverted picture itself comes first."""
        return contact_sheet(self.panels, self.captions if caption else None)

    @property
    def panels(self) -> list[Image]:
        """The pictures in ``grid``."""
        return self._pictures

    @property
    def captions(self) -> list[str]:
        """What stands under the pictures in ``grid``."""
        return [prompt.text for prompt in self.prompts]

    def _word_maps(self, order: Sequence[int]) -> WordMaps:
        return WordMaps(self._read_maps(), self.prompts, images=lambda: self._pictures, order=order)


class EditResult(Generation):
    """A source picture and its edits; ``latents`` and ``prompts`` have the source first.

    Args:
        plan: what was done.
        inverted: whether the source is the reconstruction of an inverted picture.
        original: that picture, at the size it was edited at, if it is known.
    """

    def __init__(
        self,
        latents: Tensor,
        prompts: Sequence[Prompt],
        *,
        plan: EditPlan,
        inverted: bool = False,
        original: Image | None = None,
        **rest: Any,
    ) -> None:
        super().__init__(latents, prompts, **rest)
        self.plan = plan
        self.inverted = inverted
        self.original = original

    @property
    def source(self) -> Image:
        """The picture that was edited: what ``generate`` makes of the source prompt.

        Of an inverted picture it is the reconstruction, what the model makes of its noise under the caption, which the
        edits are to be compared with; the picture itself is ``original``.

        It is the same bit by bit if ``generate`` makes as many pictures at once, and to rounding otherwise: a processor
        rounds differently in batches of different sizes.
        """
        return self._pictures[0]

    @property
    def images(self) -> list[Image]:
        """The edited pictures, one per target."""
        return self._pictures[1:]

    @property
    def panels(self) -> list[Image]:
        """The pictures in ``grid``: the picture that was inverted, if there is one, the source and the edits."""
        return [*([self.original] if self.original else []), *self._pictures]

    @property
    def captions(self) -> list[str]:
        """What stands under the pictures in ``grid``: prompts, and the strengths of words turned up or down."""
        source, *targets = self.prompts
        edited = zip(targets, self.plan.edits, strict=True)
        return [
            *(["the picture"] if self.original else []),
            f"reconstruction: {source.text}" if self.inverted else source.text,
            *(target.text + _weights(target, edits) for target, edits in edited),
        ]

    @cached_property
    def maps(self) -> WordMaps:
        """Where the words attend. Repeats the run exactly unless the maps were asked for at first."""
        return self._word_maps([*range(1, len(self.prompts)), 0])


class Instructed:
    """Pictures edited by instruction.

    Args:
        latents: (C, h, w) each, as the autoencoder's are scaled for the network.
        canvases: the pictures that were edited.
        model: decodes the latents.
        settings: what it takes to make the same edits again, as far as they share it.
        rows: what only one edit has: instruction, seed, size, how it is masked, and notes on how its picture was read.
    """

    def __init__(
        self,
        latents: Sequence[Tensor],
        canvases: Sequence[Canvas],
        *,
        model: Model,
        settings: dict[str, Any],
        rows: Sequence[dict[str, Any]],
    ) -> None:
        self.latents = tuple(latents)
        self.settings = settings
        self.rows = tuple(rows)
        self._canvases = tuple(canvases)
        self._model = model

    @cached_property
    def images(self) -> list[Image]:
        """The edited pictures."""
        edits = zip(self.latents, self._canvases, self.rows, strict=True)
        return [self._finished(latents, canvas, row["masked"] == AUTO) for latents, canvas, row in edits]

    def _finished(self, latents: Tensor, canvas: Canvas, automatic: bool) -> Image:
        model = self._model
        edited = model.decode(latents[None])[0]
        if not automatic:
            return canvas.finish(edited)
        unedited = model.decode(model.encode(canvas.worked))[0]
        return canvas.finish(edited, changed(edited, unedited, model.factor))

    @property
    def before(self) -> list[Image]:
        """The pictures that were edited, one for each of ``images`` and of its size."""
        return [canvas.before for canvas in self._canvases]

    def grid(self, caption: bool = True) -> Image:
        """Return every picture beside its edit, with the instruction under the edit."""
        pairs = zip(self.before, self.images, strict=True)
        sheet = padded([image for pair in pairs for image in pair])
        told = [text for row in self.rows for text in ("", row["instruction"])]
        return contact_sheet(sheet, told if caption else None, columns=min(len(sheet), 6))

    def save(self, place: str | Path) -> None:
        """Write the picture, with how it was made inside, to a name that ends in .png, or all to a folder.

        In a folder they are called ``01.png`` and so on.

        Raises:
            InvalidInput: a .png for several pictures; save ``grid()`` instead.
            CannotWrite: the disk does not take it; no file is left half-written.
        """
        place = Path(place)
        single = place.suffix.lower() == ".png"
        if single and len(self.images) > 1:
            raise InvalidInput(
                f"{len(self.images)} pictures do not fit into {place}: give a folder, or save the grid"
            )
        names = [place] if single else [place / f"{n:02d}.png" for n in range(1, len(self.images) + 1)]
        write_files(
            {
                name: png(image, self.described(number))
                for number, (name, image) in enumerate(zip(names, self.images, strict=True))
            }
        )

    def described(self, number: int) -> dict[str, Any]:
        """Return how one of the pictures was made, with the versions that decide it."""
        return {**self.settings, **self.rows[number], "versions": versions()}


def padded(images: Sequence[Image]) -> list[Image]:
    """Return pictures of different sizes as pictures of one size: shrunk or enlarged to it, with white beside them."""
    from PIL import ImageOps

    size = (max(image.width for image in images), max(image.height for image in images))
    return [image if image.size == size else ImageOps.pad(image, size, color="white") for image in images]


def _weights(target: Prompt, edits: Sequence[Edit]) -> str:
    """Return the strengths of re-weighted words as a caption shows them: ``", snow × 2"``."""
    return "".join(f", {word} × {strength:g}" for word, strength in strengths(target, edits))


def strengths(target: Prompt, edits: Sequence[Edit]) -> list[tuple[str, float]]:
    """Return the words of a target that are turned up or down, as people are told of them, and how far."""
    return [
        (named(word, target), strength)
        for edit in edits
        if isinstance(edit, Reweight)
        for word, strength in edit.strengths.items()
        if target.has(word)
    ]


def _scaled(maps: np.ndarray) -> np.ndarray:
    """Divide by the maximum, so that the values fill [0, 1]."""
    return maps / max(float(maps.max()), np.finfo(np.float32).tiny)
