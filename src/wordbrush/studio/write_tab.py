"""The controls of the tab Write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import gradio as gr

from wordbrush.errors import WordbrushError
from wordbrush.inversion.methods import names_for
from wordbrush.studio import page, view, write
from wordbrush.studio.desk import Desk, Studio
from wordbrush.studio.parts import HTML, PATIENCE, QUICK, SLOW, Row, lasting, rows, seed_box, start_and_stop
from wordbrush.studio.snippets import command, python
from wordbrush.studio.state import Draft, Knobs, Photo, unless
from wordbrush.studio.turns import Report, Step, Update, Waiting
from wordbrush.vocabulary import unknown_words

EXAMPLE = "a cat on a beach at sunset"
HINT = "Choose a word to see where it acts, to retype it, or to turn it up and down."


def build(studio: Studio) -> None:
    """Put the controls on the page that is being built."""
    defaults, inversions = studio.model.defaults, names_for(studio.model)
    with gr.Row():
        prompt = gr.Textbox(
            EXAMPLE, label="Prompt", max_length=1000, scale=8, min_width=280, elem_id="prompt"
        )
        seed = seed_box(0, "seed")
        start, stop = start_and_stop("Paint", "paint", "stop")
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
            # Which word the panel is of is sent along with what was typed: by the time that arrives, another word may
            # have been chosen, by the very click that ended the typing.
            word = gr.Number(precision=0, visible="hidden")
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
            with gr.Accordion("A picture of your own", open=False, elem_id="own-picture"):
                upload = gr.File(
                    label="Edit this picture: say in the prompt what it shows, and paint",
                    height=150,
                    elem_id="photo",
                )
                inversion = gr.Dropdown(inversions, label="How it is inverted")
    with gr.Accordion("The same picture from the command line and from Python", open=False, elem_id="code"):
        code = HTML(js_on_load=page.SNIPPETS, elem_id="snippets")

    knobs = [seed, until, shapes, blend, steps, guidance, negative, size, upload, inversion]
    painted = [status, stage, chips, hint, panel, code]
    chosen = [chips, hint, panel, word, retyped, strength]
    everything = [prompt, *knobs]

    def desk(request: gr.Request) -> Desk:
        return studio.desk(str(request.session_hash))

    def uploaded(mine: Desk, path: str | None) -> Photo | None:
        """Return the picture of one's own, which is read when it is first asked for."""
        if path is None:
            mine.photo = None
        elif mine.photo is None or mine.photo.path != path:
            mine.photo = write.photo_at(path, studio.limits)
        return mine.photo

    def words(mine: Desk) -> Row:
        """Return values for ``chosen``."""
        draft, selected = mine.draft, mine.selected
        drawn = view.chips(draft, selected)
        if draft is None or selected is None:
            return [
                drawn,
                view.hint("" if draft is None else HINT),
                gr.update(visible=False),
                *[gr.skip()] * 3,
            ]
        written = draft.word(selected)
        heat = f"Bright is where “{written}” acts. Choose it again for the picture itself."
        return [
            drawn,
            view.hint(heat if mine.heated and mine.painting else ""),
            gr.update(visible=True),
            selected,
            gr.update(label=f"Instead of “{written}”", value=draft.retyped.get(selected, written)),
            gr.update(value=draft.strengths.get(selected, 1.0)),
        ]

    def painting(mine: Desk, values: tuple[Any, ...], patience: float = 0.0) -> Iterator[Row]:
        """Paint the desk's draft and yield values for ``painted``; what comes of it is shown without heat."""
        draft = mine.draft
        assert draft is not None
        mine.heated = False
        # The words are written once, at the beginning: a chip that is replaced under the pointer loses its click.
        same = [gr.skip()] * 3

        def updates() -> Iterator[Update]:
            *set_to, path, inverting = values
            order = Knobs(*set_to).order(draft, studio.model.backbone.read, defaults, studio.limits)
            if photo := uploaded(mine, path):
                order = replace(order, photo=photo, inversion=unless(inverting, inversions[0]))

            def work(report: Report) -> write.Painting:
                return write.paint(studio.model, draft, order, report, studio.preview, mine.painting)

            yield from studio.work(mine, work, patience=patience)

        def step(update: Waiting | Step) -> Row:
            seen = update.seen if isinstance(update, Step) and update.seen else gr.skip()
            return [view.running(update), seen, *same, gr.skip()]

        def done(made: write.Painting) -> Row:
            mine.painting = made
            copied = made.order, studio.model.name, studio.options
            code = view.snippet("Command line", command(*copied)) + view.snippet("Python", python(*copied))
            prompts = (made.order.source, made.order.target or "")
            told = view.said(made.told) + view.noted(unknown_words(prompts, defaults.words))
            return [told, _drawn(mine), *same, code]

        yield [view.running(None), gr.skip(), *words(mine)[:3], gr.skip()]
        yield from rows(
            updates(),
            step=step,
            done=done,
            ended=lambda line: [line, _drawn(mine), *same, gr.skip()],
        )

    @lasting(len(painted))
    def on_start(request: gr.Request, text: str, *values: Any) -> Iterator[Row]:
        mine = desk(request)
        try:
            if mine.draft is None or mine.draft.source != text:
                read = studio.model.backbone.read(text)
                mine.draft, mine.selected = Draft.of(read), None
        except WordbrushError as error:
            yield [view.trouble(error), *[gr.skip()] * 5]
            return
        yield from painting(mine, values)

    @lasting(len(painted))
    def on_change(request: gr.Request, *values: Any) -> Iterator[Row]:
        mine = desk(request)
        if mine.draft is not None and mine.draft.edited:
            yield from painting(mine, values, PATIENCE)

    def on_pick(request: gr.Request, event: gr.EventData) -> Row:
        mine, number = desk(request), event.word
        mine.selected = None if number == mine.selected else number
        mine.heated = mine.selected is not None
        return [_drawn(mine), *words(mine)]

    def redraft(
        request: gr.Request, values: tuple[Any, ...], change: Callable[[Draft], Draft], patience: float = 0.0
    ) -> Iterator[Row]:
        mine = desk(request)
        if mine.draft is None:
            return
        draft = change(mine.draft)
        if draft != mine.draft:
            mine.draft = draft
            yield from painting(mine, values, patience)

    @lasting(len(painted))
    def on_retype(request: gr.Request, number: int, text: str, *values: Any) -> Iterator[Row]:
        yield from redraft(request, values, lambda draft: draft.retype(number, text))

    @lasting(len(painted))
    def on_strength(request: gr.Request, number: int, value: float, *values: Any) -> Iterator[Row]:
        yield from redraft(request, values, lambda draft: draft.weigh(number, value), PATIENCE)

    @lasting(len(painted) + 2)
    def on_undo(request: gr.Request, number: int, *values: Any) -> Iterator[Row]:
        mine = desk(request)
        found = redraft(
            request, values, lambda draft: draft.retype(number, draft.word(number)).weigh(number, 1)
        )
        for place, row in enumerate(found):
            yield [*row, *(words(mine)[-2:] if place == 0 else [gr.skip()] * 2)]

    def on_stop(request: gr.Request) -> None:
        studio.halt(desk(request))

    def on_upload(request: gr.Request, path: str | None) -> Row:
        try:
            photo = uploaded(desk(request), path)
        except WordbrushError as error:
            return [view.trouble(error), gr.skip()]
        if photo is None:
            return [view.said("The next picture is painted from the prompt alone."), gr.skip()]
        ratio = photo.image.width / photo.image.height
        drawn = view.stage(view.source_of(photo.image), names=(photo.told, ""), ratio=ratio)
        return [view.said("Say in the prompt what the picture shows, and paint."), drawn]

    gr.on(
        [start.click, prompt.submit, seed.submit, negative.submit, size.submit],
        on_start,
        everything,
        painted,
        **SLOW,
    )
    gr.on([upload.upload, upload.clear], on_upload, upload, [status, stage], **QUICK)
    gr.on([until.input, shapes.input, blend.input], on_change, knobs, painted, **SLOW)
    chips.pick(on_pick, None, [stage, *chosen], **QUICK)
    gr.on([retyped.submit, retyped.blur], on_retype, [word, retyped, *knobs], painted, **SLOW)
    strength.input(on_strength, [word, strength, *knobs], painted, **SLOW)
    undo.click(on_undo, [word, *knobs], [*painted, retyped, strength], **SLOW)
    stop.click(on_stop, None, None, **QUICK)


def _drawn(mine: Desk) -> Any:
    """Return the stage with the last picture, if there is one."""
    if mine.painting is None:
        return gr.skip()
    return write.shown(mine.painting, mine.selected if mine.heated else None)
