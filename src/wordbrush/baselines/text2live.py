"""Text2LIVE (Bar-Tal et al. 2022, arXiv:2204.02491): a generator trained on one picture draws a layer to lie over it.

    clip = load_clip("storybook")
    made = text2live("cat.png", "a cat on a beach at night", source="a cat on a beach", clip=clip, settings="storybook")
    made.image.save("night.png")

Nothing but a contrastive model says what the layer should be: the picture with it should agree with the target text and
change as the texts change, the layer alone should show what it adds, and the picture's structure should stay. It is
made to change textures and to add effects such as snow; its authors say that new objects and other layouts are beyond
it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from wordbrush.baselines import layer_losses as losses
from wordbrush.baselines.edit_layer import EditLayer, over, smallest_side
from wordbrush.baselines.relevancy import enlarged, relevancy
from wordbrush.baselines.views import Looks, Views, draw_views, example, smallest_example
from wordbrush.checks import check_count, check_seed, is_number
from wordbrush.errors import BadPicture, InvalidInput, ModelError, nearest
from wordbrush.metrics.clip import Clip
from wordbrush.pictures import read_picture
from wordbrush.sampling import Progress

GREEN = (0.0, 177 / 255, 64 / 255)
PHOTOS = (
    "photo of {}.", "high quality photo of {}.", "a photo of {}.", "the photo of {}.", "image of {}.",
    "an image of {}.", "high quality image of {}.", "a high quality image of {}.", "the {}.", "a {}.", "{}.",
    "{}", "{}!", "{}...",
)  # fmt: skip
SCREENS = ("{} over a green screen.", "{} in front of a green screen.")


@dataclass(frozen=True)
class Weights:
    """How much each loss counts; the defaults are those of the released code."""

    composition: float = 1.0
    screen: float = 1.0
    structure: float = 2.0
    sparsity: float = 0.06
    relevancy: float = 10.0


@dataclass(frozen=True)
class Settings:
    """How a layer is fitted; ``replace(PRESETS["storybook"], steps=50)`` changes a preset.

    The defaults are those of the released code, for pictures of about 512 pixels. Three things differ from it. The
    optimiser is Adam where MADGRAD was, which is in no package that is needed else. The picture before and after is
    looked at through the same random views, and with all the templates of a text, where both were drawn anew: there is
    less noise in the same mean. And views are squares, since ``Clip`` takes squares.

    Args:
        steps: of the optimiser, one example of the internal data set each.
        rate: learning rate of the first step; every step multiplies it by ``decay``, down to 1e-5.
        channels: of the generator, see ``EditLayer``.
        scales: of the generator, see ``EditLayer``.
        looks: the random views of every picture that is shown to the contrastive model.
        weights: of the losses.
        whole_every: in so many steps, the whole picture is added to the example.
        templates: what the source and target texts are put into.
        screens: what the layer's text is put into.

    Raises:
        InvalidInput: a number out of its range.
    """

    steps: int = 1000
    rate: float = 2.5e-3
    decay: float = 0.99
    channels: int = 128
    scales: int = 7
    looks: Looks = field(default_factory=Looks)
    weights: Weights = Weights()
    whole_every: int = 75
    templates: tuple[str, ...] = PHOTOS
    screens: tuple[str, ...] = SCREENS

    def __post_init__(self) -> None:
        for name in ("steps", "channels", "scales", "whole_every"):
            check_count(name, getattr(self, name))
        if not is_number(self.rate) or self.rate <= 0:
            raise InvalidInput(f"rate must be a finite number above 0, not {self.rate!r}")


PRESETS = {
    "published": Settings(),
    # The storybook's contrastive model was taught no photographs, no screens and the names of colours: texts are left
    # as they are, and hues nearly so. Its pictures have 128 pixels; an edit takes about a minute on one processor core.
    "storybook": Settings(
        steps=150,
        rate=1e-2,
        channels=32,
        scales=4,
        looks=Looks(count=4, cover=0.8, turn=(5.0, 0.05), bend=0.1, hue=0.01, grey=0.0),
        whole_every=4,
        templates=("{}",),
        screens=("{}",),
    ),
}
LEAST_RATE = 1e-5


@dataclass(frozen=True, eq=False)
class Layered:
    """A picture with the layer that was drawn for it.

    Args:
        before: the picture, mode RGB.
        layer: the layer, mode RGBA, of the same size.
        history: the losses of every step by their names, unweighted, and their weighted ``total``.
        settings: how it was made.
    """

    before: Image.Image
    layer: Image.Image
    history: Sequence[dict[str, float]]
    settings: dict[str, Any]

    @property
    def image(self) -> Image.Image:
        """The picture under the layer, RGB; where the layer's opacity is 0 it has exactly the pixels of ``before``."""
        return Image.composite(self.layer.convert("RGB"), self.before, self.layer.getchannel("A"))


