"""Parts of the documentation that are made when the site is built, so that they cannot drift from the code.

A page says where: ``<!-- every option -->`` and ``<!-- every card -->``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WEIGHTS = Path(__file__).parents[1] / "src" / "wordbrush" / "storybook" / "weights"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in what a page asks for; mkdocs calls this for every page."""
    for mark, make in (("<!-- every option -->", options), ("<!-- every card -->", cards)):
        if mark in markdown:
            markdown = markdown.replace(mark, make())
    return markdown


def options() -> str:
    """Return a section for every command, with a table of its arguments and options."""
    import typer.main

    from wordbrush.cli.app import app

    return "\n".join(_sections(typer.main.get_command(app), "wordbrush"))


def cards() -> str:
    """Return the cards of the models that come with wordbrush, one section each."""
    found = sorted(WEIGHTS.glob("*/README.md"))
    texts = [
        re.sub(r"\A---\n.*?\n---\n", "", path.read_text(encoding="utf-8"), flags=re.DOTALL) for path in found
    ]
    return "\n\n".join(re.sub(r"^#", "##", text.strip(), flags=re.MULTILINE) for text in texts)


def _sections(command: Any, name: str) -> Iterator[str]:
    yield from (f"## `{name}`", "", (command.help or "").strip(), "")
    rows = [row for parameter in command.params if (row := _row(parameter))]
    if rows:
        yield from ("| | value | default | |", "|---|---|---|---|", *rows, "")
    for inner in getattr(command, "commands", {}).values():
        yield from _sections(inner, f"{name} {inner.name}")


def _row(parameter: Any) -> str | None:
    if getattr(parameter, "hidden", False):
        return None
    meaning = parameter.help or ""
    if parameter.param_type_name == "argument":
        return _line(parameter.metavar or parameter.name.upper(), "", "", meaning)
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    if parameter.is_flag:
        return _line(names, "", "", meaning)
    if parameter.multiple and "epeat" not in meaning:
        meaning += " Repeatable."
    default = "" if parameter.default in (None, "") else f"`{parameter.default}`"
    return _line(names, parameter.metavar or parameter.type.name.upper(), default, meaning)


def _line(*cells: str) -> str:
    texts = [" ".join(text.split()).replace("|", "\\|").replace("<", "&lt;") for text in cells]
    return f"| {' | '.join(texts)} |"
