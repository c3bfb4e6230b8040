"""The ways of inverting a picture, by name."""

from __future__ import annotations

from wordbrush.errors import InvalidInput, nearest
from wordbrush.inversion.ddim import DDIM
from wordbrush.inversion.direct import Direct
from wordbrush.inversion.edit_friendly import EditFriendly
from wordbrush.inversion.exact import Exact
from wordbrush.inversion.flow_edit import FlowEdit
from wordbrush.inversion.negative_prompt import NegativePrompt
from wordbrush.inversion.null_text import NullText
from wordbrush.inversion.rectified_flow import RectifiedFlow
from wordbrush.inversion.task import Method
from wordbrush.models import Model
from wordbrush.sampling import is_flow

METHODS = (DDIM, NullText, NegativePrompt, Direct, EditFriendly, Exact)
# For models that were trained on straight paths from noise to picture, for which the others are not.
FLOW_METHODS = (RectifiedFlow, FlowEdit)

DEFAULT, FLOW_DEFAULT = Direct, RectifiedFlow
"""The methods that are used unless another is asked for; why, is measured in ``docs/real-images.md``."""


def method_of(choice: str | Method) -> Method:
    """Return a method given by name, with its published settings, or as it is.

    Raises:
        InvalidInput: there is no such method.
    """
    known = {kind.name: kind for kind in (*METHODS, *FLOW_METHODS)}
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


def method_for(model: Model, choice: str | Method | None) -> Method:
    """Return the method of ``method_of`` for a model; None for the default of such models.

    Raises:
        InvalidInput: there is no such method, or it is for models that were trained otherwise.
    """
    straight = is_flow(model.scheduler)
    if choice is None:
        return FLOW_DEFAULT() if straight else DEFAULT()
    chosen = method_of(choice)
    fitting, other = (FLOW_METHODS, METHODS) if straight else (METHODS, FLOW_METHODS)
    if isinstance(chosen, other):
        trained = "was trained on straight paths" if straight else "was not trained on straight paths"
        names = " or ".join(kind.name for kind in fitting)
        raise InvalidInput(
            f"the inversion {chosen.name!r} is not for {model.name}, which {trained}: use {names}"
        )
    return chosen
