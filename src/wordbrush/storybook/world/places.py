"""The ten places, drawn in flat shapes; each draws its own props from its own random stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from wordbrush.storybook.world.canvas import Canvas, Colour, mix, skyline
from wordbrush.storybook.world.layout import SIZE, stream
from wordbrush.storybook.world.light import Light
from wordbrush.storybook.world.sky import draw_sky


@dataclass(frozen=True)
class View:
    """What a place needs to know to draw itself."""

    canvas: Canvas
    light: Light
    rng: np.random.Generator
    horizon: float
    seed: int


def draw_place(canvas: Canvas, place: str, *, light: Light, horizon: float, seed: int) -> None:
    """Draw the sky and the scenery of a place."""
    view = View(canvas, light, stream(seed, "place", place), horizon, seed)
    if place not in ("room", "moon"):
        draw_sky(canvas, light, seed=seed, left=0, right=SIZE, bottom=horizon + 4)
    _PLACES[place](view)


def _beach(view: View) -> None:
    c, on, rng, h = view.canvas, view.light.on, view.rng, view.horizon
    shore = h + rng.uniform(16, 30)
    c.gradient(h, shore + 6, (on((20, 116, 190)), on((70, 196, 214))))
    for x, y, w in rng.uniform(0, 1, (6, 3)):
        c.rectangle(x * SIZE, h + 4 + y * 11, x * SIZE + 8 + 8 * w, h + 5.5 + y * 11, on((190, 236, 244)))
    coast = skyline(rng, shore, 3.0, waves=2)
    c.hills(coast - 2.5, on((246, 252, 252)))
    c.hills(coast, on((244, 216, 148), 0.7))
    palms = int(rng.integers(0, 3))
    for x, lean, size in rng.uniform(0, 1, (2, 3))[:palms]:
        edge = x * 0.24 if lean < 0.5 else 1 - x * 0.24
        _palm(view, edge * SIZE, shore + 6, height=42 + 18 * size, lean=(lean - 0.5) * 24)
    for x, y in rng.uniform(0, 1, (4, 2)):
        c.ellipse(x * SIZE, shore + 10 + y * (SIZE - shore - 12), 3.0, 2.0, on((250, 236, 200), 0.7))


def _palm(view: View, x: float, base: float, *, height: float, lean: float) -> None:
    c, on = view.canvas, view.light.on
    trunk = [(x + lean * t * t, base - height * t) for t in np.linspace(0, 1, 7)]
    c.line(trunk, 4, on((136, 92, 54)))
    top_x, top_y = trunk[-1]
    for angle in np.linspace(0, 2 * np.pi, 7, endpoint=False):
        reach_x, reach_y = np.cos(angle), np.sin(angle)
        tip = (top_x + 21 * reach_x, top_y + 10 * reach_y + 7)
        middle = (top_x + 12 * reach_x, top_y + 8 * reach_y - 5)
        c.polygon([(top_x - 2, top_y), middle, tip, (top_x + 2, top_y + 3)], on((46, 150, 74), 0.5))


def _forest(view: View) -> None:
    c, on, rng, h = view.canvas, view.light.on, view.rng, view.horizon
    c.hills(skyline(rng, h - 9, 4), on((92, 146, 104), 0.5))
    c.hills(skyline(rng, h + 4, 2), on((84, 136, 62), 0.8))
    for count, base, size, leaf in ((8, 3, 30, (48, 116, 70)), (6, 11, 44, (26, 88, 52))):
        for slot, (shift, scale) in enumerate(rng.uniform(0, 1, (count, 2))):
            x, height = (slot + shift) * SIZE / count, size * (0.75 + 0.55 * scale)
            _fir(view, x, h + base + shift * 3, height, leaf)


def _fir(view: View, x: float, base: float, height: float, leaf: Colour) -> None:
    c, on = view.canvas, view.light.on
    c.rectangle(x - 2, base - height * 0.2, x + 2, base + 1, on((98, 68, 42)))
    for tier, width in enumerate((0.32, 0.25, 0.17)):
        bottom = base - height * (0.12 + 0.25 * tier)
        wide = height * width
        c.polygon([(x - wide, bottom), (x, bottom - height * 0.4), (x + wide, bottom)], on(leaf, 0.45))


def _mountain(view: View) -> None:
    c, on, rng, h = view.canvas, view.light.on, view.rng, view.horizon
    for row, (rock, tall, low) in enumerate((((132, 148, 178), 50, 36), ((98, 114, 146), 38, 24))):
        for slot, (shift, scale) in enumerate(rng.uniform(0, 1, (3, 2))):
            x, height = (slot + 0.1 + 0.8 * shift - 0.3 * row) * SIZE / 2.6, low + (tall - low) * scale
            height = min(height, h - 4)
            base, width = h + 8, height * 1.05
            c.polygon([(x - width, base), (x, base - height), (x + width, base)], on(rock, 0.35))
            cap = [(-0.34, 0.66), (0, 1.0), (0.34, 0.66), (0.16, 0.74), (0.0, 0.62), (-0.16, 0.74)]
            c.polygon([(x + width * a, base - height * b) for a, b in cap], on((250, 252, 255)))
    c.hills(skyline(rng, h + 7, 3), on((122, 160, 98), 0.8))
    for x, y, size in rng.uniform(0, 1, (5, 3)):
        stone = on((140, 144, 150), 0.5)
        c.ellipse(x * SIZE, h + 14 + y * (SIZE - h - 18), 3 + 4 * size, 2 + 2 * size, stone)


def _desert(view: View) -> None:
    c, on, rng, h = view.canvas, view.light.on, view.rng, view.horizon
    c.hills(skyline(rng, h - 2, 7, waves=2), on((222, 164, 96), 0.6))
    c.hills(skyline(rng, h + 11, 5, waves=2), on((238, 186, 112), 0.6))
    for x, size, arm in rng.uniform(0, 1, (3, 3))[: int(rng.integers(1, 4))]:
        _saguaro(view, x * SIZE, h + 10 + 6 * arm, height=20 + 14 * size)
    c.hills(skyline(rng, h + 34, 5, waves=2), on((250, 208, 138), 0.6))


def _saguaro(view: View, x: float, base: float, *, height: float) -> None:
    c, on = view.canvas, view.light.on
    green = on((84, 142, 78), 0.3)
    for shift, low, high in ((0, 0.0, 1.0), (-6, 0.35, 0.75), (6, 0.45, 0.85)):
        c.rectangle(x + shift - 2, base - height * high, x + shift + 2, base - height * low, green)
        c.ellipse(x + shift, base - height * high, 2, 2, green)
    c.rectangle(x - 6, base - height * 0.45, x + 6, base - height * 0.35, green)


def _city(view: View) -> None:
    c, light, rng, h = view.canvas, view.light, view.rng, view.horizon
    window = (255, 222, 110) if light.lamps else light.on((206, 232, 250))
    street = h + 12
    for row, (tall, low) in enumerate(((62, 34), (44, 20))):
        x = -8.0 * rng.random()
        while x < SIZE:
            width, height, tone, hue = rng.uniform(0, 1, 4)
            width, top = 14 + 10 * width, max(street - low - (tall - low) * height, 3)
            bright, dark = ((176, 178, 196), (84, 96, 130)) if row == 0 else ((190, 132, 108), (110, 92, 110))
            wall = mix(bright, dark, tone)
            c.rectangle(x, top, x + width - 1, street, light.on(mix(wall, (150, 150, 150), 0.3 * hue), 0.15))
            c.rectangle(x, top, x + width - 1, top + 2, light.on(mix(wall, (30, 34, 50), 0.25), 1.0))
            lit = rng.random((12, 4)) < 0.7
            for i, y in enumerate(np.arange(top + 5, street - 5, 7.5)[:12]):
                for j, left in enumerate(np.arange(x + 3, x + width - 4.5, 6)[:4]):
                    if lit[i, j]:
                        c.rectangle(left, y, left + 3, y + 4, window)
            x += width
    c.rectangle(0, street, SIZE, street + 8, light.on((186, 182, 176), 0.9))
    c.rectangle(0, street + 8, SIZE, SIZE, light.on((104, 106, 116), 0.7))
    offset = rng.uniform(0, 26)
    for x in np.arange(-offset, SIZE, 26):
        c.rectangle(x, street + 30, x + 15, street + 33, light.on((240, 234, 200)))


def _lake(view: View) -> None:
    c, on, rng, h = view.canvas, view.light.on, view.rng, view.horizon
    c.hills(skyline(rng, h - 10, 6), on((96, 144, 124), 0.6))
    c.hills(skyline(rng, h - 1, 3), on((58, 116, 76), 0.6))
    bank = h + rng.uniform(26, 36)
    c.gradient(h + 4, bank + 6, (on((120, 182, 216)), on((44, 112, 176))))
    for x, y, w in rng.uniform(0, 1, (8, 3)):
        c.rectangle(x * SIZE, h + 8 + y * 18, x * SIZE + 10 + 14 * w, h + 9.5 + y * 18, on((178, 218, 236)))
    c.hills(skyline(rng, bank, 3, waves=2), on((104, 168, 78), 0.8))
    for x, side, size in rng.uniform(0, 1, (7, 3)):
        foot, height = (x * 0.24 if side < 0.5 else 1 - x * 0.24) * SIZE, 13 + 10 * size
        c.line([(foot, bank + 5), (foot + 1, bank + 5 - height)], 2, on((58, 122, 54)))
        c.ellipse(foot + 1, bank + 3 - height, 2, 5, on((124, 78, 42)))


def _meadow(view: View) -> None:
    c, on, rng, h = view.canvas, view.light.on, view.rng, view.horizon
    c.hills(skyline(rng, h - 5, 8, waves=2), on((152, 208, 106), 0.75))
    c.hills(skyline(rng, h + 8, 5, waves=2), on((112, 190, 78), 0.75))
    petals = ((250, 92, 116), (255, 224, 76), (255, 255, 255), (196, 116, 226))
    for x, y, kind in rng.uniform(0, 1, (26, 3))[: int(rng.integers(10, 27))]:
        down = h + 15 + y * (SIZE - h - 16)
        radius = 1.4 + 1.6 * (down - h) / (SIZE - h)
        c.ellipse(x * SIZE, down, radius, radius, on(petals[int(kind * 4)]))


def _volcano(view: View) -> None:
    c, on, rng, h = view.canvas, view.light.on, view.rng, view.horizon
    x, base = rng.uniform(0.2, 0.8) * SIZE, h + 10
    height = min(rng.uniform(46, 60), base - 14)
    for k, (shift, size) in enumerate(rng.uniform(0, 1, (5, 2))):
        tone = 96 + 14 * k
        puff_x, puff_y = x + (shift - 0.4) * 10 + 3 * k, base - height - 4 - 5 * k
        c.ellipse(puff_x, puff_y, 7 + 2 * k + 3 * size, 5 + k + 2 * size, on((tone, tone - 6, tone - 4)))
    slope = ((-58, 0), (-12, 1), (12, 1), (58, 0))
    c.polygon([(x + dx, base - height * up) for dx, up in slope], on((122, 84, 76), 0.25))
    c.rectangle(0, base, SIZE, SIZE, on((104, 86, 82), 0.55))
    lava = ((-12, 1), (12, 1), (8, 0.82), (4, 0.45), (0, 0.8), (-6, 0.62))
    c.polygon([(x + dx, base - height * up) for dx, up in lava], (255, 104, 28))
    c.hills(skyline(rng, base, 3), on((104, 86, 82), 0.55))
    for left, down, length in rng.uniform(0, 1, (5, 3)):
        y = base + 8 + down * (SIZE - base - 10)
        c.line([(left * SIZE, y), (left * SIZE + 9 + 9 * length, y + 2.5)], 2.5, (250, 108, 36))


def room_window(seed: int, horizon: float) -> tuple[int, int, int, int]:
    """The opening of the room's window, (x0, y0, x1, y1) in whole pixels; beyond it lies the weather."""
    rng = stream(seed, "window")
    width = rng.uniform(84, 104)
    left = rng.uniform(6, SIZE - 6 - width)
    return round(left), round(rng.uniform(7, 12)), round(left + width), round(horizon - rng.uniform(0, 4))


