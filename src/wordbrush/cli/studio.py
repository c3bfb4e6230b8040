"""``wordbrush studio``: the page in the browser."""

from __future__ import annotations

import ipaddress
import os
import tempfile
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from wordbrush.cli import options
from wordbrush.cli.console import out, working
from wordbrush.cli.loading import load_editor, load_model
from wordbrush.cli.parse import BadOption
from wordbrush.errors import WordbrushError

SERVER = "Server"
LOGIN = "WORDBRUSH_STUDIO_LOGIN"
NONE = "none"


def studio(
    model: options.Model = "storybook",
    editor: Annotated[
        str,
        typer.Option(
            "--editor",
            metavar="NAME|PATH|none",
            help="An instruction editor, for the tab Instruct: a folder, a hub id or a .safetensors file.",
        ),
    ] = "storybook",
    data: Annotated[
        Path,
        typer.Option(
            "--data", metavar="DIR", help="The folder under which data sets may be opened. Default: this one."
        ),
    ] = Path(),
    clip: Annotated[
        str | None,
        typer.Option("--clip", metavar="NAME|PATH", help="A CLIP model to compare with: a folder or hub id."),
    ] = None,
    config: options.Config = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    offload: options.Offload = False,
    host: Annotated[
        str,
        typer.Option(
            "--host", metavar="ADDRESS", rich_help_panel=SERVER, help="0.0.0.0 for everyone who can reach it."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            "--port", min=0, max=65535, metavar="N", rich_help_panel=SERVER, help="0 for any free one."
        ),
    ] = 7860,
    password: Annotated[
        Path | None,
        typer.Option(
            "--password",
            metavar="FILE",
            rich_help_panel=SERVER,
            help=f"A file that holds NAME:PASSWORD, to be asked for; or set {LOGIN} to them.",
        ),
    ] = None,
    max_pixels: Annotated[
        int,
        typer.Option(
            "--max-pixels", min=1, metavar="N", rich_help_panel=SERVER, help="Of a picture, for everyone."
        ),
    ] = 1024 * 1024,
    browser: Annotated[
        bool,
        typer.Option("--browser/--no-browser", rich_help_panel=SERVER, help="Open the page in a browser."),
    ] = True,
) -> None:
    """Edit pictures in the browser: click a word, retype it, turn it up and down."""
    login = read_login(password, os.environ.get(LOGIN))
    root = checked_folder(data)
    check_installed()
    with tempfile.TemporaryDirectory(prefix="wordbrush-studio-") as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads  # read when Gradio is imported
        loaded = load_model(model, dtype=dtype, device=device, config=config, offload=offload)
        instructed = (
            load_editor(editor, dtype=dtype, device=device, config=config, offload=offload)
            if editor != NONE
            else None
        )
        with working("Starting"):
            from wordbrush.studio.app import serve
            from wordbrush.studio.desk import Studio
            from wordbrush.studio.state import Limits

            shared = Studio(
                loaded,
                options={"dtype": dtype, "device": device, "config": config, "offload": offload},
                editor=instructed,
                data=root,
                clip=clip,
                limits=Limits(pixels=max_pixels),
            )
            page, address = serve(shared, host=host, port=port, login=login, browser=browser)
        out.print(f"The studio is at {address} (Ctrl-C ends it)", soft_wrap=True)
        if login is None and not is_local(host):
            out.print("Everyone who can reach it may use it; --password asks who they are.", soft_wrap=True)
        try:
            threading.Event().wait()
        finally:
            page.close(verbose=False)


def read_login(file: Path | None, given: str | None) -> tuple[str, str] | None:
    """Return the name and password of a file, or of ``given``; None for neither.

    Raises:
        BadOption: the file cannot be read, or the text is not NAME:PASSWORD.
    """
    if file is None and given is None:
        return None
    try:
        text = (given or "") if file is None else file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise BadOption(
            f"--password {file} cannot be read: expected a text file with NAME:PASSWORD"
        ) from error
    name, _, secret = text.strip().partition(":")
    if not name or not secret:
        where = LOGIN if file is None else f"--password {file}"
        raise BadOption(f"{where} does not hold NAME:PASSWORD")
    return name, secret


def checked_folder(folder: Path) -> Path:
    """Return a folder without links in its name. Raises ``BadOption`` if there is none."""
    if not folder.is_dir():
        raise BadOption(f"--data {folder} is no folder")
    return folder.resolve()


def check_installed() -> None:
    """Raise ``WordbrushError`` if Gradio is not there."""
    if find_spec("gradio") is None:
        raise WordbrushError("the studio needs Gradio: pip install 'wordbrush[studio]'")


def is_local(host: str) -> bool:
    """Tell whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
