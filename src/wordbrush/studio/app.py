"""The whole page, and the server that shows it."""

from __future__ import annotations

import os
from html import escape
from typing import TYPE_CHECKING, Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported

import gradio as gr
from gradio.themes import Base
from gradio.themes.utils import colors, sizes
from starlette.middleware import Middleware

from wordbrush.errors import InvalidInput
from wordbrush.studio import compare_tab, data_tab, instruct_tab, page, write_tab
from wordbrush.studio.desk import Studio
from wordbrush.studio.parts import HTML

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Guarded:
    """Middleware that puts the content security policy on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self.app(scope, receive, _with_policy(send))


def _with_policy(send: Send) -> Callable[[Message], Awaitable[None]]:
    headers = [
        (b"content-security-policy", page.POLICY.encode()),
        (b"referrer-policy", b"no-referrer"),
        (b"x-content-type-options", b"nosniff"),
    ]

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *headers]
        await send(message)

    return sending


def build(studio: Studio) -> gr.Blocks:
    """Return the page of a studio."""
    with gr.Blocks(title="wordbrush studio", analytics_enabled=False, delete_cache=(3600, 3600)) as made:
        HTML(_masthead(studio))
        with gr.Tabs():
            with gr.Tab("Write", id="write"):
                write_tab.build(studio)
            with gr.Tab("Compare", id="compare"):
                compare_tab.build(studio)
            with gr.Tab("Data", id="data") as tab:
                data_tab.build(studio, tab)
            if studio.editor is not None:
                with gr.Tab("Instruct", id="instruct"):
                    instruct_tab.build(studio, studio.editor)

        def leave(request: gr.Request) -> None:
            studio.leave(str(request.session_hash))

        made.unload(leave)
    made.queue(default_concurrency_limit=None, api_open=False)
    return made


def serve(
    studio: Studio,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    login: tuple[str, str] | None = None,
    browser: bool = False,
) -> tuple[gr.Blocks, str]:
    """Start the server in the background; return the page, whose ``close()`` ends it, and its address.

    Args:
        host: the address to listen on; 127.0.0.1 is this machine alone, 0.0.0.0 everyone who can reach it.
        port: 0 for any that is free.
        login: the only name and password that are let in; None lets in everybody.
        browser: open the page in a browser.

    Raises:
        InvalidInput: the address or port cannot be listened on.
    """
    made = build(studio)
    try:
        _, address, _ = made.launch(
            server_name=host,
            server_port=port or None,
            auth=login,
            inbrowser=browser,
            prevent_thread_lock=True,
            share=False,
            quiet=True,
            footer_links=[],
            allowed_paths=[],
            max_file_size=studio.limits.upload,
            enable_monitoring=False,
            mcp_server=False,
            pwa=False,
            ssr_mode=False,
            theme=_theme(),
            css=page.CSS,
            app_kwargs={"middleware": [Middleware(Guarded)]},
        )
    except OSError as error:
        raise InvalidInput(
            f"cannot listen on {host}:{port}: it is in use or not of this machine; choose another --port"
        ) from error
    return made, address


def _theme() -> Any:
    return Base(
        primary_hue=colors.indigo,
        neutral_hue=colors.slate,
        font=list(page.FONT),
        font_mono=list(page.MONO),
        radius_size=sizes.radius_md,
    )


def _masthead(studio: Studio) -> str:
    height, width = studio.model.image_size
    about = f"{escape(studio.model.name)} · {height} × {width} · {studio.model.device.type}"
    return f'<div class="masthead"><h1>wordbrush studio</h1><span class="end">{about}</span></div>'
