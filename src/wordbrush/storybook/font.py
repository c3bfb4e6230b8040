"""Where the font of the storybook's subjects is."""

from __future__ import annotations

import os
from pathlib import Path

FONT_PATH = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
FONT_NAME = "Noto Color Emoji"
FONT_VARIABLE = "WORDBRUSH_EMOJI_FONT"
FONT_REMEDY = (
    "install the Debian package fonts-noto-color-emoji, "
    f"or set {FONT_VARIABLE} to the path of NotoColorEmoji.ttf"
)


def font_path() -> Path:
    """Return the path that the environment names, else Debian's; there need not be a file."""
    return Path(os.environ.get(FONT_VARIABLE) or FONT_PATH)
