"""The controls of the tab Data."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gradio as gr

from wordbrush.errors import WordbrushError
from wordbrush.studio import data, page, view
from wordbrush.studio.desk import Desk, Studio
from wordbrush.studio.parts import HTML, PATIENCE, QUICK, Row


def build(studio: Studio, tab: gr.Tab) -> None:
    """Put the controls on the page that is being built."""

    def there() -> list[str]:
        return data.data_sets(studio.data) if studio.data else []

    def none_there(found: list[str]) -> str:
        return view.hint("" if found else f"There are no data sets below {studio.data}.")

    found = there()
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
    status = HTML(none_there(found), elem_id="data-status")
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

    def on_tab(name: str | None) -> Row:
        """Offer the data sets that there are by now."""
        found = there()
        return [gr.update(choices=found, value=name or (found[0] if found else None)), none_there(found)]

    def draw(mine: Desk, change: Callable[[], data.Sieve], patience: float = 0.0) -> Row:
        """Change the desk's sieve and return values for ``drawn``; after an error everything stays.

        What is begun later, within ``patience`` seconds or while the pairs are judged, takes the place of this.
        """
        mine.sifting = newest = object()
        same: Row = [gr.skip()] * len(drawn)
        try:
            sieve = change()
            if patience:
                mine.sieve = sieve  # what is moved next is moved from there
                time.sleep(patience)
                if mine.sifting is not newest:
                    return same
            selection = sieve.select()
            choices = data.groups(selection)
            pairs, pages = data.pairs_page(sieve, selection, data.SELECTED, 1)
            if mine.sifting is not newest:
                return same
            mine.sieve, mine.selection = sieve, selection
            return [
                "",
                gr.update(visible=True),
                data.summary(sieve, selection),
                data.charts(sieve, selection),
                gr.update(value=sieve.best),
                gr.update(choices=choices, value=data.SELECTED),
                gr.update(value=1, label=f"Page, of {pages}"),
                pairs,
                view.snippet("Python", sieve.python),
            ]
        except WordbrushError as error:
            return [view.trouble(error), *same[1:]]

    def on_open(request: gr.Request, name: str | None) -> list[Any]:
        return draw(desk(request), lambda: data.opened(data.inside(studio.data, name or "")))

    def on_bound(request: gr.Request, event: gr.EventData) -> list[Any]:
        mine = desk(request)
        if mine.sieve is None:
            return [gr.skip()] * len(drawn)
        before = mine.sieve
        return draw(mine, lambda: before.moved(event.score, event.side, event.value), PATIENCE)

    def on_best(request: gr.Request, count: int) -> list[Any]:
        mine = desk(request)
        if mine.sieve is None:
            return [gr.skip()] * len(drawn)
        before = mine.sieve
        return draw(mine, lambda: replace(before, best=int(count)), PATIENCE)

    def on_page(request: gr.Request, gate: str, wanted: int | None) -> list[Any]:
        mine = desk(request)
        if mine.sieve is None or mine.selection is None:
            return [gr.skip(), gr.skip()]
        asked = max(1, wanted or 1)
        try:
            pairs, pages = data.pairs_page(mine.sieve, mine.selection, gate, asked)
        except WordbrushError as error:
            return [view.trouble(error), gr.skip()]
        return [pairs, gr.update(value=min(asked, pages), label=f"Page, of {pages}")]

    def on_typed(request: gr.Request, gate: str, wanted: int | None) -> Row:
        pairs, told = on_page(request, gate, wanted)
        told.pop("value", None)  # it is still being typed
        return [pairs, told]

    def on_group(request: gr.Request, gate: str) -> Row:
        return on_page(request, gate, 1)

    gr.on([start.click, folder.select], on_open, folder, drawn, **place)
    charts.bound(on_bound, None, drawn, **place)
    best.release(on_best, best, drawn, **place)
    group.input(on_group, group, [shown, number], **place)
    number.input(on_typed, [group, number], [shown, number], **place)
    gr.on([number.submit, number.blur], on_page, [group, number], [shown, number], **place)
    tab.select(on_tab, folder, [folder, status], **QUICK)
