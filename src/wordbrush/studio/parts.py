"""The one Gradio component of our own: HTML as ``page.css`` has it, without Gradio's styles for prose."""

from __future__ import annotations

from functools import partial

import gradio as gr

HTML = partial(gr.HTML, apply_default_css=False)
