"""Batches: what a step reads from the caches, on threads ahead of time, and what the networks make of it."""

from __future__ import annotations

import io
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from wordbrush.dataset.formats import EditPair
from wordbrush.errors import DataError, InvalidInput
from wordbrush.models import Model
from wordbrush.training import conditioning, paraphrases, texts
from wordbrush.training.cache import Row, Store, digest_of, prepare
from wordbrush.training.conditioning import Posterior
from wordbrush.training.config import Config
from wordbrush.training.data import digest, pairs, prompt_of
from wordbrush.training.geometry import Geometry, make_geometry
from wordbrush.training.order import Draw, Order, draw


@dataclass(frozen=True, eq=False)
class Batch:
    """What the loss needs of n pairs.

    Args:
        keys: of the pairs.
        clean: the target latents, (n, C, h, w).
        condition: the condition latents, (n, C, h, w), zero where left out.
        text: (n, tokens, channels), or token ids (n, tokens) for a text encoder that is trained; those of the empty
            instruction where left out.
        noise: (n, C, h, w) of variance 1.
        timesteps: (n,) int64.
    """

    keys: list[str]
    clean: Tensor
    condition: Tensor
    text: Tensor
    noise: Tensor
    timesteps: Tensor


@dataclass(frozen=True, eq=False)
class _Read:
    """A batch as it comes from the disk: pixels (n, 2, 3, H, W) in [-1, 1], or latents (n, 3, C, h, w)."""

    rows: list[int]
    draws: list[Draw]
    pixels: Tensor | None
    latents: Tensor | None
    text: Tensor | None