def _room(view: View) -> None:
    c, light, rng = view.canvas, view.light, view.rng
    x0, y0, x1, y1 = room_window(view.seed, view.horizon)
    draw_sky(c, light, seed=view.seed, left=x0, right=x1, bottom=y1)
    walls = ((238, 204, 166), (188, 218, 204), (222, 196, 228), (242, 220, 150), (186, 206, 232))
    wall, floor = light.on(walls[rng.integers(5)]), view.horizon + rng.uniform(10, 16)
    for edges in ((0, 0, SIZE, y0), (0, y1, SIZE, floor), (0, y0, x0, y1), (x1, y0, SIZE, y1)):
        c.rectangle(*edges, wall)
    frame = light.on((255, 252, 244))
    middle = (x0 + x1) / 2
    c.rectangle(x0 - 3, y0 - 3, x1 + 3, y0, frame)
    c.rectangle(x0 - 5, y1, x1 + 5, y1 + 3, frame)
    for left, right in ((x0 - 3, x0), (middle - 1.5, middle + 1.5), (x1, x1 + 3)):
        c.rectangle(left, y0, right, y1, frame)
    boards = ((174, 116, 68), (146, 98, 66), (196, 146, 96))[rng.integers(3)]
    c.rectangle(0, floor, SIZE, SIZE, light.on(boards))
    c.rectangle(0, floor - 3, SIZE, floor, frame)
    rugs = ((196, 64, 72), (64, 104, 168), (88, 150, 110))
    rug, x = rugs[rng.integers(3)], rng.uniform(0.3, 0.7) * SIZE
    y, wide = (floor + SIZE) / 2 + 2, rng.uniform(36, 52)
    c.ellipse(x, y, wide, (SIZE - floor) * 0.36, light.on(rug))
    c.ellipse(x, y, wide - 6, (SIZE - floor) * 0.36 - 4, light.on(mix(rug, (255, 240, 220), 0.45)))