def text2live(
    image: str | Path | Image.Image,
    to: str,
    *,
    source: str,
    clip: Clip,
    layer: str | None = None,
    region: str | None = None,
    settings: str | Settings = "published",
    seed: int = 0,
    progress: Progress | None = None,
) -> Layered:
    """Edit one picture by training a generator for it; on the CPU the same seed gives the same layer.

    Args:
        image: a path or a PIL image; it is edited at its own size, where the released code brings the shorter side to
            512 pixels.
        to: describes the picture as it should become.
        source: describes the picture as it is.
        clip: the contrastive model, from ``wordbrush.metrics.clip.load_clip``.
        layer: describes what the layer should show by itself; ``to`` if None.
        region: describes what in the picture is to be changed; for as long as the steps last, ever less, the layer's
            opacity is drawn to where the model sees it. None draws it nowhere.
        settings: a name of ``PRESETS``, or settings of one's own; ``"published"`` is for models of photographs and
            takes minutes on a GPU.
        seed: of the generator's first weights and of everything that is drawn at random.
        progress: called with (steps done, steps in all) after every step.

    Raises:
        BadPicture: the picture cannot be read, or is too small for the generator.
        InvalidInput: a text is empty, or a number or name is none that can be used.
        PromptTooLong: a text does not fit the contrastive model.
        ModelError: the losses became NaN or infinite, or memory ran out.
    """
    chosen = _chosen(settings)
    before = read_picture(image).image
    _check_size(before, chosen)
    texts = {"to": to, "source": source, "layer": to if layer is None else layer, "region": region}
    for name, text in texts.items():
        if text is not None and (not isinstance(text, str) or not text.strip()):
            raise InvalidInput(f"{name} is a text that describes the picture or a part of it, not {text!r}")
    device = clip.model.device
    fit = _Fit.of(clip, chosen, texts, check_seed(seed))
    with _telling_of_memory(before, chosen):
        pixels = torch.from_numpy(np.array(before)).to(device).permute(2, 0, 1)[None].float() / 255
        history = fit.run(pixels, progress)
        drawn = fit.drawn(pixels)
    return Layered(
        before,
        drawn,
        history,
        {"method": "text2live", "clip": clip.name, **texts, "seed": seed, **asdict(chosen)},
    )


