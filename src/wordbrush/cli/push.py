"""``wordbrush push``: send a trained editor or a data set to the Hugging Face hub."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from wordbrush.cli import options
from wordbrush.cli.console import out, print_json, working
from wordbrush.errors import InvalidInput
from wordbrush.push import check_name, pack, send


def push(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="An editor of 'train', or a data set of 'data export'.")
    ],
    name: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Its name on the hub.")],
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Check the card, list every file that would be sent, and stop.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Send without asking once more.")] = False,
    public: Annotated[
        bool, typer.Option("--public", help="For everyone to see, if the name is new; else for you alone.")
    ] = False,
    message: Annotated[
        str, typer.Option("--message", metavar="TEXT", help="Of the commit.")
    ] = "Upload with wordbrush",
    json: options.Json = False,
) -> None:
    """Send an editor or a data set, with its card, to the Hugging Face hub."""
    check_name(name)
    parcel = pack(folder)
    listed = {"kind": parcel.kind, "name": name, "public": public, "files": dict(parcel.files)}
    if not json:
        for file, size in parcel.files.items():
            out.print(f"{size:>14,}  {file}", soft_wrap=True)
    what = f"{len(parcel.files)} files, {parcel.megabytes:.1f} MB, as a {parcel.kind} {name}"
    if dry:
        if json:
            print_json({**listed, "sent": False})
        else:
            out.print(f"Would send {what}; licence {parcel.card['license']}", soft_wrap=True)
        return
    if not yes:
        if json or not sys.stdin.isatty():
            raise InvalidInput(f"nothing is sent unasked: add --yes to send {what}")
        typer.confirm(f"Send {what} ({'public' if public else 'private, if it is new'})?", abort=True)
    with working("Sending"):
        address = send(parcel, name, public=public, message=message)
    if json:
        print_json({**listed, "sent": True, "address": address})
    else:
        out.print(f"Sent to {address}", soft_wrap=True)
