"""The controls of the tab Write."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import gradio as gr

from wordbrush.errors import WordbrushError
from wordbrush.studio import page, view, write
from wordbrush.studio.desk import Desk, Studio, Superseded
from wordbrush.studio.parts import HTML
from wordbrush.studio.snippets import command, python
from wordbrush.studio.state import Draft, Knobs
from wordbrush.studio.turns import Done, Stopped

EXAMPLE = "a cat on a beach at sunset"
HINT = "Choose a word to see where it acts, to retype it, or to turn it up and down."
PATIENCE = 0.35
"""Seconds that a moving control may rest before its value is painted."""


def build(studio: Studio) -> None:
    """Put the controls on the page that is being built."""
    defaults = studio.model.defaults
    quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    slow: dict[str, Any] = {
        "trigger_mode": "multiple",
        "show_progress": "hidden",
        "api_visibility": "private",
    }

    with gr.Row():
        prompt = gr.Textbox(
            EXAMPLE, label="Prompt", max_length=1000, scale=8, min_width=280, elem_id="prompt"
        )
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, scale=1, min_width=90, elem_id="seed")
        start = gr.Button(
            "Paint", variant="primary", scale=1, min_width=110, elem_classes="act", elem_id="paint"
        )
        stop = gr.Button("Stop", scale=1, min_width=80, elem_classes="act", elem_id="stop")
    status = HTML(elem_id="status")
    with gr.Row():
        with gr.Column(scale=6, min_width=320):
            stage = HTML(
                view.empty_stage("Write what the picture shows, and paint it."),
                js_on_load=page.STAGE,
                elem_id="stage",
            )
        with gr.Column(scale=5, min_width=320):
            chips = HTML(js_on_load=page.CHIPS, elem_id="chips")
            hint = HTML("", elem_id="hint")
            with gr.Group(visible=False) as panel:
                retyped = gr.Textbox(label="Instead of this word", max_length=200, elem_id="retyped")
                strength = gr.Slider(-2, 3, 1, step=0.1, label="Strength", elem_id="strength")
                undo = gr.Button("Undo this word", size="sm", elem_id="undo")
            with gr.Accordion("How much of the picture is kept", open=True):
                until = gr.Slider(
                    0, 1, defaults.until, step=0.05, label="Word maps, part of the steps", elem_id="until"
                )
                shapes = gr.Slider(
                    0,
                    1,
                    defaults.self_attention,
                    step=0.05,
                    label="Shapes, part of the steps",
                    elem_id="shapes",
                )
                blend = gr.Dropdown(
                    [("where the changed words are", "auto"), ("anywhere", "none")],
                    value=defaults.blend,
                    label="The picture may change (or type words, as cat:dog)",
                    allow_custom_value=True,
                    elem_id="blend",
                )
            with gr.Accordion("Sampling", open=False):
                steps = gr.Slider(
                    1, studio.limits.steps, defaults.steps, step=1, label="Steps", elem_id="steps"
                )
                guidance = gr.Slider(
                    1, 20, defaults.guidance or 1, step=0.5, label="Guidance", elem_id="guidance"
                )
                negative = gr.Textbox(
                    "", label="What should not be in it", max_length=500, elem_id="negative"
                )
                size = gr.Textbox(
                    "",
                    label="Height x width in pixels",
                    placeholder="{}x{}".format(*studio.model.image_size),
                    max_length=20,
                    elem_id="size",
                )
    with gr.Accordion("The same picture from the command line and from Python", open=False, elem_id="code"):
        code = HTML(js_on_load=page.SNIPPETS, elem_id="snippets")

    knobs = [seed, until, shapes, blend, steps, guidance, negative, size]
    painted = [status, stage, chips, hint, panel, code]
    everything = [prompt, *knobs]

    def desk(request: gr.Request) -> Desk:
        return studio.desk(str(request.session_hash))

    def words(mine: Desk) -> list[Any]:
        """Chips, hint, panel, the text in the word's place, its strength."""
        draft, selected = mine.draft, mine.selected
        chosen = draft is not None and selected is not None
        return [
            view.chips(draft, selected),
            "" if chosen or draft is None else f'<p class="hint">{HINT}</p>',
            gr.update(visible=chosen),
            gr.update(
                label=f"Instead of “{draft.word(selected)}”",
                value=draft.retyped.get(selected, draft.word(selected)),
            )
            if draft is not None and selected is not None
            else gr.skip(),
            gr.update(value=draft.strengths.get(selected, 1.0))
            if draft is not None and selected is not None
            else gr.skip(),
        ]

    def painting(mine: Desk, values: tuple[Any, ...], patience: float = 0.0) -> Iterator[list[Any]]:
        """Paint the desk's draft and yield values for ``painted``."""
        yield from paint(mine, values, patience)
        yield [gr.skip()] * len(
            painted
        )  # Gradio says the last row twice: the second time it might undo a click

    def paint(mine: Desk, values: tuple[Any, ...], patience: float) -> Iterator[list[Any]]:
        try:
            draft = mine.draft
            assert draft is not None
            order = Knobs(*values).order(draft, studio.model.backbone.read, defaults, studio.limits)
            names = write.names_of(order)
            yield [view.running(None), gr.skip(), *words(mine)[:3], gr.skip()]
            work = partial(_painted, studio, draft, order)
            for update in studio.work(mine, work, patience=patience):
                if isinstance(update, Done):
                    mine.painting = update.value
                    yield [
                        view.said(update.value.told),
                        write.shown(update.value, mine.selected),
                        *words(mine)[:3],
                        view.snippet("Command line", command(order, studio.model.name, studio.options))
                        + view.snippet("Python", python(order, studio.model.name, studio.options)),
                    ]
                    return
                seen = getattr(update, "seen", None)
                drawn = (
                    view.stage(*seen, names=names, ratio=_ratio(studio, order.size), rough=True)
                    if seen
                    else gr.skip()
                )
                yield [view.running(update), drawn, gr.skip(), gr.skip(), gr.skip(), gr.skip()]
        except Superseded:
            return
        except Stopped:
            yield [view.said("Stopped."), _before(mine), *words(mine)[:3], gr.skip()]
        except WordbrushError as error:
            yield [view.trouble(error), _before(mine), *words(mine)[:3], gr.skip()]

    def on_start(request: gr.Request, text: str, *values: Any) -> Iterator[list[Any]]:
        mine = desk(request)
        try:
            if mine.draft is None or mine.draft.source != text:
                read = studio.model.backbone.read(text)
                mine.draft, mine.selected = Draft.of(read), None
        except WordbrushError as error:
            yield [view.trouble(error), *[gr.skip()] * 5]
            return
        yield from painting(mine, values)

    def on_change(request: gr.Request, *values: Any) -> Iterator[list[Any]]:
        mine = desk(request)
        if mine.draft is not None and mine.draft.edited:
            yield from painting(mine, values, PATIENCE)

    def on_pick(request: gr.Request, event: gr.EventData) -> list[Any]:
        mine, word = desk(request), event.word
        mine.selected = None if word == mine.selected else word
        return [_before(mine), *words(mine)]

    def on_retype(request: gr.Request, text: str, *values: Any) -> Iterator[list[Any]]:
        mine = desk(request)
        if mine.draft is None or mine.selected is None:
            return
        draft = mine.draft.retype(mine.selected, text)
        if draft != mine.draft:
            mine.draft = draft
            yield from painting(mine, values)

    def on_strength(request: gr.Request, value: float, *values: Any) -> Iterator[list[Any]]:
        mine = desk(request)
        if mine.draft is None or mine.selected is None:
            return
        draft = mine.draft.weigh(mine.selected, value)
        if draft != mine.draft:
            mine.draft = draft
            yield from painting(mine, values, PATIENCE)

    def on_undo(request: gr.Request, *values: Any) -> Iterator[list[Any]]:
        mine = desk(request)
        if mine.draft is None or mine.selected is None:
            return
        mine.draft = mine.draft.retype(mine.selected, mine.draft.word(mine.selected)).weigh(mine.selected, 1)
        for row in painting(mine, values):
            yield [*row, *words(mine)[3:]]

    def on_stop(request: gr.Request) -> None:
        studio.halt(desk(request))

    gr.on(
        [start.click, prompt.submit, seed.submit, negative.submit, size.submit],
        on_start,
        everything,
        painted,
        **slow,
    )
    gr.on([until.input, shapes.input, blend.input], on_change, knobs, painted, **slow)
    chips.pick(on_pick, None, [stage, chips, hint, panel, retyped, strength], **quick)
    gr.on([retyped.submit, retyped.blur], on_retype, [retyped, *knobs], painted, **slow)
    strength.input(on_strength, [strength, *knobs], painted, **slow)
    undo.click(on_undo, knobs, [*painted, retyped, strength], **slow)
    stop.click(on_stop, None, None, **quick)


def _painted(studio: Studio, draft: Draft, order: Any, report: Any) -> write.Painting:
    return write.paint(studio.model, draft, order, report, studio.preview)


def _before(mine: Desk) -> Any:
    """Return the stage as it was: with the last picture, or as it is."""
    return gr.skip() if mine.painting is None else write.shown(mine.painting, mine.selected)


def _ratio(studio: Studio, size: tuple[int, int] | None) -> float:
    height, width = size or studio.model.image_size
    return width / height
