"""Tiny random-weight pipelines of the real diffusers and transformers classes, built in the process.

``model(kind)`` covers the layouts that differ for attention control:

- ``sd1``: epsilon prediction, 16² latents, attention at 16² and 8² (the storybook model's layout);
- ``sd2``: v-prediction with zero terminal SNR and trailing timesteps, 32² latents, attention at 32² and 16²,
  linear projections and several heads (Stable Diffusion 2's layout);
- ``ldm``: BERT text encoder and vector-quantised autoencoder (latent diffusion's layout).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel, VQModel
from transformers import BertTokenizerFast, CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from wordbrush.models import Defaults, Model

KINDS = ("sd1", "sd2", "ldm")
LENGTH = 24

# Words of one token; all other words fall into pieces of these or into letters. Earlier words are merged first, so
# "cat" stands before "at".
WORDS = (
    *(
        "hip",
        "po",
        "pota",
        "mus",
        "water",
        "color",
        "painting",
        "sunset",
        "castle",
        "burger",
        "beach",
        "eating",
    ),
    *("snow", "cat", "dog", "red", "the", "and", "with", "an", "a", "at", "in", "on", "of"),
)
PIECES = WORDS[:6]
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


@lru_cache
def clip_tokenizer() -> CLIPTokenizer:
    """Return a byte-level BPE tokenizer that knows ``WORDS``; ``hippopotamus`` has four tokens, ``watercolor`` two."""
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        for ending in ("", "</w>") if word in PIECES else ("</w>",):
            parts = [*word[:-1], word[-1] + ending]
            while len(parts) > 1:
                merges += [] if (parts[0], parts[1]) in merges else [(parts[0], parts[1])]
                parts[:2] = [parts[0] + parts[1]]
                tokens += [] if parts[0] in tokens else [parts[0]]
    vocabulary = {token: number for number, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)


@lru_cache
def bert_tokenizer() -> BertTokenizerFast:
    """Return a WordPiece tokenizer that knows ``WORDS`` and letters."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = [*WORDS, *letters, *(f"##{piece}" for piece in (*WORDS, *letters)), ",", "."]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys([*special, *pieces]))}
    return BertTokenizerFast(vocab=vocabulary, model_max_length=LENGTH)


@lru_cache
def model(kind: str = "sd1", dtype: torch.dtype = torch.float64) -> Model:
    """Return the pipeline of a kind; callers must leave it as it is."""
    return Model(kind, **parts(kind, dtype), defaults=Defaults(steps=4))


def parts(kind: str, dtype: torch.dtype) -> dict[str, Any]:
    """Make the parts of a pipeline; ``editor`` is ``sd1`` with a network of twice the input channels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed((*KINDS, "editor").index(kind))
        made = {"sd1": _sd1, "sd2": _sd2, "ldm": _ldm, "editor": lambda: _sd1(channels=8)}[kind]()
        for part in ("unet", "vae", "text_encoder"):
            amplify(made[part].parameters())
            made[part].to(dtype).eval().requires_grad_(False)
    return made


def amplify(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Make attention of random weights decisive, so that editing it moves the output."""
    for parameter in parameters:
        if parameter.ndim == 2:
            parameter.data *= 3


def drawn(height: int = 32, width: int = 32) -> np.ndarray:
    """Return a picture with a different colour in every pixel row and column."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 255 // height, columns * 255 // width, rows * 0 + 80], -1).astype(np.uint8)


def _sd1(channels: int = 4) -> dict[str, Any]:
    network = unet(in_channels=channels, cross_attention_dim=16)
    scheduler = DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    return {"unet": network, "vae": vae(), **clip(), "scheduler": scheduler}


def _sd2() -> dict[str, Any]:
    network = unet(
        sample_size=32,
        block_out_channels=(8, 16),
        cross_attention_dim=16,
        attention_head_dim=(1, 2),
        use_linear_projection=True,
    )
    scheduler = DDIMScheduler(
        **BETAS,
        clip_sample=False,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )
    return {"unet": network, "vae": vae(), **clip(), "scheduler": scheduler}


def _ldm() -> dict[str, Any]:
    from diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion import LDMBertConfig, LDMBertModel

    parts = _sd1()
    tokenizer = bert_tokenizer()
    config = LDMBertConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=LENGTH,
        encoder_layers=1,
        encoder_ffn_dim=32,
        encoder_attention_heads=2,
        head_dim=8,
        d_model=16,
        pad_token_id=0,
    )
    autoencoder = VQModel(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        num_vq_embeddings=16,
        norm_num_groups=4,
    )
    return {**parts, "vae": autoencoder, "text_encoder": LDMBertModel(config), "tokenizer": tokenizer}


def unet(**settings: Any) -> UNet2DConditionModel:
    """Return a network with attention at two resolutions."""
    usual: dict[str, Any] = {
        "sample_size": 16,
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D",) * 2,
        "up_block_types": ("CrossAttnUpBlock2D",) * 2,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
    }
    return UNet2DConditionModel(**{**usual, **settings})


def vae(channels: int = 4) -> AutoencoderKL:
    """Return an autoencoder of 2 pixels a latent pixel; one of 16 channels shifts them, as those of later models do."""
    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        norm_num_groups=4,
        shift_factor=0.1 if channels == 16 else None,
    )


def clip(kind: Any = CLIPTextModel, suffix: str = "") -> dict[str, Any]:
    """Return a text encoder with its tokenizer, named as a pipeline's first (or ``"_2"``) ones."""
    tokenizer = clip_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        projection_dim=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return {f"text_encoder{suffix}": kind(config), f"tokenizer{suffix}": tokenizer}
