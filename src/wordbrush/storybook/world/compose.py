"""Put a picture together: place, subject, companion, air, style."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from wordbrush.storybook.scene import Scene, UnknownScene
from wordbrush.storybook.world.canvas import Canvas
from wordbrush.storybook.world.glyphs import RIM, Sprite, aspect, sprite
from wordbrush.storybook.world.layout import SIZE, Layout, layout
from wordbrush.storybook.world.light import RIMS, Light
from wordbrush.storybook.world.places import draw_place, room_window
from wordbrush.storybook.world.styles import apply_style
from wordbrush.storybook.world.weather import AIR, draw_fog, falling

_MARGIN = 3
_LONGEST = 90.0
_AIRBORNE = ("balloon", "kite", "butterfly", "umbrella", "lantern")


def render(scene: Scene, seed: int) -> np.ndarray:
    """Draw a scene: uint8 of shape (128, 128, 3).

    A pure function of the scene and a 64-bit seed. The seed decides everything that the scene leaves open
    (position, size, props, clouds, how much snow); for one seed, changing one attribute of the scene
    changes only what that attribute stands for. Raises ``MissingFont`` where Noto Color Emoji is not
    installed.
    """
    plan = layout(seed)
    light = Light(scene.time, plan.amount)
    canvas = Canvas()
    draw_place(canvas, scene.place, light=light, horizon=plan.horizon, seed=seed)
    picture = canvas.finish()
    indoors = scene.place == "room"
    draw_fog(picture, light, seed=seed, horizon=plan.horizon, indoors=indoors)
    figures = [_subject(scene, plan)]
    _stand(picture, *figures[0], light=light, shadow=True)
    if scene.companion:
        figures.append(_companion(scene.companion, plan))
        _stand(picture, *figures[1], light=light, shadow=scene.companion not in _AIRBORNE)
    veil = falling(light, seed=seed, indoors=indoors)
    if veil and indoors:
        veil = _outside(veil, room_window(seed, plan.horizon), figures)
    # Oil's dabs would swallow flakes and drops together with what is behind them: there they are painted last.
    air_last = scene.style == "oil painting"
    if veil and not air_last:
        picture.paste(AIR[scene.time], (0, 0), veil)
    drawn = apply_style(np.array(picture), scene.style, seed=seed)
    if veil and air_last:
        picture = Image.fromarray(drawn)
        picture.paste(AIR[scene.time], (0, 0), veil)
        drawn = np.array(picture)
    return drawn


def _outside(
    veil: Image.Image, window: tuple[int, int, int, int], figures: list[tuple[Sprite, tuple[int, int]]]
) -> Image.Image:
    """What of a veil is seen from the room: only through its window and behind its figures."""
    seen = Image.new("L", veil.size)
    seen.paste(veil.crop(window), window[:2])
    for figure, corner in figures:
        seen.paste(0, corner, figure.rim)
    return seen


def mask(scene: Scene, seed: int, part: str = "subject") -> np.ndarray:
    """The silhouette of the "subject" or "companion" before the style bends it: bool of shape (128, 128).

    The whole outline, also where the companion hides a part of the subject; all False for an absent
    companion. Raises ``UnknownScene`` for another part and ``MissingFont`` where Noto Color Emoji is not
    installed.
    """
    if part not in ("subject", "companion"):
        raise UnknownScene(f"unknown part {part!r}; a picture has a 'subject' and perhaps a 'companion'")
    silhouette = Image.new("L", (SIZE, SIZE))
    if part == "subject":
        figure, corner = _subject(scene, layout(seed))
        silhouette.paste(figure.alpha, corner)
    elif scene.companion:
        figure, corner = _companion(scene.companion, layout(seed))
        silhouette.paste(figure.alpha, corner)
    return np.asarray(silhouette) > 127


def _subject(scene: Scene, plan: Layout) -> tuple[Sprite, tuple[int, int]]:
    """The subject's sprite and the place of its upper left corner."""
    ratio = min(max(aspect(scene.subject), 0.6), 1.7)
    width, height = plan.subject_size * ratio**0.5, plan.subject_size / ratio**0.5
    fit = min(1.0, _LONGEST / width, min(_LONGEST, plan.subject_base - _MARGIN) / height)
    return _place_sprite(scene.subject, scene.colour, width * fit, x=plan.subject_x, base=plan.subject_base)


def _companion(name: str, plan: Layout) -> tuple[Sprite, tuple[int, int]]:
    """The companion's sprite and the place of its upper left corner."""
    width = plan.companion_size * min(aspect(name), 1.0)
    base = plan.companion_low
    if name in _AIRBORNE:
        base = plan.companion_high + plan.companion_size / 2
    return _place_sprite(name, None, width, x=plan.companion_x, base=base)


def _place_sprite(
    name: str, colour: str | None, width: float, *, x: float, base: float
) -> tuple[Sprite, tuple[int, int]]:
    """Scale a glyph and set it on the line ``base``, its middle at ``x``, moved as needed to lie in the frame."""
    columns = 2 * round(width / 2)
    rows = round(columns / aspect(name))
    left = min(max(round(x - columns / 2), _MARGIN), SIZE - _MARGIN - columns)
    top = min(max(round(base - rows), _MARGIN), SIZE - _MARGIN - rows)
    return sprite(name, colour, columns, rows), (left - RIM, top - RIM)


def _stand(
    picture: Image.Image, figure: Sprite, corner: tuple[int, int], *, light: Light, shadow: bool
) -> None:
    """Draw a figure with its rim and, if it stands on the ground, its shadow."""
    if shadow:
        _cast_shadow(picture, figure, corner)
    rim, opacity = RIMS[light.time]
    picture.paste(rim, corner, figure.rim.point(lambda value: value * opacity))
    picture.paste(light.on_figure(figure.picture), corner, figure.alpha)


def _cast_shadow(picture: Image.Image, figure: Sprite, corner: tuple[int, int]) -> None:
    width, height = figure.alpha.size
    strip = Image.new("L", (width, 14))
    ImageDraw.Draw(strip).ellipse((RIM + 2, 4, width - RIM - 3, 10), fill=120)
    soft = strip.filter(ImageFilter.GaussianBlur(1.5))
    picture.paste((16, 18, 34), (corner[0], corner[1] + height - RIM - 8), soft)
