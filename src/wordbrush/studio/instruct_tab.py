"""The controls of the tab Instruct."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from wordbrush.errors import WordbrushError
from wordbrush.instruct import PRESETS, Editor
from wordbrush.studio import instruct, page, view
from wordbrush.studio.desk import Desk, Studio
from wordbrush.studio.parts import HTML, QUICK, SLOW, Row, lasting, rows, seed_box, start_and_stop
from wordbrush.studio.snippets import instruct_command, instruct_python
from wordbrush.studio.turns import Report, Step, Update, Waiting
from wordbrush.vocabulary import unknown_words

if TYPE_CHECKING:
    from PIL.Image import Image


def build(studio: Studio, editor: Editor) -> None:
    """Put the controls on the page that is being built."""
    defaults = editor.defaults
    with gr.Row():
        words = gr.Textbox(
            label="Instruction", placeholder="make it night", max_length=1000, scale=8, elem_id="instruction"
        )
        seed = seed_box(0, "instruct-seed")
        start, stop = start_and_stop("Edit", "instruct", "instruct-stop")
    status = HTML(elem_id="instruct-status")
    with gr.Row():
        with gr.Column(scale=6, min_width=320):
            stage = HTML(
                view.empty_stage("Drop a picture, or take the one from Write."),
                js_on_load=page.STAGE,
                elem_id="looked-at",
            )
            with gr.Row():
                back = gr.Button("Step back", size="sm", elem_id="back")
                forward = gr.Button("Step forward", size="sm", elem_id="forward")
        with gr.Column(scale=5, min_width=320):
            upload = gr.File(label="Picture", height=120, elem_id="upload")
            take = gr.Button("Take the picture from Write", size="sm", elem_id="take")
            text = gr.Slider(
                0, 20, defaults.text_guidance, step=0.5, label="Text guidance: how closely to follow"
            )
            image = gr.Slider(
                0, 5, defaults.image_guidance, step=0.1, label="Image guidance: how closely to keep"
            )
            steps = gr.Slider(1, studio.limits.steps, PRESETS[defaults.preset].steps, step=1, label="Steps")
            with gr.Row():
                surprise = gr.Button("Surprise me", size="sm", elem_id="surprise")
                nine = gr.Button("Grid of both scales", size="sm", elem_id="nine")
            where = gr.Radio(
                instruct.WHERE, value=instruct.WHERE[0], label="What may change", elem_id="where"
            )
            with gr.Column(visible=False) as canvas:
                brush = gr.ImageEditor(
                    type="pil",
                    sources=[],
                    layers=False,
                    transforms=[],
                    label="Brush where it may change",
                    brush=gr.Brush(editor.fitting.side // 8, [page.STROKE], color_mode="fixed"),
                    elem_id="brush",
                )
                load = gr.Button("Brush on this picture", size="sm", elem_id="load-brush")
    sheet = HTML(elem_id="nine-sheet")
    with gr.Accordion(
        "The same edit from the command line and from Python", open=False, elem_id="instruct-code"
    ):
        code = HTML(js_on_load=page.SNIPPETS, elem_id="instruct-snippets")
    controls = [words, text, image, steps, seed, where, brush]
    drawn = [status, stage, sheet, code]

    def desk(request: gr.Request) -> Desk:
        return studio.desk(str(request.session_hash))

    def run(
        request: gr.Request, work: instruct.Work, done: Callable[[Desk, instruct.Moment], Row], values: Any
    ) -> Iterator[Row]:
        """Yield values for ``drawn`` while the picture that is looked at is edited as the controls say."""
        mine = desk(request)
        history = mine.history
        said, scale, closeness, count, number, places, strokes = values

        def updates() -> Iterator[Update]:
            wish = instruct.Wish.of(said or "", scale, closeness, int(count), number, studio.limits)
            mask = instruct.wanted_mask(places, (strokes or {}).get("layers") or [])

            def edit(report: Report) -> instruct.Moment:
                return work(editor, history, wish, mask, report)

            yield from studio.work(mine, edit)

        def step(update: Waiting | Step) -> Row:
            seen = update.seen if isinstance(update, Step) else None
            return [view.running(update), _heading(seen, said) if seen else gr.skip(), gr.skip(), gr.skip()]

        yield [view.running(None, "Editing"), *[gr.skip()] * 3]
        yield from rows(
            updates(),
            step=step,
            done=lambda moment: [
                view.said(_cost(moment))
                + view.noted(unknown_words([moment.settings["instruction"]], editor.defaults.words)),
                *done(mine, moment),
            ],
            ended=lambda line: [line, looked_at(history) if history.now else gr.skip(), gr.skip(), gr.skip()],
        )

    def snippets(mine: Desk) -> str:
        """Return how the picture that is looked at is made elsewhere; nothing for one that was not edited here."""
        asked = mine.history.now.asked if mine.history.now else None
        if asked is None:
            return ""
        given = asked, editor.defaults, editor.model.name, studio.options
        return view.snippet("Command line", instruct_command(*given)) + view.snippet(
            "Python", instruct_python(*given)
        )

    @lasting(len(drawn))
    def on_start(request: gr.Request, *values: Any) -> Iterator[Row]:
        def done(mine: Desk, moment: instruct.Moment) -> Row:
            mine.history = mine.history.add(moment)
            return [looked_at(mine.history), "", snippets(mine)]

        def work(*given: Any) -> instruct.Moment:
            return instruct.edited(*given, preview=studio.editor_preview)

        yield from run(request, work, done, values)

    @lasting(len(drawn))
    def on_nine(request: gr.Request, *values: Any) -> Iterator[Row]:
        def done(mine: Desk, moment: instruct.Moment) -> Row:
            return [gr.skip(), _sheet(moment), gr.skip()]

        yield from run(request, instruct.grid, done, values)

    def on_upload(request: gr.Request, path: str | None, places: str) -> Row:
        if path is None:
            return [gr.skip()] * 5
        try:
            return begin(desk(request), instruct.opened(path, studio.limits), places)
        except WordbrushError as error:
            return [view.trouble(error), *[gr.skip()] * 4]

    def on_take(request: gr.Request, places: str) -> Row:
        mine = desk(request)
        if mine.painting is None:
            return [view.trouble("there is no picture yet: paint one in Write"), *[gr.skip()] * 4]
        painting = mine.painting
        file = "edited.png" if len(painting.pictures) > 1 else "picture.png"  # as Write saves it
        moment = instruct.Moment(painting.pictures[-1], painting.caption, painting.settings, file)
        return begin(mine, moment, places)

    def begin(mine: Desk, moment: instruct.Moment, places: str) -> Row:
        mine.history = instruct.History().add(moment)
        return [
            "",
            looked_at(mine.history),
            "",
            "",
            unbrushed(mine) if places == instruct.BRUSHED else gr.skip(),
        ]

    def unbrushed(mine: Desk) -> Any:
        """Return the picture that is looked at as ``brush`` takes it, without strokes."""
        now = mine.history.now
        return gr.skip() if now is None else {"background": now.image, "layers": [], "composite": None}

    def on_where(request: gr.Request, places: str) -> Row:
        brushing = places == instruct.BRUSHED
        return [gr.update(visible=brushing), unbrushed(desk(request)) if brushing else gr.skip()]

    def on_step(by: int) -> Callable[[gr.Request], Any]:
        def moved(request: gr.Request) -> Any:
            mine = desk(request)
            mine.history = mine.history.step(by)
            return [looked_at(mine.history), snippets(mine)] if mine.history.now else [gr.skip()] * 2

        return moved

    def on_load(request: gr.Request) -> Any:
        return unbrushed(desk(request))

    def on_surprise() -> tuple[str, float, float]:
        return instruct.surprise(random.Random(), defaults)

    def on_stop(request: gr.Request) -> None:
        studio.halt(desk(request))

    gr.on([start.click, words.submit, seed.submit], on_start, controls, drawn, **SLOW)
    nine.click(on_nine, controls, drawn, **SLOW)
    surprise.click(on_surprise, None, [words, text, image], **QUICK).then(on_start, controls, drawn, **SLOW)
    upload.upload(on_upload, [upload, where], [*drawn, brush], **QUICK)
    take.click(on_take, where, [*drawn, brush], **QUICK)
    where.input(on_where, where, [canvas, brush], **QUICK)
    back.click(on_step(-1), None, [stage, code], **QUICK)
    forward.click(on_step(1), None, [stage, code], **QUICK)
    load.click(on_load, None, brush, **QUICK)
    stop.click(on_stop, None, None, **QUICK)


def looked_at(history: instruct.History) -> str:
    """Return the stage with the picture that is looked at, beside the one it was made of, and the way to it."""
    now, before = history.now, history.before
    assert now is not None
    newest = view.source_of(now.image, now.settings)
    ratio = now.image.width / now.image.height
    if before is None:
        drawn = view.stage(newest, names=(now.told, ""), ratio=ratio, save="picture.png")
    else:
        drawn = view.stage(
            view.source_of(before.image),
            newest,
            names=(before.told, now.told),
            ratio=ratio,
            save="edited.png",
        )
    return drawn + view.trail([moment.told for moment in history.moments], history.at)


def _heading(preview: Image, said: str | None) -> str:
    """Return the stage with what the picture is heading for."""
    ratio = preview.width / preview.height
    return view.stage(view.source_of(preview), names=(said or "", ""), ratio=ratio, rough=True)


def _cost(moment: instruct.Moment) -> str:
    return f"{moment.settings['forward_samples']} forward-samples"


def _sheet(moment: instruct.Moment) -> str:
    names = (f"{moment.told}: both scales", "")
    ratio = moment.image.width / moment.image.height
    return view.stage(
        view.source_of(moment.image, moment.settings), names=names, ratio=ratio, save="grid.png"
    )