@contextmanager
def _telling_of_memory(image: Image.Image, settings: Settings) -> Iterator[None]:
    """Turn what torch raises when memory runs out into a ``ModelError`` that says what to lower."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if type(error) is RuntimeError and "allocate memory" not in str(error):
            raise
        raise ModelError(
            f"memory ran out over a picture of {image.height} × {image.width} pixels, which is edited at its own size: "
            f"make it smaller, or the generator's channels fewer than {settings.channels}"
        ) from error


def _chosen(settings: str | Settings) -> Settings:
    if isinstance(settings, Settings):
        return settings
    if settings not in PRESETS:
        raise InvalidInput(
            f"settings are one of {', '.join(PRESETS)}, or Settings(...), not {settings!r}"
            f"{nearest(str(settings), PRESETS)}"
        )
    return PRESETS[settings]


def _check_size(image: Image.Image, settings: Settings) -> None:
    least = smallest_side(settings.scales)
    needed = next(side for side in itertools.count(least) if smallest_example(side) >= least)
    if min(image.size) < needed:
        raise BadPicture(
            f"the picture has {image.height} × {image.width} pixels; a generator of {settings.scales} scales needs "
            f"{needed} on both sides: give it fewer scales, or a larger picture"
        )


@dataclass(frozen=True, eq=False)
class _Fit:
    """The generator and all that its losses need.

    Args:
        said, meant: the source and the target text in every template, (t, c) each.
        shown: the layer's text in every screen template.
        region: the embedding of the region's text, (c,), or None.
    """

    clip: Clip
    settings: Settings
    network: EditLayer
    random: torch.Generator
    said: Tensor
    meant: Tensor
    shown: Tensor
    region: Tensor | None

    @classmethod
    def of(cls, clip: Clip, settings: Settings, texts: dict[str, Any], seed: int) -> _Fit:
        device = clip.model.device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = EditLayer(channels=settings.channels, scales=settings.scales).to(device)

        def embedded(name: str, templates: Sequence[str]) -> Tensor:
            return clip.texts([template.format(texts[name]) for template in templates]).to(device)

        return cls(
            clip,
            settings,
            network,
            torch.Generator().manual_seed(seed),
            said=embedded("source", settings.templates),
            meant=embedded("to", settings.templates),
            shown=embedded("layer", settings.screens),
            region=embedded("region", ("{}",))[0] if texts["region"] else None,
        )

    def run(self, pixels: Tensor, progress: Progress | None) -> list[dict[str, float]]:
        """Train the generator; return the losses of every step."""
        settings, history = self.settings, []
        optimizer = torch.optim.Adam(self.network.parameters(), lr=settings.rate)
        for step in range(settings.steps):
            inputs = [example(pixels, self.random)]
            if step % settings.whole_every == 0:
                inputs.append(pixels)
            made = [self.losses(one) for one in inputs]
            parts = {name: torch.stack([one[name] for one in made]).mean() for name in made[0]}
            total = torch.stack([self.weight(name, step) * value for name, value in parts.items()]).sum()
            if not torch.isfinite(total):
                raise ModelError(
                    f"the losses became NaN or infinite in step {step + 1} of {settings.steps}: lower the rate, "
                    f"{settings.rate:g}"
                )
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            for group in optimizer.param_groups:
                group["lr"] = max(LEAST_RATE, group["lr"] * settings.decay)
            history.append({name: value.item() for name, value in {**parts, "total": total}.items()})
            if progress is not None:
                progress(step + 1, settings.steps)
        return history

    def losses(self, before: Tensor) -> dict[str, Tensor]:
        """Return the losses of one example (1, 3, h, w), by the names of their weights."""
        drawn = self.network(before)
        after, alpha = over(drawn, before), drawn[:, 3:]
        views, looks = (draw_views(self.settings.looks, self.random) for _ in range(2))
        old, new = self.embed(before, views), self.embed(after, views)
        green = torch.tensor(GREEN, device=before.device).view(3, 1, 1)
        found = {
            "composition": losses.distance(new, self.meant)
            + losses.direction(old, new, self.said, self.meant),
            "screen": losses.distance(self.embed(over(drawn, green), looks), self.shown),
            "structure": losses.structure(self.tokens(before), self.tokens(after)),
            "sparsity": losses.sparsity(alpha),
        }
        if self.region is not None:
            where = relevancy(self.clip, self.resized(before), self.region)
            found["relevancy"] = F.mse_loss(alpha, enlarged(where, alpha.shape[-2:]))
        return found

    def weight(self, name: str, step: int) -> float:
        """Return a loss's weight; that of the relevancy falls to zero with the last step."""
        weight = getattr(self.settings.weights, name)
        return weight * (1 - (step + 1) / self.settings.steps) if name == "relevancy" else weight

    def embed(self, pixels: Tensor, views: Views) -> Tensor:
        return self.clip.embed(views(pixels, self.clip.size))

    def tokens(self, pixels: Tensor) -> Tensor:
        """Return what the model's last layer reads, class token included, (1, tokens, width)."""
        return self.clip.look(self.resized(pixels), tokens=True).hidden_states[-2]

    def resized(self, pixels: Tensor) -> Tensor:
        size = (self.clip.size, self.clip.size)
        return F.interpolate(pixels, size=size, mode="bicubic", antialias=True).clamp(0, 1)

    @torch.no_grad()
    def drawn(self, pixels: Tensor) -> Image.Image:
        """Return the layer for the whole picture, mode RGBA."""
        levels = (self.network(pixels)[0] * 255).round().to(torch.uint8)
        return Image.fromarray(levels.permute(1, 2, 0).cpu().numpy(), "RGBA")
