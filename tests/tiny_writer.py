"""A random-weight GPT-2 with bytes as its vocabulary, as a transformers directory."""

from __future__ import annotations

from pathlib import Path

import torch


def build(folder: Path, *, seed: int = 0) -> Path:
    """Write the model to ``folder``; token n + 1 is byte n, token 0 ends a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    letters = bytes_to_unicode()
    vocabulary = {"<|endoftext|>": 0} | {letters[byte]: byte + 1 for byte in range(256)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(folder)
    torch.manual_seed(seed)
    # Embeddings larger than usual: adapters cannot change them, and logits are read off them.
    sizes = {"vocab_size": 257, "n_positions": 256, "n_embd": 32, "n_layer": 2, "n_head": 2}
    config = GPT2Config(**sizes, initializer_range=0.2, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def bytes_to_unicode() -> list[str]:
    """The printable character that stands for each byte in GPT-2's vocabulary."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]
