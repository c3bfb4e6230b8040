"""The controls of the tab Compare."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from wordbrush.errors import WordbrushError
from wordbrush.studio import compare, view
from wordbrush.studio.desk import Studio, Superseded
from wordbrush.studio.parts import HTML
from wordbrush.studio.state import Knobs, Order
from wordbrush.studio.turns import Done, Report, Stopped


def build(studio: Studio) -> None:
    """Put the controls on the page that is being built."""
    defaults = studio.model.defaults
    settings: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    with gr.Row():
        source = gr.Textbox(
            "a cat on a beach at sunset", label="Before", max_length=1000, scale=4, elem_id="before"
        )
        target = gr.Textbox(
            "a dog on a beach at sunset", label="After", max_length=1000, scale=4, elem_id="after"
        )
        seed = gr.Number(
            3, label="Seed", precision=0, minimum=0, scale=1, min_width=90, elem_id="compare-seed"
        )
        start = gr.Button(
            "Compare", variant="primary", scale=1, min_width=110, elem_classes="act", elem_id="compare"
        )
        stop = gr.Button("Stop", scale=1, min_width=80, elem_classes="act", elem_id="compare-stop")
    ways = gr.CheckboxGroup(
        list(compare.WAYS), value=list(compare.WAYS[:3]), label="Ways to edit", elem_id="ways"
    )
    with gr.Accordion("The way “own”", open=False), gr.Row():
        until = gr.Slider(0, 1, defaults.until, step=0.05, label="Word maps, part of the steps")
        shapes = gr.Slider(0, 1, defaults.self_attention, step=0.05, label="Shapes, part of the steps")
        blend = gr.Textbox(defaults.blend, label="Blend: auto, none, or words as cat:dog", max_length=200)
        steps = gr.Slider(1, studio.limits.steps, defaults.steps, step=1, label="Steps, of every way")
    status = HTML(elem_id="compare-status")
    shown = HTML(elem_id="compared")

    def on_start(
        request: gr.Request, before: str, after: str, chosen: list[str], number: Any, *knobs: Any
    ) -> Iterator[list[Any]]:
        mine = studio.desk(str(request.session_hash))
        kept, shapes_kept, blended, count = knobs
        yield [view.running(None), gr.skip()]
        try:
            made = Knobs(number, kept, shapes_kept, blended or "", count, defaults.guidance or 1.0)
            order = made.edit(before, after, {}, defaults, studio.limits)

            def work(report: Report) -> compare.Compared:
                return compare.compare(studio.model, order, chosen, measures(studio, order), report)

            for update in studio.work(mine, work):
                if isinstance(update, Done):
                    yield [view.said("All from the same noise."), compare.shown(update.value)]
                    return
                yield [view.running(update), gr.skip()]
        except Superseded:
            return
        except Stopped:
            yield [view.said("Stopped."), gr.skip()]
        except WordbrushError as error:
            yield [view.trouble(error), gr.skip()]

    def on_stop(request: gr.Request) -> None:
        studio.halt(studio.desk(str(request.session_hash)))

    everything = [source, target, ways, seed, until, shapes, blend, steps]
    gr.on(
        [start.click, source.submit, target.submit], on_start, everything, [status, shown],
        trigger_mode="multiple", **settings,
    )  # fmt: skip
    stop.click(on_stop, None, None, queue=False, **settings)


def measures(studio: Studio, order: Order) -> list[compare.Measure]:
    """Return what can be measured here: pixels always, the judges and CLIP where their weights are."""
    found: list[compare.Measure] = [compare.pixels]
    target = str(order.target)
    if studio.judges and (judged := compare.judged(studio.judges, order.source, target)):
        found.append(judged)
    if studio.scorer:
        found.append(compare.clip_measure(studio.scorer, order.source, target))
    return found
