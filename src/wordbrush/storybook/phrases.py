"""Wordings of instructions with slots, and what a scene fills them with."""

from __future__ import annotations

from wordbrush.storybook.scene import Scene, with_article

AT = {
    "noon": "at noon",
    "sunset": "at sunset",
    "night": "at night",
    "rain": "in the rain",
    "snow": "in the snow",
    "fog": "in the fog",
}
IN = {
    "beach": "on the beach",
    "forest": "in the forest",
    "mountain": "near the mountain",
    "desert": "in the desert",
    "city": "in the city",
    "lake": "by the lake",
    "meadow": "in the meadow",
    "volcano": "near the volcano",
    "room": "in the room",
    "moon": "on the moon",
}
STYLE = {
    "plain": "an ordinary picture",
    "watercolor": "a watercolor",
    "oil painting": "an oil painting",
    "pixel art": "a picture in pixel art",
    "pencil sketch": "a pencil sketch",
}


def said(wording: str, attribute: str, before: Scene, after: Scene) -> str:
    """Return the wording about two scenes that differ in ``attribute``.

    Args:
        wording: with any of the slots ``{old}``, ``{a_old}``, ``{the_old}`` and the same of ``new``, ``{in_new}`` a
            place, ``{at_new}`` a time or weather, ``{new_style}``, and ``{subject}``.
    """
    old, new = (str(getattr(scene, attribute)) for scene in (before, after))
    return wording.format(
        old=old,
        new=new,
        a_old=with_article(old),
        a_new=with_article(new),
        the_old=f"the {old}",
        the_new=f"the {new}",
        in_new=IN.get(new),
        at_new=AT.get(new),
        new_style=STYLE.get(new),
        subject=before.subject,
    )
