"""A writer on this machine: any causal language model that transformers reads, fine-tuned or shown examples."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordbrush.dataset import weights
from wordbrush.dataset.writers.base import Answer, Write
from wordbrush.dataset.writers.form import BadForm, Example, read_completion
from wordbrush.errors import InvalidInput, ModelError, counted
from wordbrush.optional import optional

if TYPE_CHECKING:
    import torch

ADAPTER = "adapter_config.json"
MODEL = "causal language model"
TOO_LONG = Answer(fault="form: the caption is longer than the model reads")

TOLD_BY_PEFT = ("fan_in_fan_out", ".*is_gradient_checkpointing")
"""Warnings that concern no user: of GPT-2's transposed layers, and of a name that transformers has replaced."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn; the defaults are the published ones.

    Args:
        temperature: of the softmax, above 0.
        top_p: the smallest set of tokens with at least this probability is drawn from, in (0, 1].
        frequency_penalty: subtracted from a token's logit for each time it was written before.
        max_tokens: of one text.
    """

    temperature: float = 0.7
    top_p: float = 1.0
    frequency_penalty: float = 0.1
    max_tokens: int = 256

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise InvalidInput(f"the temperature has to be above 0, not {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise InvalidInput(f"top_p lies above 0 and up to 1, not {self.top_p}")
        if self.max_tokens < 1:
            raise InvalidInput(f"a text needs at least 1 token, not {self.max_tokens}")


PUBLISHED = Sampling()


@dataclass(frozen=True)
class LocalWriter:
    """Writes with a causal language model in the published form: ``caption ##`` → ``instruction %% caption END``.

    Args:
        model: a transformers directory, an adapter directory of ``wordbrush writer finetune``, or a hub id. Weights
            are read from safetensors only.
        name: what is recorded as the writer; by default the last part of ``model``.
        examples: triplets shown before every caption, for models that were not fine-tuned on such text.
        batch: captions written at once; has no influence on what is written but for the rounding of the network.
        device, dtype: where and in which precision the network computes; a GPU if there is one, and float32.
    """

    model: str
    name: str = ""
    examples: tuple[Example, ...] = ()
    sampling: Sampling = PUBLISHED
    batch: int = 32
    device: str | None = None
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", Path(self.model).name)

    @cached_property
    def head(self) -> str:
        """The examples as text, in front of every prompt."""
        return "".join(f"{one.prompt}{one.completion}\n\n" for one in self.examples)

    def fingerprint(self) -> dict[str, Any]:
        """Return the checksum of the weights (of a hub id, its commit), what is shown, and how is drawn.

        Of an adapter, it has that of the model it was trained on as well.
        """
        sampling, adapter = self.sampling, Path(self.model)
        return {
            "model": weights.digest(self.model),
            **({"base": weights.digest(_base(adapter))} if (adapter / ADAPTER).exists() else {}),
            "head": self.head,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "frequency_penalty": sampling.frequency_penalty,
            "max_tokens": sampling.max_tokens,
            "dtype": self.dtype,
        }

    def computes_on(self, found: str) -> str | None:
        """Return the kind of device that it was told, or else the one that is found."""
        return found if self.device is None else self.device.partition(":")[0]

    def check(self) -> None:
        """Raise now for what ``open`` would not find; nothing is loaded.

        Raises:
            ModelError: the model, or that of an adapter, is missing or damaged.
            InvalidInput: there is no such dtype.
        """
        from wordbrush.models import as_dtype

        as_dtype(self.dtype)
        weights.check(self.model, MODEL, index=["config.json", ADAPTER])
        if (Path(self.model) / ADAPTER).exists():
            weights.check(_base(Path(self.model)), MODEL, index=["config.json"])

    def open(self) -> Write:
        """Load model and tokenizer.

        Raises:
            ModelError: the model is missing, unreadable, incomplete, or has no safetensors weights.
            InvalidInput: there is no such dtype or device, or what is shown before a caption leaves no room for a text.
        """
        from wordbrush.dataset.writers.sampling import check_head, sample_texts
        from wordbrush.models import as_device, as_dtype

        model, tokenizer = load_causal(self.model, dtype=as_dtype(self.dtype), device=as_device(self.device))
        check_head(model, tokenizer, self.head + Example("", "", "").prompt, sampling=self.sampling)

        def write(captions: Sequence[str], seeds: Sequence[int]) -> list[Answer]:
            answers: list[Answer] = []
            for start in range(0, len(captions), self.batch):
                prompts = [
                    self.head + Example(text, "", "").prompt for text in captions[start : start + self.batch]
                ]
                texts = sample_texts(
                    model, tokenizer, prompts, seeds[start : start + self.batch], sampling=self.sampling
                )
                answers += [TOO_LONG if text is None else read_answer(*text) for text in texts]
            return answers

        return write


def read_answer(text: str, tokens_in: int, tokens_out: int) -> Answer:
    """Return a completion in the published form as an answer; its fault is of the gate ``form``."""
    try:
        instruction, after = read_completion(text)
    except BadForm as error:
        return Answer(raw=text, fault=f"form: {error}", tokens_in=tokens_in, tokens_out=tokens_out)
    return Answer(instruction, after, text, None, tokens_in, tokens_out)


def load_causal(name: str, *, dtype: torch.dtype, device: torch.device) -> tuple[Any, Any]:
    """Return (model, tokenizer) of a transformers directory, an adapter directory or a hub id, ready for inference.

    Raises:
        ModelError: it is missing, unreadable or incomplete, is no causal language model, or has no safetensors weights.
    """
    import transformers

    from wordbrush.quiet import quiet

    path = Path(name)
    if not path.is_dir() and not weights.is_hub_id(name):
        raise ModelError(
            f"there is no model at {name!r}: give a transformers directory or a hub id 'owner/model'"
        )
    if (path / ADAPTER).exists():
        return _load_adapter(path, dtype=dtype, device=device)
    if path.is_dir() and not any(path.glob("*.safetensors")):
        raise ModelError(f"{name} has no safetensors weights")
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(name)
            model, info = transformers.AutoModelForCausalLM.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
                name, dtype=dtype, use_safetensors=True, output_loading_info=True
            )
    except Exception as error:  # the libraries raise almost anything for what they cannot read
        raise ModelError(f"{name} cannot be read as a causal language model: {_first_line(error)}") from error
    if missing := sorted(info["missing_keys"]):
        raise ModelError(f"the weights of {name} lack {counted(len(missing), 'tensor')}, first {missing[0]}")
    return _ready(model, device), tokenizer


def _load_adapter(path: Path, *, dtype: torch.dtype, device: torch.device) -> tuple[Any, Any]:
    peft = optional("peft", extra="writer", why=f"the adapter {path}")
    if not (path / "adapter_model.safetensors").exists():
        raise ModelError(f"{path} is an adapter without adapter_model.safetensors")
    model, tokenizer = load_causal(_base(path), dtype=dtype, device=device)
    try:
        with peft_unwarned():
            adapted = peft.PeftModel.from_pretrained(model, str(path))
    except Exception as error:  # the libraries raise almost anything for what they cannot read
        raise ModelError(f"the adapter {path} cannot be read: {_first_line(error)}") from error
    return _ready(adapted, device), tokenizer


@contextmanager
def peft_unwarned() -> Iterator[None]:
    """Let peft adapt a model without its usual warnings."""
    with warnings.catch_warnings():
        for message in TOLD_BY_PEFT:
            warnings.filterwarnings("ignore", message=message)
        yield


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _ready(model: Any, device: torch.device) -> Any:
    return model.to(device).eval().requires_grad_(False)


def _base(adapter: Path) -> str:
    """Return the model that an adapter directory was trained on."""
    try:
        return str(json.loads((adapter / ADAPTER).read_text(encoding="utf-8"))["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{adapter / ADAPTER} does not name its base model") from error
