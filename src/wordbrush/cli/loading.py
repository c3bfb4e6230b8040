"""Loading the model that the options name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wordbrush.cli.console import working
from wordbrush.cli.parse import BadOption
from wordbrush.errors import nearest

if TYPE_CHECKING:
    import wordbrush as wb

DTYPES = ("float32", "bfloat16", "float16", "float64")


def load_model(name: str, *, dtype: str | None, device: str | None, config: str | None) -> wb.Model:
    """Load ``--model`` with ``--dtype``, ``--device`` and ``--config``, showing that it takes a while."""
    if dtype is not None and dtype not in DTYPES:
        raise BadOption(f"--dtype {dtype!r} is not one of {', '.join(DTYPES)}{nearest(dtype, DTYPES)}")
    with working(f"Loading {name}"):
        import torch

        import wordbrush as wb

        hush()
        return wb.load(name, dtype=getattr(torch, dtype) if dtype else None, device=device, config=config)


def hush() -> None:
    """Keep the notices and bars of the model libraries off the terminal; downloads still show theirs."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.set_verbosity_error()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