class Batches:
    """All pairs of a configuration, and any batch of them.

    Args:
        model: its autoencoder and text encoder are used.
        pictures: the cache of latents or picture files.
        encoded: the cache of instructions, if there is one.
        wordings: what the instruction of every row may be, its own one first.
        geometry: how pictures are placed.
    """

    def __init__(
        self,
        config: Config,
        model: Model,
        pictures: Store,
        encoded: Store | None,
        wordings: Sequence[Sequence[str]],
        geometry: Geometry,
    ) -> None:
        self.config, self.model, self.pictures, self.encoded = config, model, pictures, encoded
        self.geometry = geometry
        self.keys: list[str] = pictures.columns["key"]
        self.instructions: list[str] = pictures.columns["instruction"]
        self.wordings = wordings
        self.empty = self._texts([""])[0]
        self._places = {text: i for i, text in enumerate(encoded.columns["text"])} if encoded else {}
        self._items = self._group()
        self.order = Order([len(items) for items in self._items], batch=config.batch.size, seed=config.seed)

    def _group(self) -> list[list[list[int]]]:
        """Return, for every shape that occurs, its items: the rows of a prompt, or single rows."""
        found: dict[int, dict[str, list[int]]] = {}
        columns = self.pictures.columns
        for row, (shape, prompt) in enumerate(zip(columns["shape"], columns["prompt"], strict=True)):
            name = prompt if self.config.data.one_per_prompt else str(row)
            found.setdefault(shape, {}).setdefault(name, []).append(row)
        return [list(found[shape].values()) for shape in sorted(found)]

    def drawn(self, step: int, positions: Sequence[int]) -> tuple[list[int], list[Draw]]:
        """Return the rows and draws at some positions of the whole batch of a step."""
        bucket, items = self.order.at(step)
        draws = [draw(self.config.seed, step, position) for position in positions]
        rows = []
        for position, drawn in zip(positions, draws, strict=True):
            choices = self._items[bucket][int(items[position])]
            rows.append(choices[int(drawn.choice * len(choices))])
        return rows, draws

    def read(self, step: int, positions: Sequence[int]) -> _Read:
        """Read what a batch needs from the disk; safe to call from several threads."""
        rows, draws = self.drawn(step, positions)
        pixels = latents = text = None
        if self.config.cache.latents:
            latents = torch.stack([self._latents(*one) for one in zip(rows, draws, strict=True)])
        else:
            pixels = torch.stack([self._pixels(*one) for one in zip(rows, draws, strict=True)])
        if self.encoded is not None:
            places = [self._places[text] for text in self._said(rows, draws)]
            text = torch.stack([self.encoded.tensor(place, "text").float() for place in places])
        return _Read(rows, draws, pixels, latents, text)

    def _latents(self, row: int, drawn: Draw) -> Tensor:
        return self.pictures.tensor(row, "flipped" if self._is_flipped(drawn) else "plain").float()

    def _pixels(self, row: int, drawn: Draw) -> Tensor:
        shape = self.pictures.columns["shape"][row]
        both = [self.geometry.place(image, shape, drawn) for image in self.images(row)]
        return to_pixels(np.stack(both), flip=self._is_flipped(drawn))

    def _is_flipped(self, drawn: Draw) -> bool:
        return self.geometry.flip and drawn.flip < 0.5

    def images(self, row: int) -> list[Image.Image]:
        """Return the two pictures of a row whose files were stored."""
        return [
            Image.open(io.BytesIO(self.pictures.tensor(row, name).numpy().tobytes())).convert("RGB")
            for name in ("before", "after")
        ]

    @torch.no_grad()
    def make(self, read: _Read, device: torch.device) -> Batch:
        """Encode what is not cached, draw the noise, and leave out conditions."""
        before, after = self._posteriors(read, device)
        shape = before.mean.shape[1:]
        normal = torch.stack([_normal(one.seed, (2, *shape)) for one in read.draws]).to(device)
        scale = self.model.vae.config.scaling_factor
        text = read.text
        if text is None:
            text = self._texts(self._said(read.rows, read.draws))
        condition, text = conditioning.drop(
            conditioning.condition_latents(before),
            text.to(device),
            self.empty.to(device),
            uniform=torch.tensor([one.drop for one in read.draws], device=device),
            rate=self.config.loss.dropout,
        )
        count = self.model.scheduler.config.num_train_timesteps
        return Batch(
            keys=[self.keys[row] for row in read.rows],
            clean=conditioning.target_latents(after, normal[:, 0], scaling_factor=scale),
            condition=condition,
            text=text,
            noise=normal[:, 1],
            timesteps=torch.tensor([int(one.timestep * count) for one in read.draws], device=device),
        )

    def _said(self, rows: Sequence[int], draws: Sequence[Draw]) -> list[str]:
        """Return the instruction of every row in the wording that was drawn."""
        choices = [self.wordings[row] for row in rows]
        return [texts[int(one.wording * len(texts))] for texts, one in zip(choices, draws, strict=True)]

    def _texts(self, instructions: Sequence[str]) -> Tensor:
        encode = texts.tokens if self.config.text_encoder == "trained" else texts.encode
        return encode(self.model, instructions)

    def _posteriors(self, read: _Read, device: torch.device) -> tuple[Posterior, Posterior]:
        if read.latents is not None:
            mean, after, std = read.latents.to(device).unbind(1)
            return Posterior(mean, torch.zeros_like(mean)), Posterior(after, std)
        assert read.pixels is not None
        before, after = read.pixels.to(device).unbind(1)
        vae = self.model.vae
        return conditioning.posterior(vae, before), conditioning.posterior(vae, after)

    def ahead(self, plan: Iterable[tuple[int, Sequence[int]]], workers: int) -> Generator[_Read, None, None]:
        """Yield what is read for every (step, positions), with up to twice ``workers`` of them read ahead."""
        if not workers:
            for step, positions in plan:
                yield self.read(step, positions)
            return
        waiting: list[Future[_Read]] = []
        pool = ThreadPoolExecutor(workers)
        try:
            for step, positions in plan:
                waiting.append(pool.submit(self.read, step, positions))
                if len(waiting) > 2 * workers:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _normal(seed: int, shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def to_pixels(levels: np.ndarray, *, flip: bool) -> Tensor:
    """Turn uint8 (..., H, W, 3) into (..., 3, H, W) in [-1, 1], mirrored if asked."""
    turned = levels[..., ::-1, :] if flip else levels
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(turned, -1, -3))).float() / 127.5 - 1.0


