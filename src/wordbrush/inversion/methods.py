"""The ways of inverting a picture, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

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
"""The methods that are used unless another is asked for.

``Direct`` because it changes what any word changes, in any of the steps; by what ``docs/real-images.md`` has measured,
``EditFriendly(skipped=0.36)`` keeps more where a subject is swapped. ``RectifiedFlow`` without a measurement: like
``Direct`` it holds the source to the picture, and its steps can be cached, as FlowEdit's cannot.
"""


def method_of(choice: str | Method, settings: Mapping[str, str] | None = None) -> Method:
    """Return a method given by name, with its published settings, or as it is.

    Args:
        settings: of a method given by name, other than the published ones: name → number as text, or ``"none"``.

    Raises:
        InvalidInput: there is no such method, or no such setting of it.
    """
    known = {kind.name: kind for kind in (*METHODS, *FLOW_METHODS)}
    if isinstance(choice, str):
        if choice not in known:
            raise InvalidInput(
                f"there is no inversion {choice!r}{nearest(choice, known)}; the methods are {', '.join(known)}"
            )
        return known[choice](**_typed(known[choice], settings or {}))
    if isinstance(choice, type) or not callable(choice) or not hasattr(choice, "name"):
        raise InvalidInput(
            f"a method is one of {', '.join(known)}, or NullText(…) and the like, not {choice!r}"
        )
    return choice


def _typed(kind: Any, settings: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings of a method as the numbers that they are."""
    types = {field.name: str(field.type) for field in fields(kind)}
    typed: dict[str, Any] = {}
    for name, text in settings.items():
        if name not in types:
            has = f"its settings are {', '.join(types)}" if types else "it has none"
            raise InvalidInput(
                f"the inversion {kind.name!r} has no setting {name!r}{nearest(name, types)}; {has}"
            )
        whole, optional = types[name].startswith("int"), types[name].endswith("None")
        try:
            typed[name] = None if optional and text == "none" else int(text) if whole else float(text)
        except ValueError as error:
            expected = f"a {'whole ' if whole else ''}number{' or none' if optional else ''}"
            raise InvalidInput(
                f"{name} of the inversion {kind.name!r} is {expected}, not {text!r}"
            ) from error
    return typed


def method_for(model: Model, choice: str | Method | None) -> Method:
    """Return the method of ``method_of`` for a model; None for the default of such models.

    Raises:
        InvalidInput: there is no such method, or it is for models that were trained otherwise.
    """
    straight = is_flow(model.scheduler)
    if choice is None:
        return FLOW_DEFAULT() if straight else DEFAULT()
    chosen = method_of(choice)
    if isinstance(chosen, METHODS if straight else FLOW_METHODS):
        trained = "was trained on straight paths" if straight else "was not trained on straight paths"
        raise InvalidInput(
            f"the inversion {chosen.name!r} is not for {model.name}, which {trained}: use "
            + " or ".join(names_for(model))
        )
    return chosen


def names_for(model: Model) -> list[str]:
    """Return the names of the methods that are for a model, its default first."""
    kinds = [FLOW_DEFAULT, *FLOW_METHODS] if is_flow(model.scheduler) else [DEFAULT, *METHODS]
    return list(dict.fromkeys(kind.name for kind in kinds))
