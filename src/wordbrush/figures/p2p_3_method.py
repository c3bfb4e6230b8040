"""Figure 3: the method. Top: how a prompt becomes attention maps. Bottom: the three edits, with real maps in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

import wordbrush as wb
from wordbrush.figures.brush import INJECTED, Brush
from wordbrush.figures.caption import ACCENT, Run, Text, changed, math, prompt, quiet
from wordbrush.figures.grid import GAP, SIZE
from wordbrush.figures.heat import heat
from wordbrush.figures.layout import INK, RULE, Page

SEED = 3
SOURCE = "a cat on a beach"
SWAPPED = "a dog on a beach"
EXTENDED = "a cat on a beach at sunset"
FADED, STRENGTH = "sunset", 2.0

FROM_SOURCE = "#1f5fa8"  # frames maps of the source
FROM_TARGET = ACCENT  # frames maps of the target
TILE = 0.27
PITCH = TILE + 0.02
SYMBOL = 0.24  # room for the name at the left of a strip
PANEL = 2.35
BETWEEN = 0.2
WIDTH = 3 * PANEL + 2 * BETWEEN


@dataclass(frozen=True)
class Maps:
    """The words of a prompt and the average map of each, shape (h, w)."""

    words: tuple[str, ...]
    weights: tuple[np.ndarray, ...]


def draw(brush: Brush) -> Page:
    """Draw the diagram; every map in it is one of the model's own, averaged over the steps."""
    prompts = [SOURCE, SWAPPED, EXTENDED]
    generation = brush.generate(prompts, seed=SEED, maps=True)
    plain, swapped, extended = (
        Maps(tuple(words), tuple(generation.maps.of(position, image=image) for position in range(len(words))))
        for image, words in enumerate(text.split(" ") for text in prompts)
    )
    swap = brush.edit(SOURCE, [SWAPPED], seed=SEED, **INJECTED)
    extend = brush.edit(SOURCE, [EXTENDED], seed=SEED, **INJECTED)
    fade = brush.edit(EXTENDED, [EXTENDED], seed=SEED, edits=[wb.Reweight({FADED: STRENGTH})], **INJECTED)

    page = Page()
    y = (
        page.text([Run("Text to image cross attention", "bold")], WIDTH / 2, 0, size=SIZE + 2, align="center")
        + 2 * GAP
    )
    y = attention(page, swap.source, plain, y) + 3 * GAP
    page.line([(0, y), (WIDTH, y)])
    y += 2 * GAP
    y += (
        page.text([Run("Cross attention control", "bold")], WIDTH / 2, y, size=SIZE + 2, align="center") + GAP
    )

    left = [number * (PANEL + BETWEEN) for number in range(3)]
    kept = (True,) * len(plain.words)
    new = tuple(word_number < len(plain.words) for word_number in range(len(extended.words)))
    bottoms = [
        panel(page, left[0], y, "Word swap", plain, swapped, kept, swap, changed(SOURCE, SWAPPED)),
        panel(
            page, left[1], y, "Adding a new phrase", plain, extended, new, extend, changed(SOURCE, EXTENDED)
        ),
        fader(page, left[2], y, extended, fade),
    ]
    for x in left[1:]:
        page.line([(x - BETWEEN / 2, y), (x - BETWEEN / 2, max(bottoms))])
    return page


def attention(page: Page, image: Image.Image, maps: Maps, y: float) -> float:
    """Draw pixels and words meeting in attention maps, from left to right; return the bottom edge."""
    side, middle = 0.85, y + 0.72
    first = 0.35
    page.picture(noisy(image, 0.75), first, middle - side / 2, width=side, height=side)
    under = middle + side / 2 + 0.5 * GAP
    page.text(
        [*quiet("pixel features "), *math(r"\phi(z_t)")], first + side / 2, under, size=SIZE, align="center"
    )

    queries = named_box(page, first + 1.4, middle - 0.3, math("Q"), "pixel queries", FROM_SOURCE)
    keys = named_box(page, first + 2.1, middle - 0.3, math("K"), "token keys", FROM_TARGET)
    page.arrow((first + side + GAP, middle), (queries - GAP, middle))
    page.text(math(r"\times"), (queries + 0.42 + keys) / 2, middle - 0.07, size=SIZE + 2, align="center")
    page.arrow((keys + 0.42 + GAP, middle), (keys + 1.0, middle))

    x, step = keys + 1.1, 0.29
    for number, (word, weights) in enumerate(zip(maps.words, maps.weights, strict=True)):
        place = (x + number * step, middle - 0.5 + number * 0.09)
        page.box(place[0] - 0.02, place[1] - 0.02, 0.56, 0.56, edge=None, fill="white", rounded=0)
        page.picture(heat(weights), *place, width=0.52, height=0.52)
        page.text([Run(word, "italic")], place[0] + 0.52, place[1] - 0.145, size=SIZE - 1, align="right")
    last = x + (len(maps.words) - 1) * step + 0.52
    page.text([*quiet("attention maps "), *math("M_t")], (x + last) / 2, under, size=SIZE, align="center")

    page.text(math(r"\times"), last + 0.14, middle - 0.07, size=SIZE + 2, align="center")
    values = named_box(page, last + 0.28, middle - 0.3, math("V"), "token values", FROM_TARGET)
    end = values + 0.42
    page.arrow((end + GAP, middle), (end + 0.35, middle))
    page.picture(noisy(image, 0.45), end + 0.4, middle - side / 2, width=side, height=side)
    page.text(
        [*quiet("output "), *math(r"\hat{\phi}(z_t)")], end + 0.4 + side / 2, under, size=SIZE, align="center"
    )

    above = middle - 0.3 - 0.5 * GAP
    for box in (keys, values):
        page.arrow((box + 0.21, above - 0.3), (box + 0.21, above))
        page.text(prompt(" ".join(maps.words)), box + 0.21, above - 0.43, size=SIZE - 1, align="center")
    return under + 0.15


