"""Fine-tuning any causal language model on triplets written by people: low-rank adapters, loss on the completion alone.

LoRA: arXiv:2106.09685. The published writer was fine-tuned on 700 triplets in the same text form.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wordbrush.dataset.writers.form import Example, read_examples
from wordbrush.dataset.writers.local import ADAPTER, load_causal, peft_unwarned
from wordbrush.errors import DataError, InvalidInput, ModelError
from wordbrush.files import check_writable, write_files
from wordbrush.optional import optional

if TYPE_CHECKING:
    import torch

RUN = "run"
"""Folder inside the output that holds what a stopped run is continued from; it is removed at the end."""

SETTINGS = "finetune.json"


@dataclass(frozen=True)
class Settings:
    """What decides the result, beside model and triplets.

    Args:
        epochs: passes over the triplets.
        batch: triplets of a step.
        rate: learning rate after a short warm-up; it falls to zero over the second half.
        rank: of the adapters; their scale is 2.
        seed: of the adapters' first values and the order of the triplets.
    """

    epochs: int = 3
    batch: int = 8
    rate: float = 2e-4
    rank: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "rank"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name} has to be at least 1, not {getattr(self, name)}")
        if not (0 < self.rate < math.inf):
            raise InvalidInput(f"the learning rate has to be above 0, not {self.rate}")


def finetune(
    model: str,
    triplets: Path,
    out: Path,
    *,
    settings: Settings | None = None,
    merge: bool = False,
    device: str | None = None,
    save_every: float = 4.0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Fine-tune ``model`` and write an adapter directory, or with ``merge`` a whole model, to ``out``.

    The same call goes on where a stopped one was, and ends with the same bits.

    Args:
        model: a transformers directory or a hub id; safetensors only.
        triplets: JSON lines with ``input`` (or ``caption``), ``edit`` and ``output``.
        out: a folder that does not exist, or that such a run was stopped in.
        save_every: minutes between two savings of the run.
        progress: called with (triplets seen, in all).

    Returns:
        What was done: triplets, samples seen, and the mean loss per token over all triplets before and after.

    Raises:
        DataError: triplets that cannot be read, or are longer than the model reads; a folder with something else in it.
        ModelError: a model that cannot be read, or be adapted.
        CannotWrite: the disk refuses.
    """
    import torch

    from wordbrush.models import as_device

    chosen = settings or Settings()
    examples = read_examples(triplets)
    record = _record(model, triplets, chosen, merge=merge)
    _check_free(out, record)
    base, tokenizer = load_causal(model, dtype=torch.float32, device=as_device(device))
    rows = encode(examples, tokenizer, longest=getattr(base.config, "max_position_embeddings", None))
    before = _mean_loss(base, rows)
    adapted = _adapt(base, chosen)
    # Not before all of that is known to work: a folder that holds a run takes no other settings.
    write_files({out / RUN / SETTINGS: (json.dumps(record, indent=1) + "\n").encode()})
    seen = _train(adapted, rows, out / RUN, chosen, save_every=save_every, progress=progress)
    done = {
        "model": model,
        "out": str(out),
        "triplets": len(rows),
        "samples": seen,
        "loss_before": before,
        "loss_after": _mean_loss(adapted.eval(), rows),
    }
    _save(adapted, tokenizer, model, out, merge=merge)
    return done


def encode(
    examples: Sequence[Example], tokenizer: Any, *, longest: int | None
) -> list[tuple[list[int], list[int]]]:
    """Return (tokens read, tokens learned) of every triplet; what is learned ends with the end of the text.

    Raises:
        DataError: a triplet is longer than the model reads.
        ModelError: the tokenizer has no end of text.
    """
    if tokenizer.eos_token_id is None:
        raise ModelError("the model's tokenizer has no end-of-text token, so that nothing would ever end")
    rows = []
    for number, example in enumerate(examples, start=1):
        read = list(tokenizer(example.prompt).input_ids)
        learned = [
            *tokenizer(example.completion, add_special_tokens=False).input_ids,
            tokenizer.eos_token_id,
        ]
        if longest is not None and len(read) + len(learned) > longest:
            raise DataError(
                f"triplet {number} ({example.before[:40]!r}) has {len(read) + len(learned)} tokens, and the model "
                f"reads {longest}"
            )
        rows.append((read, learned))
    return rows


