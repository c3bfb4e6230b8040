"""The controls of the tab Compare."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gradio as gr

from wordbrush.inversion.methods import names_for
from wordbrush.studio import compare, view
from wordbrush.studio.desk import Studio
from wordbrush.studio.parts import HTML, QUICK, SLOW, lasting, rows, seed_box, start_and_stop
from wordbrush.studio.state import Knobs, Order, unless
from wordbrush.studio.turns import Report, Update
from wordbrush.studio.write import photo_at

if TYPE_CHECKING:
    from wordbrush.models import Defaults


def build(studio: Studio) -> None:
    """Put the controls on the page that is being built."""
    defaults, inversions = studio.model.defaults, names_for(studio.model)
    with gr.Row():
        source = gr.Textbox(
            "a cat on a beach at sunset", label="Before", max_length=1000, scale=4, elem_id="before"
        )
        target = gr.Textbox(
            "a dog on a beach at sunset", label="After", max_length=1000, scale=4, elem_id="after"
        )
        seed = seed_box(3, "compare-seed")
        start, stop = start_and_stop("Compare", "compare", "compare-stop")
    known = compare.Match(studio.model, Order(""), {compare.SECOND: Order("")}, editor=studio.editor).ways
    ways = gr.CheckboxGroup(list(known), value=list(compare.WORDS[:3]), label="Ways to edit", elem_id="ways")
    with (
        gr.Accordion("A picture of your own, SDEdit, instruction", open=False, elem_id="compare-more"),
        gr.Row(),
    ):
        upload = gr.File(
            label="Edit this picture; “Before” says what it shows", height=150, elem_id="compare-upload"
        )
        with gr.Column():
            inversion = gr.Dropdown(inversions, label="How it is inverted", elem_id="inversion")
            strength = gr.Slider(0.1, 1, 0.6, step=0.05, label="SDEdit: the share of the noise")
            instruction = gr.Textbox(
                label="Instruction",
                placeholder="make it night",
                max_length=1000,
                elem_id="compare-instruction",
                visible=studio.editor is not None,
            )
    owns = [_settings(way, defaults) for way in (compare.OWN, compare.SECOND)]
    steps = gr.Slider(
        1, studio.limits.steps, defaults.steps, step=1, label="Steps, of every way but the instruction"
    )
    status = HTML(elem_id="compare-status")
    shown = HTML(elem_id="compared")

    @lasting(2)
    def on_start(
        request: gr.Request,
        before: str,
        after: str,
        chosen: list[str],
        number: Any,
        path: str | None,
        inverting: str,
        share: float,
        said: str | None,
        *knobs: Any,
    ) -> Iterator[list[Any]]:
        mine = studio.desk(str(request.session_hash))
        *settings, count = knobs

        def ordered(kept: float, shapes_kept: float, blended: str | None) -> Order:
            made = Knobs(number, kept, shapes_kept, blended, count, defaults.guidance or 1.0)
            return made.edit(before, after, {}, defaults, studio.limits)

        def updates() -> Iterator[Update]:
            order = ordered(*settings[:3])
            if path:
                own = photo_at(path, studio.limits)
                order = replace(order, photo=own, inversion=unless(inverting, inversions[0]))
            match = compare.Match(
                studio.model,
                order,
                {compare.SECOND: ordered(*settings[3:])},
                strength=share,
                editor=studio.editor,
                instruction=said or "",
            )

            def work(report: Report) -> compare.Compared:
                return compare.compare(match, chosen, measures(studio, match.order), report)

            yield from studio.work(mine, work)

        yield [view.running(None), gr.skip()]
        yield from rows(
            updates(),
            step=lambda update: [view.running(update), gr.skip()],
            done=lambda compared: [
                view.said(compare.summed_up(compared)),
                compare.shown(compared),
            ],
            ended=lambda line: [line, gr.skip()],
        )

    def on_stop(request: gr.Request) -> None:
        studio.halt(studio.desk(str(request.session_hash)))

    more = [upload, inversion, strength, instruction]
    everything = [source, target, ways, seed, *more, *owns[0], *owns[1], steps]
    gr.on([start.click, source.submit, target.submit], on_start, everything, [status, shown], **SLOW)
    stop.click(on_stop, None, None, **QUICK)


def _settings(way: str, defaults: Defaults) -> list[Any]:
    """Put the settings of a way of one's own on the page."""
    with gr.Accordion(f"The way “{way}”", open=False, elem_id=way.replace(" ", "-")), gr.Row():
        return [
            gr.Slider(0, 1, defaults.until, step=0.05, label="Word maps, part of the steps"),
            gr.Slider(0, 1, defaults.self_attention, step=0.05, label="Shapes, part of the steps"),
            gr.Textbox(defaults.blend, label="Blend: auto, none, or words as cat:dog", max_length=200),
        ]


def measures(studio: Studio, order: Order) -> list[compare.Measure]:
    """Return what can be measured here: pixels always, the judges and CLIP where their weights are."""
    found: list[compare.Measure] = [compare.pixels]
    target = str(order.target)
    if studio.judges and (judged := compare.judged(studio.judges, order.source, target)):
        found.append(judged)
    if studio.scorer:
        found.append(compare.clip_measure(studio.scorer, order.source, target))
    return found