def named_box(page: Page, x: float, y: float, symbol: Text, name: str, colour: str) -> float:
    """Draw a matrix with its symbol inside and its name below; return its left edge."""
    page.box(x, y, 0.42, 0.6, edge=colour, line=1.0, fill=f"{colour}18")
    page.text(symbol, x + 0.21, y + 0.21, size=SIZE + 3, align="center")
    page.text(quiet(name), x + 0.21, y + 0.6 + 0.5 * GAP, size=SIZE - 1, align="center")
    return x


def panel(
    page: Page,
    x: float,
    y: float,
    title: str,
    source: Maps,
    target: Maps,
    injected: Sequence[bool],
    result: wb.EditResult,
    caption: Text,
) -> float:
    """Draw one edit: the source's maps, the target's, and which of them are used; return the bottom edge."""
    y = head(page, x, y, title)
    y = strip(page, x, y, math("M_t", FROM_SOURCE), source, [FROM_SOURCE] * len(source.words))
    y = strip(page, x, y, math("M_t^*", FROM_TARGET), target, [FROM_TARGET] * len(target.words))
    page.arrow((x + PANEL / 2, y - 0.5 * GAP), (x + PANEL / 2, y + 0.13))
    y += 0.16
    used = [source.weights[n] if kept else target.weights[n] for n, kept in enumerate(injected)]
    frames = [FROM_SOURCE if kept else FROM_TARGET for kept in injected]
    y = strip(page, x, y, math(r"\hat{M}_t"), Maps(target.words, tuple(used)), frames)
    return pictures(page, x, y, result, caption)


def fader(page: Page, x: float, y: float, maps: Maps, result: wb.EditResult) -> float:
    """Draw re-weighting: one map is scaled, the others are kept; return the bottom edge."""
    top = head(page, x, y, "Attention re-weighting")
    y = strip(page, x, top, math("M_t", FROM_SOURCE), maps, [FROM_SOURCE] * len(maps.words))
    scaled = maps.words.index(FADED)
    word = tile_left(x, scaled, len(maps.words)) + TILE / 2
    below = y + (y - top) + 0.16  # where the other two panels show what is used
    page.arrow((word, y + 0.02), (word, below - 0.02), colour=FROM_TARGET)
    page.text(
        [Run("scaled by "), *math(f"c = {STRENGTH:g}")],
        word - 0.06,
        (y + below) / 2 - 0.06,
        size=SIZE,
        align="right",
    )
    y = below
    tops = [float(weights.max()) for weights in maps.weights]
    tops[scaled] /= STRENGTH
    frames = [FROM_TARGET if number == scaled else FROM_SOURCE for number in range(len(maps.words))]
    y = strip(page, x, y, math(r"\hat{M}_t"), maps, frames, tops)
    return pictures(page, x, y, result, prompt(EXTENDED, {FADED: "(↑)"}))


def head(page: Page, x: float, y: float, title: str) -> float:
    """Place the title of a panel; return its bottom edge."""
    return y + page.text([Run(title, "italic")], x + PANEL / 2, y, size=SIZE + 1, align="center") + 0.5 * GAP


def tile_left(x: float, number: int, count: int) -> float:
    """Return the left edge of a word's tile in the panel at x; ``count`` tiles stand in its middle."""
    return x + (PANEL - count * PITCH) / 2 + SYMBOL / 2 + number * PITCH


def strip(
    page: Page,
    x: float,
    y: float,
    symbol: Text,
    maps: Maps,
    frames: Sequence[str],
    tops: Sequence[float | None] = (),
) -> float:
    """Draw one row of maps with their words above and its symbol at the left; return the bottom edge."""
    below = y + 0.15
    count = len(maps.words)
    page.text(symbol, tile_left(x, 0, count) - SYMBOL / 2, below + 0.05, size=SIZE + 1, align="center")
    for number, (word, weights) in enumerate(zip(maps.words, maps.weights, strict=True)):
        left = tile_left(x, number, count)
        page.text([Run(word, "italic", frames[number])], left + TILE / 2, y, size=SIZE - 1, align="center")
        page.picture(heat(weights, top=tops[number] if tops else None), left, below, width=TILE, height=TILE,
                     edge=frames[number])  # fmt: skip
    return below + TILE + GAP


def pictures(page: Page, x: float, y: float, result: wb.EditResult, caption: Text) -> float:
    """Draw the source and the edited picture with the prompt below; return the bottom edge."""
    side = 0.72
    left = x + PANEL / 2 - side - 0.14
    y += GAP
    page.picture(result.source, left, y, width=side, height=side, edge=INK)
    page.arrow((left + side + 0.04, y + side / 2), (left + side + 0.24, y + side / 2))
    page.picture(result.images[0], left + side + 0.28, y, width=side, height=side, edge=RULE)
    y += side + 0.5 * GAP
    return y + page.text(caption, x + PANEL / 2, y, size=SIZE, align="center", width=PANEL)


def noisy(image: Image.Image, share: float) -> Image.Image:
    """Return ``image`` as it might look while it is denoised: a sign in the diagram, no output of the model."""
    pixels = np.asarray(image.convert("RGB").resize((48, 48), Image.Resampling.BOX), dtype=np.float64)
    noise = np.random.default_rng(SEED).normal(128, 70, pixels.shape)
    mixed = (1 - share) * pixels + share * noise
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8)).resize((480, 480), Image.Resampling.NEAREST)
