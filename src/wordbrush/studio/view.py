"""The parts of the page that are HTML: pure functions from what is shown to text, with everything escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from wordbrush.files import png
from wordbrush.studio.state import Draft
from wordbrush.studio.turns import Step, Waiting

if TYPE_CHECKING:
    from PIL.Image import Image


def source_of(image: Image, settings: Mapping[str, Any] | None = None) -> str:
    """Return a picture as the source of an ``img``; with settings it carries them, as a saved one does."""
    if settings is None:
        buffer = io.BytesIO()
        image.save(buffer, format="PNG")
        content = buffer.getvalue()
    else:
        content = png(image, settings)
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def stage(
    before: str,
    after: str | None = None,
    *,
    names: tuple[str, str],
    ratio: float = 1.0,
    save: str | None = None,
    rough: bool = False,
) -> str:
    """Return the picture, or two under a slider that uncovers one or the other.

    Args:
        before, after: sources of ``img``.
        names: what they show, in words.
        ratio: width over height.
        save: the name under which the newer one is saved; None for no link.
        rough: whether they are previews.
    """
    kind = "frame rough" if rough else "frame"
    shown = [f'<img src="{before}" alt="{escape(names[0])}">']
    handle = ""
    if after is not None:
        shown.append(f'<img class="over" src="{after}" alt="{escape(names[1])}">')
        handle = (
            '<span class="cut"></span><input class="wipe" type="range" min="0" max="100" value="50" '
            'aria-label="Slide between before and after">'
        )
    told = f"<span>{escape(names[0])}</span>" + (f"<span>{escape(names[1])}</span>" if after else "")
    link = f'<a class="quiet" download="{escape(save)}" href="{after or before}">Save</a>' if save else ""
    return (
        f'<figure class="stage"><div class="{kind}" style="aspect-ratio:{ratio:.4f}">{"".join(shown)}{handle}</div>'
        f"<figcaption>{told}</figcaption>{link}</figure>"
    )


def trail(steps: Sequence[str], at: int) -> str:
    """Return the steps of a history, the one that is looked at marked; nothing of a single one."""
    if len(steps) < 2:
        return ""
    marks = [' aria-current="step"' if number == at else "" for number in range(len(steps))]
    items = "".join(f"<li{mark}>{escape(step)}</li>" for mark, step in zip(marks, steps, strict=True))
    return f'<ol class="trail" aria-label="What was done">{items}</ol>'


def empty_stage(text: str) -> str:
    """Return the place of a picture that is not there yet."""
    return f'<figure class="stage"><div class="frame none"><p>{escape(text)}</p></div></figure>'


def chips(draft: Draft | None, selected: int | None) -> str:
    """Return the words of a draft as buttons; what was done to one is written on it."""
    if draft is None:
        return ""
    buttons = "".join(_chip(draft, number, number == selected) for number in range(len(draft.spans)))
    return f'<div class="chips" role="group" aria-label="The words of the prompt">{buttons}</div>'


def _chip(draft: Draft, number: int, selected: bool) -> str:
    word, done = draft.word(number), ""
    label = escape(word)
    if number in draft.retyped:
        new = draft.retyped[number]
        label = f"<s>{label}</s> {escape(new)}" if new else f"<s>{label}</s>"
        done = " done"
    if number in draft.strengths:
        label += f" <small>× {draft.strengths[number]:g}</small>"
        done = " done"
    return (
        f'<button type="button" class="chip{done}" data-word="{number}" aria-pressed="{str(selected).lower()}">'
        f"{label}</button>"
    )


def running(update: Waiting | Step | None, what: str = "Painting") -> str:
    """Return the line that tells how far the work is."""
    if isinstance(update, Waiting):
        others = "1 other" if update.before == 1 else f"{update.before} others"
        return _status(f"Waiting for {others}")
    if isinstance(update, Step):
        bar = f'<progress max="{update.steps}" value="{update.step}"></progress>'
        return _status(f"Step {update.step} of {update.steps}", bar)
    return _status(f"{what} …", "<progress></progress>")


def said(text: str) -> str:
    """Return a line that tells what was done."""
    return _status(text)


def hint(text: str) -> str:
    """Return a line that says what can be done next; nothing of no text."""
    return f'<p class="hint">{escape(text)}</p>' if text else ""


def noted(sentence: str | None) -> str:
    """Return a line below that one about something to look out for; nothing of None."""
    return f'<p class="note" role="note">{escape(sentence)}</p>' if sentence else ""


def trouble(error: object) -> str:
    """Return the sentence of an error."""
    return f'<p class="trouble" role="alert">{escape(str(error))}</p>'


def _status(text: str, bar: str = "") -> str:
    return f'<p class="status" role="status">{bar}<span>{escape(text)}</span></p>'


def snippet(title: str, code: str) -> str:
    """Return code with a button that copies it."""
    return (
        f'<section class="snippet"><header><h3>{escape(title)}</h3>'
        f'<button type="button" class="copy" aria-label="Copy: {escape(title)}">Copy</button></header>'
        f'<pre tabindex="0">{escape(code)}</pre></section>'
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str) -> str:
    """Return a table whose first column is text and whose other columns are numbers."""
    titles = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide" tabindex="0"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>"
    )
