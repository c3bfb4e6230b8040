"""The ways of inverting a picture, by name."""

from __future__ import annotations

from wordbrush.errors import InvalidInput, nearest
from wordbrush.inversion.ddim import DDIM
from wordbrush.inversion.direct import Direct
from wordbrush.inversion.edit_friendly import EditFriendly
from wordbrush.inversion.exact import Exact
from wordbrush.inversion.negative_prompt import NegativePrompt
from wordbrush.inversion.null_text import NullText
from wordbrush.inversion.task import Method

METHODS = (DDIM, NullText, NegativePrompt, Direct, EditFriendly, Exact)


def method_of(choice: str | Method) -> Method:
    """Return a method given by name, with its published settings, or as it is.

    Raises:
        InvalidInput: there is no such method.
    """
    known = {kind.name: kind for kind in METHODS}
    if isinstance(choice, str):
        if choice not in known:
            raise InvalidInput(
                f"there is no inversion {choice!r}{nearest(choice, known)}; the methods are {', '.join(known)}"
            )
        return known[choice]()
    if isinstance(choice, type) or not callable(choice) or not hasattr(choice, "name"):
        raise InvalidInput(
            f"a method is one of {', '.join(known)}, or NullText(…) and the like, not {choice!r}"
        )
    return choice