def _adapt(base: Any, settings: Settings) -> Any:
    import torch

    peft = optional("peft", extra="writer", why="fine-tuning a writer")
    # No dropout: a step is then a function of the seed and its number, and a stopped run can be continued exactly.
    config = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=2 * settings.rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    try:
        # peft draws the adapters' first values from the global generator: seeded here, and put back.
        with torch.random.fork_rng(devices=[]), peft_unwarned():
            torch.manual_seed(settings.seed)
            return peft.get_peft_model(base, config)
    except ValueError as error:
        raise ModelError(f"the model cannot be adapted: {str(error).splitlines()[0]}") from error


def _train(
    adapted: Any,
    rows: Sequence[tuple[list[int], list[int]]],
    folder: Path,
    settings: Settings,
    *,
    save_every: float,
    progress: Callable[[int, int], None] | None,
) -> int:
    """Train the adapters and return the samples seen: whole batches, so a few more than the epochs have at most."""
    from torch import nn

    from wordbrush.storybook.recipe.budget import Budget
    from wordbrush.storybook.recipe.loop import Run, Schedule
    from wordbrush.storybook.recipe.writer import batch_of

    # The loop saves what it trains; the frozen base model is no part of it.
    trained = nn.ParameterDict(
        {name.replace(".", "/"): p for name, p in adapted.named_parameters() if p.requires_grad}
    )
    steps = math.ceil(settings.epochs * len(rows) / settings.batch)
    total = steps * settings.batch
    warmup = min(total, 10 * settings.batch)
    schedule = Schedule(
        batch=settings.batch, peak=settings.rate, total=total, decay=total // 2, warmup=warmup
    )
    run = Run(trained, schedule, folder, seed=settings.seed)
    if run.checkpoint.exists():
        run.load()

    def loss(
        step: int, indices: np.ndarray, generator: torch.Generator
    ) -> tuple[torch.Tensor, dict[str, float]]:
        return adapted(**batch_of([rows[int(i)] for i in indices], adapted.device)).loss, {}

    run.fit(loss, len(rows), budget=Budget(progress=progress), save_every=save_every)
    return total


def _mean_loss(model: Any, rows: Sequence[tuple[list[int], list[int]]]) -> float:
    """Return the mean loss per learned token over all triplets."""
    import torch

    from wordbrush.storybook.recipe.writer import batch_of

    total = tokens = 0.0
    with torch.inference_mode():
        for start in range(0, len(rows), 16):
            part = rows[start : start + 16]
            learned = sum(len(row[1]) for row in part)
            total += learned * model(**batch_of(part, model.device)).loss.item()
            tokens += learned
    return total / tokens


def _record(model: str, triplets: Path, settings: Settings, *, merge: bool) -> dict[str, Any]:
    content = blake2b(triplets.read_bytes(), digest_size=16).hexdigest()
    return {"model": model, "triplets": content, "merge": merge, **asdict(settings)}


def _check_free(out: Path, record: dict[str, Any]) -> None:
    """Raise ``DataError`` if the output folder holds something else than this run."""
    path = out / RUN / SETTINGS
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        different = [name for name in record if record[name] != before.get(name)]
        if different:
            name = different[0]
            raise DataError(
                f"{out} holds a run with {name} = {before.get(name)!r}, not {record[name]!r}: "
                "give the same again, or choose another folder"
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} exists and holds no run that could be continued: choose another folder")
    check_writable(out)


def _save(adapted: Any, tokenizer: Any, base: str, out: Path, *, merge: bool) -> None:
    """Write everything beside the run, move it to its place, and let go of the run last."""
    fresh = out / RUN / "result"
    shutil.rmtree(fresh, ignore_errors=True)
    if merge:
        adapted.merge_and_unload().save_pretrained(fresh, safe_serialization=True)
    else:
        adapted.peft_config["default"].base_model_name_or_path = (
            str(Path(base).resolve()) if Path(base).is_dir() else base
        )
        adapted.save_pretrained(fresh, safe_serialization=True)
    tokenizer.save_pretrained(fresh)
    # The configuration is what makes it a model; it is moved when everything else is there.
    last = "config.json" if merge else ADAPTER
    for path in sorted(fresh.iterdir(), key=lambda path: path.name == last):
        path.replace(out / path.name)
    shutil.rmtree(out / RUN)
