"""The command line: one file per group of commands. Nothing here imports torch before a command needs it."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; the console script ``wordbrush``."""
    try:
        from wordbrush.cli.app import app

        app(prog_name="wordbrush")
    except KeyboardInterrupt:  # before a command has begun
        sys.exit(130)
