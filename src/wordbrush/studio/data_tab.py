"""The controls of the tab Data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html import escape
from typing import Any

import gradio as gr

from wordbrush.errors import WordbrushError
from wordbrush.studio import data, page, view
from wordbrush.studio.desk import Desk, Studio
from wordbrush.studio.parts import HTML


def build(studio: Studio) -> None:
    """Put the controls on the page that is being built."""
    found = data.data_sets(studio.data) if studio.data else []
    place: dict[str, Any] = {
        "show_progress": "minimal",
        "api_visibility": "private",
        "trigger_mode": "multiple",
    }
    with gr.Row():
        folder = gr.Dropdown(
            found,
            value=found[0] if found else None,
            label=f"Data set below {studio.data}",
            allow_custom_value=True,
            scale=8,
            elem_id="folder",
        )
        start = gr.Button(
            "Open", variant="primary", scale=1, min_width=110, elem_classes="act", elem_id="open"
        )
    status = HTML(
        "" if found else f'<p class="hint">There are no data sets below {escape(str(studio.data))}.</p>',
        elem_id="data-status",
    )
    with gr.Column(visible=False) as body:
        counts = HTML(elem_id="counts")
        charts = HTML(js_on_load=page.CHARTS, elem_id="charts")
        with gr.Row():
            best = gr.Slider(0, 50, 0, step=1, label="Best pairs per triplet, 0 for all", elem_id="best")
            group = gr.Dropdown([], label="Pairs to look at", elem_id="group")
            number = gr.Number(1, label="Page", precision=0, minimum=1, elem_id="page")
        shown = HTML(elem_id="pairs")
        with gr.Accordion("The same selection from Python", open=False):
            code = HTML(js_on_load=page.SNIPPETS, elem_id="data-snippets")

    drawn = [status, body, counts, charts, best, group, number, shown, code]

    def desk(request: gr.Request) -> Desk:
        return studio.desk(str(request.session_hash))

    def draw(mine: Desk, change: Callable[[], data.Sieve]) -> list[Any]:
        """Change the desk's sieve and return values for ``drawn``; after an error everything stays."""
        try:
            sieve = change()
            selection = sieve.select()
            choices = data.groups(selection)
            pairs, _ = data.pairs_page(sieve, selection, data.SELECTED, 1)
            mine.sieve, mine.selection = sieve, selection
            return [
                "",
                gr.update(visible=True),
                data.summary(sieve, selection),
                data.charts(sieve, selection),
                gr.update(value=sieve.best),
                gr.update(choices=choices, value=data.SELECTED),
                1,
                pairs,
                view.snippet("Python", sieve.python),
            ]
        except WordbrushError as error:
            return [view.trouble(error), *[gr.skip()] * (len(drawn) - 1)]

    def on_open(request: gr.Request, name: str | None) -> list[Any]:
        return draw(desk(request), lambda: data.opened(data.inside(studio.data, name or "")))

    def on_bound(request: gr.Request, event: gr.EventData) -> list[Any]:
        mine = desk(request)
        if mine.sieve is None:
            return [gr.skip()] * len(drawn)
        before = mine.sieve
        return draw(mine, lambda: before.moved(event.score, event.side, event.value))

    def on_best(request: gr.Request, count: int) -> list[Any]:
        mine = desk(request)
        if mine.sieve is None:
            return [gr.skip()] * len(drawn)
        before = mine.sieve
        return draw(mine, lambda: replace(before, best=int(count)))

    def on_page(request: gr.Request, gate: str, wanted: int | None) -> list[Any]:
        mine = desk(request)
        if mine.sieve is None or mine.selection is None:
            return [gr.skip(), gr.skip()]
        try:
            pairs, pages = data.pairs_page(mine.sieve, mine.selection, gate, wanted or 1)
        except WordbrushError as error:
            return [view.trouble(error), gr.skip()]
        return [pairs, gr.update(label=f"Page, of {pages}")]

    gr.on([start.click, folder.select], on_open, folder, drawn, **place)
    charts.bound(on_bound, None, drawn, **place)
    best.release(on_best, best, drawn, **place)
    gr.on([group.input, number.input, number.submit], on_page, [group, number], [shown, number], **place)
