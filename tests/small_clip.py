"""A CLIP of a few thousand random weights, with storybook's tokenizer."""

from __future__ import annotations

from functools import lru_cache

import torch
from transformers import CLIPConfig, CLIPModel, CLIPTokenizerFast

from wordbrush.metrics.clip import Clip
from wordbrush.models import EMBEDDED


@lru_cache
def clip() -> Clip:
    tokenizer = CLIPTokenizerFast.from_pretrained(EMBEDDED["storybook"] / "tokenizer")
    layers = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {
        **layers,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 32,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {**layers, "image_size": 32, "patch_size": 16}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).eval()
    return Clip("small", model, tokenizer, mean=[0.5] * 3, std=[0.5] * 3)
