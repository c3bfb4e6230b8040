"""A text-to-image pipeline of real diffusers classes, with random weights and small enough for tests."""

from __future__ import annotations

from pathlib import Path


def build(folder: Path) -> Path:
    """Write the pipeline to ``folder`` as a diffusers directory and return it.

    Pictures of 64 x 64, attention at 8 x 8 and 4 x 4; the tokenizer makes one token of every letter, so every word
    has several. The weights are the same every time.
    """
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
    from transformers import CLIPTextConfig, CLIPTextModel

    import pipelines

    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipeline = StableDiffusionPipeline(
            unet=pipelines.unet(sample_size=8, block_out_channels=(8, 16), cross_attention_dim=16),
            vae=AutoencoderKL(
                block_out_channels=(4, 4, 4, 4),
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                norm_num_groups=2,
                sample_size=64,
            ),
            text_encoder=CLIPTextModel(
                CLIPTextConfig(
                    vocab_size=514,
                    hidden_size=16,
                    intermediate_size=32,
                    num_hidden_layers=1,
                    num_attention_heads=2,
                    bos_token_id=512,
                    eos_token_id=513,
                    pad_token_id=513,
                )
            ),
            tokenizer=letters(),
            scheduler=DDIMScheduler(**pipelines.BETAS, clip_sample=False, steps_offset=1),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipeline.save_pretrained(folder)
    return folder


def letters():
    """Return a CLIP tokenizer without merges: one token for every letter."""
    from tokenizers import pre_tokenizers
    from transformers import CLIPTokenizer

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(letter + "</w>" for letter in alphabet), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)
