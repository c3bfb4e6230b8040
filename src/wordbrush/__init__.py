"""wordbrush: edit images by editing words.

    import wordbrush as wb

    model = wb.load("storybook")
    result = wb.edit(model, "a cat on a beach at sunset", to="a dog on a beach at sunset", seed=6)
    result.grid().save("cat-to-dog.png")

Everything is imported when it is first used, so that ``import wordbrush`` is instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wordbrush.version import __version__

if TYPE_CHECKING:
    from wordbrush import parity
    from wordbrush.backbones.source_cache import SourceCache
    from wordbrush.edits import published
    from wordbrush.edits.blend import AutoBlend, Blend
    from wordbrush.edits.plan import EditPlan, Recipe
    from wordbrush.edits.prompt import Word
    from wordbrush.edits.refine import Refine
    from wordbrush.edits.replace import Replace
    from wordbrush.edits.reweight import Reweight
    from wordbrush.edits.self_attention import SelfAttention
    from wordbrush.errors import (
        AmbiguousWord,
        BadPicture,
        ControlError,
        DataError,
        EditNotApplied,
        InvalidInput,
        ModelError,
        PromptTooLong,
        TrainingError,
        UnknownWord,
        WordbrushError,
    )
    from wordbrush.guidance import ClassifierFree, Distilled, GuidedSteps, TextImage, Unguided
    from wordbrush.instruct import Editor, load_editor
    from wordbrush.inversion.edit_friendly import EditFriendly
    from wordbrush.inversion.exact import Exact
    from wordbrush.inversion.flow_edit import FlowEdit
    from wordbrush.inversion.null_text import NullText
    from wordbrush.inversion.picture import invert, invert_latents
    from wordbrush.inversion.rectified_flow import RectifiedFlow
    from wordbrush.inversion.start import Start
    from wordbrush.models import Model, load
    from wordbrush.prompt_to_prompt import edit, generate, plan
    from wordbrush.results import EditResult, Generation, Instructed
    from wordbrush.stock import control, from_pipe
    from wordbrush.vocabulary import UnknownWordWarning

_HOMES = {
    "AmbiguousWord": "errors",
    "AutoBlend": "edits.blend",
    "BadPicture": "errors",
    "Blend": "edits.blend",
    "ClassifierFree": "guidance",
    "ControlError": "errors",
    "DataError": "errors",
    "Distilled": "guidance",
    "EditFriendly": "inversion.edit_friendly",
    "EditNotApplied": "errors",
    "EditPlan": "edits.plan",
    "EditResult": "results",
    "Exact": "inversion.exact",
    "Editor": "instruct",
    "FlowEdit": "inversion.flow_edit",
    "Generation": "results",
    "GuidedSteps": "guidance",
    "Instructed": "results",
    "InvalidInput": "errors",
    "Model": "models",
    "ModelError": "errors",
    "NullText": "inversion.null_text",
    "PromptTooLong": "errors",
    "Recipe": "edits.plan",
    "RectifiedFlow": "inversion.rectified_flow",
    "Refine": "edits.refine",
    "Replace": "edits.replace",
    "Reweight": "edits.reweight",
    "SelfAttention": "edits.self_attention",
    "TrainingError": "errors",
    "SourceCache": "backbones.source_cache",
    "Start": "inversion.start",
    "TextImage": "guidance",
    "Unguided": "guidance",
    "UnknownWord": "errors",
    "UnknownWordWarning": "vocabulary",
    "Word": "edits.prompt",
    "WordbrushError": "errors",
    "control": "stock",
    "edit": "prompt_to_prompt",
    "from_pipe": "stock",
    "generate": "prompt_to_prompt",
    "invert": "inversion.picture",
    "invert_latents": "inversion.picture",
    "load": "models",
    "load_editor": "instruct",
    "plan": "prompt_to_prompt",
}
_MODULES = {"parity": "parity", "published": "edits.published"}

__all__ = [
    "AmbiguousWord",
    "AutoBlend",
    "BadPicture",
    "Blend",
    "ClassifierFree",
    "ControlError",
    "DataError",
    "Distilled",
    "EditFriendly",
    "EditNotApplied",
    "EditPlan",
    "EditResult",
    "Editor",
    "Exact",
    "FlowEdit",
    "Generation",
    "GuidedSteps",
    "Instructed",
    "InvalidInput",
    "Model",
    "ModelError",
    "NullText",
    "PromptTooLong",
    "Recipe",
    "RectifiedFlow",
    "Refine",
    "Replace",
    "Reweight",
    "SelfAttention",
    "SourceCache",
    "Start",
    "TextImage",
    "TrainingError",
    "Unguided",
    "UnknownWord",
    "UnknownWordWarning",
    "Word",
    "WordbrushError",
    "__version__",
    "control",
    "edit",
    "from_pipe",
    "generate",
    "invert",
    "invert_latents",
    "load",
    "load_editor",
    "parity",
    "plan",
    "published",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"wordbrush.{_MODULES[name]}")
    if name in _HOMES:
        return getattr(import_module(f"wordbrush.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'wordbrush' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
