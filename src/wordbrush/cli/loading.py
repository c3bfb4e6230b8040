"""Loading the model that the options name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import wordbrush as wb
from wordbrush.cli.console import working
from wordbrush.cli.parse import BadOption
from wordbrush.errors import nearest

DTYPES = ("float32", "bfloat16", "float16", "float64")


def load_model(
    name: str, *, dtype: str | None, device: str | None, config: str | None, offload: bool
) -> wb.Model:
    """Load ``--model`` as the options say, showing that it takes a while."""
    with _loading(name, dtype):
        return wb.load(name, dtype=dtype, device=device, config=config, offload=offload)


def load_editor(
    name: str, *, dtype: str | None, device: str | None, config: str | None, offload: bool
) -> wb.Editor:
    """Load ``--model`` as an instruction editor, in the same way."""
    with _loading(name, dtype):
        return wb.load_editor(name, dtype=dtype, device=device, config=config, offload=offload)


@contextmanager
def _loading(name: str, dtype: str | None) -> Iterator[None]:
    if dtype is not None and dtype not in DTYPES:
        raise BadOption(f"--dtype {dtype!r} is not one of {', '.join(DTYPES)}{nearest(dtype, DTYPES)}")
    with working(f"Loading {name}"):
        hush()
        yield


def hush() -> None:
    """Keep the notices and bars of the model libraries off the terminal; downloads still show theirs."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.set_verbosity_error()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
