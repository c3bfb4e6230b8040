"""The controls of the tab Instruct."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from wordbrush.errors import WordbrushError
from wordbrush.instruct import PRESETS, Editor
from wordbrush.studio import instruct, page, view
from wordbrush.studio.desk import Desk, Studio, Superseded
from wordbrush.studio.parts import HTML
from wordbrush.studio.turns import Done, Report, Stopped


def build(studio: Studio, editor: Editor) -> None:
    """Put the controls on the page that is being built."""
    defaults = editor.defaults
    quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    slow: dict[str, Any] = {
        "trigger_mode": "multiple",
        "show_progress": "hidden",
        "api_visibility": "private",
    }
    with gr.Row():
        words = gr.Textbox(
            label="Instruction", placeholder="make it night", max_length=1000, scale=8, elem_id="instruction"
        )
        seed = gr.Number(
            0, label="Seed", precision=0, minimum=0, scale=1, min_width=90, elem_id="instruct-seed"
        )
        start = gr.Button(
            "Edit", variant="primary", scale=1, min_width=110, elem_classes="act", elem_id="instruct"
        )
        stop = gr.Button("Stop", scale=1, min_width=80, elem_classes="act", elem_id="instruct-stop")
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
            with gr.Accordion("Only where it is brushed", open=False):
                brush = gr.ImageEditor(
                    type="pil", sources=[], layers=False, transforms=[], label="Brush where it may change",
                    brush=gr.Brush(colors=["#ffffff"], color_mode="fixed"), elem_id="brush",
                )  # fmt: skip
                load = gr.Button("Brush on this picture", size="sm", elem_id="load-brush")
    sheet = HTML(elem_id="nine-sheet")
    controls = [words, text, image, steps, seed, brush]
    drawn = [status, stage, sheet]

    def desk(request: gr.Request) -> Desk:
        return studio.desk(str(request.session_hash))

    def run(
        mine: Desk, work: Callable[[Any, Any, Report], instruct.Moment], values: Any, keep: bool
    ) -> Iterator[Any]:
        said, scale, closeness, count, number, strokes = values
        try:
            wish = instruct.Wish.of(said or "", scale, closeness, int(count), number, studio.limits)
            mask = instruct.mask_of((strokes or {}).get("layers") or [])
            yield [view.running(None, "Editing"), gr.skip(), gr.skip()]
            for update in studio.work(mine, lambda report: work(wish, mask, report)):
                if isinstance(update, Done):
                    if keep:
                        mine.history = mine.history.add(update.value)
                    told = f"{update.value.settings['forward_samples']} forward-samples"
                    yield [view.said(told), looked_at(mine.history), "" if keep else _sheet(update.value)]
                else:
                    yield [view.running(update), gr.skip(), gr.skip()]
        except Superseded:
            return
        except Stopped:
            yield [view.said("Stopped."), gr.skip(), gr.skip()]
        except WordbrushError as error:
            yield [view.trouble(error), gr.skip(), gr.skip()]

    def on_start(request: gr.Request, *values: Any) -> Iterator[Any]:
        mine = desk(request)
        history = mine.history
        yield from run(
            mine,
            lambda wish, mask, report: instruct.edited(editor, history, wish, mask, report),
            values,
            True,
        )
        yield [gr.skip()] * len(drawn)  # Gradio says the last row twice: the second time it might undo a step

    def on_nine(request: gr.Request, *values: Any) -> Iterator[Any]:
        mine = desk(request)
        history = mine.history
        yield from run(
            mine, lambda wish, mask, report: instruct.grid(editor, history, wish, mask, report), values, False
        )
        yield [gr.skip()] * len(drawn)  # Gradio says the last row twice: the second time it might undo a step

    def on_upload(request: gr.Request, path: str | None) -> list[Any]:
        if path is None:
            return [gr.skip()] * 3
        try:
            return begin(desk(request), instruct.opened(path, studio.limits))
        except WordbrushError as error:
            return [view.trouble(error), gr.skip(), gr.skip()]

    def on_take(request: gr.Request) -> list[Any]:
        mine = desk(request)
        if mine.painting is None:
            return [view.trouble("there is no picture yet: paint one in Write"), gr.skip(), gr.skip()]
        return begin(
            mine, instruct.Moment(mine.painting.pictures[-1], mine.painting.caption, mine.painting.settings)
        )

    def begin(mine: Desk, moment: instruct.Moment) -> list[Any]:
        mine.history = instruct.History().add(moment)
        return ["", looked_at(mine.history), ""]

    def on_step(by: int) -> Callable[[gr.Request], Any]:
        def moved(request: gr.Request) -> Any:
            mine = desk(request)
            mine.history = mine.history.step(by)
            return looked_at(mine.history) if mine.history.now else gr.skip()

        return moved

    def on_load(request: gr.Request) -> Any:
        now = desk(request).history.now
        return gr.skip() if now is None else {"background": now.image, "layers": [], "composite": None}

    def on_surprise() -> tuple[str, float, float]:
        return instruct.surprise(random.Random())

    def on_stop(request: gr.Request) -> None:
        studio.halt(desk(request))

    gr.on([start.click, words.submit, seed.submit], on_start, controls, drawn, **slow)
    nine.click(on_nine, controls, drawn, **slow)
    surprise.click(on_surprise, None, [words, text, image], **quick).then(on_start, controls, drawn, **slow)
    upload.upload(on_upload, upload, drawn, **quick)
    take.click(on_take, None, drawn, **quick)
    back.click(on_step(-1), None, stage, **quick)
    forward.click(on_step(1), None, stage, **quick)
    load.click(on_load, None, brush, **quick)
    stop.click(on_stop, None, None, **quick)


def looked_at(history: instruct.History) -> str:
    """Return the stage with the picture that is looked at, beside the one it was made of."""
    now, before = history.now, history.before
    assert now is not None
    newest = view.source_of(now.image, now.settings)
    ratio = now.image.width / now.image.height
    if before is None:
        return view.stage(newest, names=(now.told, ""), ratio=ratio, save="picture.png")
    return view.stage(
        view.source_of(before.image), newest, names=(before.told, now.told), ratio=ratio, save="edited.png"
    )


def _sheet(moment: instruct.Moment) -> str:
    names = (f"{moment.told}: both scales", "")
    ratio = moment.image.width / moment.image.height
    return view.stage(
        view.source_of(moment.image, moment.settings), names=names, ratio=ratio, save="grid.png"
    )
