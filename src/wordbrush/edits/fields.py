"""A plan as plain values, for programs that read it: what ``EditPlan.describe`` tells people."""

from __future__ import annotations

from typing import Any

from wordbrush.edits.blend import BlendRule, followed
from wordbrush.edits.plan import Edit, EditPlan, related
from wordbrush.edits.prompt import Prompt, named
from wordbrush.edits.reweight import Reweight
from wordbrush.edits.self_attention import SelfAttention
from wordbrush.edits.window import Schedule, Window


def fields(plan: EditPlan) -> dict[str, Any]:
    """Return a plan as JSON can hold it; windows are [start, stop], fractions of the run.

    ``told`` is the table that people read.
    ``targets`` has one entry for each: how its words correspond to the source's, its edits and its self-attention.
    ``blend`` is null for none, ``blocks`` for all.
    """
    each = zip(plan.targets, plan.edits, plan.self_attention, strict=True)
    return {
        "told": plan.describe(),
        "source": plan.source.text,
        "targets": [
            {
                "prompt": target.text,
                "words": _words(plan.source, target),
                "edits": [_edit(edit) for edit in edits],
                "self_attention": _self_attention(injected),
            }
            for target, edits, injected in each
        ],
        "blend": None if plan.blend is None else _blend(plan.blend, plan),
        "blocks": None if plan.blocks is None else sorted(plan.blocks),
    }


def _words(source: Prompt, target: Prompt) -> list[dict[str, Any]]:
    """Return the words of a target, and those that were deleted, with what they were in the source."""
    return [
        {"word": new or None, "tokens": list(match.target), "is": match.relation.value, "source": old or None}
        for match, old, new in related(source, target)
    ]


def _edit(edit: Edit) -> dict[str, Any]:
    """Return what kind of edit it is and its line of the plan, with windows and strengths where it has such."""
    told: dict[str, Any] = {"edit": type(edit).__name__, "told": edit.describe()}
    if isinstance(edit.schedule, Schedule):
        told["until"] = _window(edit.schedule.default)
        told["words"] = {named(word): _window(window) for word, window in edit.schedule.words}
    if isinstance(edit, Reweight):
        told["strengths"] = {named(word): strength for word, strength in edit.strengths.items()}
        told["renormalised"] = bool(edit.renormalise)
    return told


def _self_attention(injected: SelfAttention) -> dict[str, Any]:
    where = {"max_pixels": injected.max_pixels, "branches": injected.branches}
    return {"until": _window(injected.window), **where}


def _blend(rule: BlendRule, plan: EditPlan) -> dict[str, Any]:
    """Return what kind of blend it is and its line of the plan, with the words whose regions may change."""
    words = followed(rule, plan.source, plan.targets)
    return {
        "blend": type(rule).__name__,
        "told": rule.describe(),
        "threshold": rule.threshold,
        "source": [before for before, _ in words],
        "targets": [after for _, after in words],
    }


def _window(window: Window) -> list[float]:
    return [window.start, window.stop]