def _moon(view: View) -> None:
    c, light, rng, h = view.canvas, view.light, view.rng, view.horizon
    depth = 0.5 if light.time in ("snow", "fog") else 0.72
    deep = tuple(mix(colour, (10, 10, 38), depth) for colour in light.sky())
    c.gradient(0, h + 14, deep)
    for x, y, size in rng.uniform(0, 1, (26, 3)):
        radius = 0.7 + 0.6 * size
        c.ellipse(x * SIZE, y * (h + 4), radius, radius, mix(deep[0], (250, 248, 236), 0.85))
    x, y, r = rng.uniform(0.12, 0.88) * SIZE, rng.uniform(0.2, 0.5) * h, rng.uniform(11, 15)
    c.ellipse(x, y, r, r, light.on((64, 132, 232)))
    for shift_x, shift_y, size in ((-0.35, -0.3, 0.42), (0.4, 0.3, 0.36), (-0.2, 0.55, 0.26)):
        c.ellipse(x + shift_x * r, y + shift_y * r, size * r, size * r * 0.8, light.on((92, 190, 104)))
    c.hills(skyline(rng, h + 6, 4), light.on((184, 184, 192), 0.7))
    for across, down, size in rng.uniform(0, 1, (8, 3)):
        y = h + 14 + down * (SIZE - h - 18)
        r = 4 + 7 * size
        c.ellipse(across * SIZE, y, r, r * 0.4, light.on((138, 138, 148), 0.35))
        c.ellipse(across * SIZE + 0.6, y + 0.9, r * 0.85, r * 0.3, light.on((162, 162, 170), 0.5))


_PLACES: dict[str, Callable[[View], None]] = {
    "beach": _beach,
    "forest": _forest,
    "mountain": _mountain,
    "desert": _desert,
    "city": _city,
    "lake": _lake,
    "meadow": _meadow,
    "volcano": _volcano,
    "room": _room,
    "moon": _moon,
}
