"""The storybook's pictures: ``render`` draws a scene, ``mask`` tells where its subject and companion are."""

from wordbrush.storybook.world.compose import mask, render
from wordbrush.storybook.world.glyphs import MissingFont
from wordbrush.storybook.world.layout import SIZE

__all__ = ["SIZE", "MissingFont", "mask", "render"]
