"""Byte-pair tokenizers of newer text encoders, of the real classes, with small vocabularies that know ``WORDS``."""

from __future__ import annotations

from functools import lru_cache

from tokenizers import pre_tokenizers
from transformers import GemmaTokenizerFast, Qwen2TokenizerFast

from pipelines import PIECES, WORDS

LETTERS = [*map(chr, range(ord("a"), ord("z") + 1)), *map(chr, range(ord("A"), ord("Z") + 1)), *",.!'-é"]
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@lru_cache
def gemma() -> GemmaTokenizerFast:
    """Return one with byte-pair merges over text in which ▁ stands for the space."""
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", "\t", *LETTERS]
    tokens += [f"<0x{byte:02X}>" for byte in range(256)]
    merges = _merged([f"▁{word}" for word in WORDS] + list(PIECES), tokens)
    tokenizer = GemmaTokenizerFast(vocab={token: n for n, token in enumerate(tokens)}, merges=merges)
    tokenizer.add_bos_token = True  # as the published ones are set
    return tokenizer


@lru_cache
def qwen() -> Qwen2TokenizerFast:
    """Return one with byte-pair merges over bytes, of which Ġ stands for the space, and a chat template."""
    tokens = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = _merged([f"Ġ{word}" for word in WORDS] + list(PIECES), tokens)
    tokens.append("<|endoftext|>")
    tokenizer = Qwen2TokenizerFast(vocab={token: n for n, token in enumerate(tokens)}, merges=merges)
    tokenizer.add_tokens(["<|im_start|>", "<|im_end|>"], special_tokens=True)
    tokenizer.chat_template = CHAT
    return tokenizer


def _merged(words: list[str], tokens: list[str]) -> list[tuple[str, str]]:
    """Return the merges that make one token of every word, and add what they make to ``tokens``."""
    merges: list[tuple[str, str]] = []
    for word in words:
        parts = list(word)
        while len(parts) > 1:
            merges += [] if (parts[0], parts[1]) in merges else [(parts[0], parts[1])]
            parts[:2] = [parts[0] + parts[1]]
            tokens += [] if parts[0] in tokens else [parts[0]]
    return merges
