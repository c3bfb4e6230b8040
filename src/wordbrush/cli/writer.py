"""``wordbrush writer``: language models that write instructions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wordbrush.cli import options
from wordbrush.cli.console import out, print_json, progress

app = typer.Typer(no_args_is_help=True, help="Language models that write instructions: fine-tune one.")


@app.callback()
def root() -> None:
    """Language models that write instructions: fine-tune one."""


@app.command()
def finetune(
    model: Annotated[
        str, typer.Argument(help="A transformers folder, or a hub id, of a causal language model.")
    ],
    triplets: Annotated[
        Path, typer.Argument(help="JSON lines with input (or caption), edit and output, written by people.")
    ],
    folder: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the adapter goes; a new folder.")
    ],
    epochs: Annotated[
        int, typer.Option("--epochs", min=1, metavar="N", help="Passes over the triplets.")
    ] = 3,
    batch: Annotated[int, typer.Option("--batch", min=1, metavar="N", help="Triplets of a step.")] = 8,
    rate: Annotated[float, typer.Option("--rate", metavar="X", help="Learning rate.")] = 2e-4,
    rank: Annotated[
        int, typer.Option("--rank", min=1, metavar="N", help="Rank of the adapters (LoRA).")
    ] = 16,
    merge: Annotated[
        bool, typer.Option("--merge", help="Write a whole model instead of an adapter.")
    ] = False,
    seed: options.DrawnSeed = 0,
    device: options.Device = None,
    json: options.Json = False,
) -> None:
    """Fine-tune a language model on triplets, by LoRA with the loss on what it is to write.

    The same command goes on where a stopped one was.
    """
    from wordbrush.dataset.writers.finetune import Settings
    from wordbrush.dataset.writers.finetune import finetune as run

    settings = Settings(epochs=epochs, batch=batch, rate=rate, rank=rank, seed=seed)
    with progress("Fine-tuning") as shown:
        done = run(model, triplets, folder, settings=settings, merge=merge, device=device, progress=shown)
    if json:
        print_json(done)
        return
    out.print(
        f"{done['triplets']} triplets, {done['samples']} samples: loss per token {done['loss_before']:.3f} → "
        f"{done['loss_after']:.3f}, in {folder}",
        soft_wrap=True,
    )