def open_batches(config: Config, model: Model, out: Path, *, progress: Any = None) -> Batches:
    """Make or open the caches of a configuration.

    Args:
        out: the folder of the training; caches are in it unless ``cache.folder`` says otherwise.
        progress: called with (what, how many).

    Raises:
        InvalidInput: settings that do not go together or with the model.
        DataError: pairs that are missing or damaged, or a stale cache.
        PromptTooLong: an instruction that the text encoder does not read to the end.
    """
    network: Any = model.unet
    multiple = model.factor * 2 ** (len(network.config.block_out_channels) - 1)
    geometry = make_geometry(config.data, native=model.image_size[0], multiple=multiple)
    if config.cache.latents and not geometry.is_fixed:
        raise InvalidInput(
            "latents cannot be cached where every visit crops another part: set data.crop = 'centre' and no "
            "data.resize, or cache.latents = false"
        )
    if config.cache.text and config.text_encoder == "trained":
        raise InvalidInput(
            "what a text encoder says while it is trained cannot be cached: set cache.text = false, or "
            "text_encoder = 'frozen'"
        )
    folder = config.cache.folder or out / "cache"
    kind = "latents" if config.cache.latents else "pictures"
    made_with = _made_with(config, model, geometry)
    dtype = getattr(torch, config.cache.dtype)

    def rows(start: int) -> Iterator[Row]:
        for number, pair in enumerate(pairs(config.data)):
            if number >= start:
                yield _row(pair, geometry, model if config.cache.latents else None, dtype)

    def shown(what: str) -> Any:
        return None if progress is None else (lambda count: progress(what, count))

    pictures = prepare(folder / kind, made_with, rows, progress=shown(kind))
    columns = pictures.columns
    wordings = paraphrases.wordings(config.data.paraphrases, columns["prompt"], columns["instruction"])
    instructions = list(chain.from_iterable(wordings))
    if config.data.long_instructions == "refuse":
        keys = [key for key, own in zip(columns["key"], wordings, strict=True) for _ in own]
        texts.check_lengths(model, instructions, keys)
    encoded = None
    if config.cache.text:
        wanted = list(dict.fromkeys(instructions))
        encoded = prepare(
            folder / "text",
            {
                **made_with_text(model, config),
                "data": made_with["data"],
                "share_of_data": config.data.share,
                "paraphrases": paraphrases.digest(config.data.paraphrases),
            },
            lambda start: texts.encoded_rows(model, wanted[start:], dtype),
            progress=shown("text"),
        )
    return Batches(config, model, pictures, encoded, wordings, geometry)


def made_with_text(model: Model, config: Config) -> dict[str, Any]:
    """Return what decides the encoded instructions, apart from the data."""
    return {
        "text_encoder": digest_of(model.text_encoder),
        "length_of_text": texts.text_length(model),
        "dtype": config.cache.dtype,
    }


def _made_with(config: Config, model: Model, geometry: Geometry) -> dict[str, Any]:
    made: dict[str, Any] = {
        "data": digest(config.data),
        "format_of_data": config.data.format,
        "split_of_data": config.data.split,
        "share_of_data": config.data.share,
        "shapes": geometry.shapes,
    }
    if config.cache.latents:
        made |= {
            "fit": config.data.fit,
            "flip": geometry.flip,
            "autoencoder": digest_of(model.vae),
            "dtype": config.cache.dtype,
        }
    return made


def _row(pair: EditPair, geometry: Geometry, model: Model | None, dtype: torch.dtype) -> Row:
    """Return a pair's columns, and its latents or the files of its pictures."""
    before, after = pair.before_image, pair.after_image
    if before.size != after.size and not geometry.squash:
        raise DataError(
            f"the pictures of pair {pair.key!r} are of {before.width}×{before.height} and {after.width}×{after.height} "
            "pixels: make them the same size, or set data.fit = 'squash'"
        )
    shape = geometry.nearest(*before.size)
    columns: Mapping[str, Any] = {
        "key": pair.key,
        "prompt": prompt_of(pair),
        "instruction": pair.instruction,
        "shape": shape,
    }
    if model is None:
        files = {"before": pair.before_picture.file()[0], "after": pair.after_picture.file()[0]}
        return columns, {
            name: torch.from_numpy(np.frombuffer(data, np.uint8).copy()) for name, data in files.items()
        }
    levels = np.stack([geometry.place(before, shape), geometry.place(after, shape)])
    flips = {"plain": False, "flipped": True} if geometry.flip else {"plain": False}
    return columns, {name: _moments(model, levels, flip).to("cpu", dtype) for name, flip in flips.items()}


def _moments(model: Model, levels: np.ndarray, flip: bool) -> Tensor:
    """Return mean of before, mean of after and deviation of after, (3, C, h, w)."""
    device = next(model.vae.parameters()).device
    found = conditioning.posterior(model.vae, to_pixels(levels, flip=flip).to(device))
    return torch.stack([found.mean[0], found.mean[1], found.std[1]])
