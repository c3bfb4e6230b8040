"""What the first argument of ``wordbrush edit`` is: a prompt, a picture or an inverted picture."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from wordbrush.cli.output import OTHER_PICTURES
from wordbrush.cli.parse import BadOption

INVERTED = ".safetensors"
Kind = Literal["prompt", "picture", "inverted"]


def kind_of(source: str, *, caption: str | None, as_prompt: bool) -> Kind:
    """Say what SOURCE is.

    With --as-prompt it is a prompt; with --caption a picture; a name that ends in .safetensors is an inverted picture;
    everything else is a prompt, unless a file has that name or it ends like the name of a picture: then the command
    stops and asks, since a prompt and a forgotten --caption look alike.
    """
    if as_prompt:
        if caption is not None:
            raise BadOption(
                "--caption is for pictures and --as-prompt says that SOURCE is none: leave one out"
            )
        return "prompt"
    ending = Path(source).suffix.lower()
    if ending == INVERTED:
        if caption is not None:
            raise BadOption(f"the inverted picture {source} brings its own caption: leave --caption out")
        return "inverted"
    if caption is not None:
        if not is_file(source):
            raise BadOption(f"--caption says what a picture shows, and there is no file {source!r}")
        return "picture"
    if is_file(source):
        raise BadOption(
            f"{source!r} is a file: say with --caption what the picture shows, or, if it is meant as a prompt, add "
            "--as-prompt"
        )
    if ending in {".png", *OTHER_PICTURES}:
        raise BadOption(f"there is no picture {source!r}; if it is meant as a prompt, add --as-prompt")
    return "prompt"


def is_file(name: str) -> bool:
    """Whether a file has this name; a text that cannot be a name is none."""
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False
