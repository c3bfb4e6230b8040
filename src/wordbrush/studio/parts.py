"""What the tabs have in common: how their controls answer, and what the page says while work goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial, wraps
from typing import Any, ParamSpec

import gradio as gr

from wordbrush.errors import WordbrushError
from wordbrush.studio import view
from wordbrush.studio.desk import Superseded
from wordbrush.studio.turns import Done, Step, Stopped, Update, Waiting

HTML = partial(gr.HTML, apply_default_css=False)
"""The one Gradio component of our own: HTML as ``page.css`` has it, without Gradio's styles for prose."""

QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
"""Of events that are answered at once."""

SLOW: dict[str, Any] = {
    "trigger_mode": "multiple",
    "show_progress": "hidden",
    "api_visibility": "private",
}
"""Of events that begin work; a second one does not wait for the first, which it supersedes."""

PATIENCE = 0.35
"""Seconds that a moving control may rest before its value is acted upon."""

P = ParamSpec("P")

Row = list[Any]
"""A value for each of the components that an event writes to."""


def start_and_stop(label: str, name: str, stop: str) -> tuple[gr.Button, gr.Button]:
    """Put the button that begins work and the one that stops it on the page; ``name`` and ``stop`` are their ids."""
    act = {"scale": 1, "elem_classes": "act"}
    return (
        gr.Button(label, variant="primary", min_width=110, elem_id=name, **act),
        gr.Button("Stop", min_width=80, elem_id=stop, **act),
    )


def seed_box(value: int, name: str) -> gr.Number:
    """Put the box for the seed on the page."""
    return gr.Number(value, label="Seed", precision=0, minimum=0, scale=1, min_width=90, elem_id=name)


def rows(
    updates: Iterable[Update],
    *,
    step: Callable[[Waiting | Step], Row],
    done: Callable[[Any], Row],
    ended: Callable[[str], Row],
) -> Iterator[Row]:
    """Yield what the page shows while work goes on.

    Args:
        updates: of the work; reading them may raise what the work raises.
        step: returns the row of an update.
        done: returns the row of the result.
        ended: returns the row of a stop or an error, given the line that tells it.
    """
    try:
        for update in updates:
            yield done(update.value) if isinstance(update, Done) else step(update)
    except Superseded:
        return
    except Stopped:
        yield ended(view.said("Stopped."))
    except WordbrushError as error:
        yield ended(view.trouble(error))


def lasting(width: int) -> Callable[[Callable[P, Iterator[Row]]], Callable[P, Iterator[Row]]]:
    """Let the handler of an event yield, last of all, a row of ``width`` values that changes nothing.

    Gradio says the last row twice: the second time it might undo a click that was made in between. And a handler that
    yields nothing empties all that it writes to.
    """

    def decorate(handler: Callable[P, Iterator[Row]]) -> Callable[P, Iterator[Row]]:
        @wraps(handler)
        def handled(*arguments: P.args, **named: P.kwargs) -> Iterator[Row]:
            yield from handler(*arguments, **named)
            yield [gr.skip()] * width

        return handled

    return decorate
