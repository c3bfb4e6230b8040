"""What control costs in every family: edits in all steps against plainly generating the same two pictures.

    python benchmarks/families.py --size tiny      a quick check that the benchmark works
    python benchmarks/families.py                  moderate widths, random weights
    python benchmarks/families.py --size real      the widths of the real models, few blocks, small pictures

A picture of 32 × 32 latent pixels has 256 positions in most families, fewer than real ones, so attention is a smaller
part of the work there than it is at 1024 pixels. Text encoders are shallow stand-ins.

Time, on processors that of the process, is measured in rounds that run every way once, in changing order; a ratio is
one of medians. Text encoding is included, decoding is not. Peak memory is that of the process, or of the GPU, during
one run, the weights included.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Annotated, Any

import diffusers
import torch
import typer
from tokenizers import pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizerFast,
    Qwen2TokenizerFast,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

import wordbrush as wb
from common import keep, kept, measured, ratio, show, stopwatch
from subjects import SOURCE, TARGET, letters
from wordbrush.backbones import families
from wordbrush.models import Defaults

SEED = 3
EVERYWHERE = wb.SelfAttention(1.0, max_pixels=10**9)
NOTHING = {"edits": [], "self_attention": 0.0}
WAYS: dict[str, dict[str, Any]] = {
    "plain": NOTHING,
    "replace": {"edits": wb.Replace(until=1.0), "self_attention": 0.0},
    "replace + self-attention": {"edits": wb.Replace(until=1.0), "self_attention": EVERYWHERE},
    "refine + re-weight": {
        "edits": [wb.Refine(until=1.0), wb.Reweight({"beach": 2.0})],
        "self_attention": 0.0,
    },
}


# Families whose self-attention has no maps that could be injected.
LINEAR = ("sana",)


@dataclass(frozen=True)
class Size:
    """Heads (None for those of the real models), layers, latent pixels along each side, steps and rounds."""

    heads: int | None
    layers: int
    side: int
    steps: int
    rounds: int


SIZES = {
    "tiny": Size(2, 2, 16, 2, 3),
    "moderate": Size(6, 6, 64, 4, 7),
    "large": Size(16, 16, 128, 4, 7),
    "real": Size(None, 2, 32, 1, 2),
}
# Heads, and channels of each, of SDXL's first level, SD3.5 medium, FLUX.1, AuraFlow, PixArt-Σ, Sana's cross-attention,
# Lumina-Image 2.0, Qwen-Image and Z-Image.
REAL = {
    "sdxl": (5, 64),
    "sd3.5": (24, 64),
    "flux": (24, 128),
    "auraflow": (12, 256),
    "pixart": (16, 72),
    "sana": (20, 112),
    "lumina2": (24, 96),
    "qwen": (24, 128),
    "zimage": (30, 128),
}


def width(name: str, size: Size) -> tuple[int, int, int]:
    """Return the heads of a family at a size, the channels of each, and all of them together."""
    heads, each = REAL[name] if size.heads is None else (size.heads, 64)
    return heads, each, heads * each


def sdxl(size: Size) -> dict[str, Any]:
    """Two CLIPs and a U-Net."""
    heads, _, channels = width("sdxl", size)
    unet = diffusers.UNet2DConditionModel(
        sample_size=size.side,
        block_out_channels=(channels, 2 * channels),
        layers_per_block=2,
        transformer_layers_per_block=(1, max(1, size.layers // 4)),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=2 * channels,
        attention_head_dim=(heads, 2 * heads),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=channels + 6 * 32,
    )
    return {
        "unet": unet,
        "vae": autoencoder(4),
        **clip("", CLIPTextModel, channels),
        **clip("_2", CLIPTextModelWithProjection, channels),
        "scheduler": diffusers.EulerDiscreteScheduler(beta_schedule="scaled_linear"),
    }


def sd3(size: Size) -> dict[str, Any]:
    """Two CLIPs, T5, and joint attention with the text last."""
    heads, each, channels = width("sd3.5", size)
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=size.side,
        num_layers=size.layers,
        num_attention_heads=heads,
        attention_head_dim=each,
        joint_attention_dim=2 * channels,
        caption_projection_dim=channels,
        pooled_projection_dim=2 * channels,
        pos_embed_max_size=size.side,
        dual_attention_layers=tuple(range(size.layers // 2)),
        qk_norm="rms_norm",
    )
    return {
        "unet": transformer,
        "vae": autoencoder(16),
        **clip("", CLIPTextModelWithProjection, channels),
        **clip("_2", CLIPTextModelWithProjection, channels),
        **t5("_3", 2 * channels),
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    }


def flux(size: Size) -> dict[str, Any]:
    """CLIP's summary, T5, double and single blocks with the text first."""
    heads, each, channels = width("flux", size)
    transformer = diffusers.FluxTransformer2DModel(
        num_layers=size.layers // 2,
        num_single_layers=size.layers,
        attention_head_dim=each,
        num_attention_heads=heads,
        joint_attention_dim=2 * channels,
        pooled_projection_dim=channels,
        guidance_embeds=True,
        axes_dims_rope=(each // 8, each * 7 // 16, each * 7 // 16),
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    return {
        "unet": transformer,
        "vae": autoencoder(16),
        **clip("", CLIPTextModel, channels),
        **t5("_2", 2 * channels),
        "scheduler": scheduler,
    }


def auraflow(size: Size) -> dict[str, Any]:
    """T5, double and single blocks with registers and text first."""
    heads, each, channels = width("auraflow", size)
    transformer = diffusers.AuraFlowTransformer2DModel(
        sample_size=size.side,
        num_mmdit_layers=size.layers // 2,
        num_single_dit_layers=size.layers,
        attention_head_dim=each,
        num_attention_heads=heads,
        joint_attention_dim=2 * channels,
        caption_projection_dim=channels,
        pos_embed_max_size=size.side**2,
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=1.73)
    return {"unet": transformer, "vae": autoencoder(4), **t5("", 2 * channels), "scheduler": scheduler}


def pixart(size: Size) -> dict[str, Any]:
    """T5 and a transformer of self- and cross-attention."""
    heads, each, channels = width("pixart", size)
    transformer = diffusers.PixArtTransformer2DModel(
        sample_size=size.side,
        num_layers=size.layers,
        num_attention_heads=heads,
        attention_head_dim=each,
        cross_attention_dim=channels,
        caption_channels=2 * channels,
        use_additional_conditions=False,
    )
    scheduler = diffusers.DPMSolverMultistepScheduler()
    parts = {"unet": transformer, "vae": autoencoder(4), **t5("", 2 * channels), "scheduler": scheduler}
    return {**parts, "_class_name": "PixArtSigmaPipeline"}


def sana(size: Size) -> dict[str, Any]:
    """Gemma, and a transformer of linear self-attention and of cross-attention."""
    heads, each, channels = width("sana", size)
    transformer = diffusers.SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        sample_size=size.side,
        num_layers=size.layers,
        num_attention_heads=channels // 32,
        attention_head_dim=32,
        num_cross_attention_heads=heads,
        cross_attention_head_dim=each,
        cross_attention_dim=channels,
        caption_channels=TEXT,
    )
    scheduler = diffusers.DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    return {"unet": transformer, "vae": autoencoder(4), **gemma(), "scheduler": scheduler}


def lumina2(size: Size) -> dict[str, Any]:
    """Gemma, and blocks of joint attention over texts of unequal lengths."""
    heads, each, channels = width("lumina2", size)
    transformer = diffusers.Lumina2Transformer2DModel(
        sample_size=size.side,
        hidden_size=channels,
        num_layers=size.layers,
        num_refiner_layers=1,
        num_attention_heads=heads,
        num_kv_heads=heads // 3 or 1,
        axes_dim_rope=(each - 4 * (each // 6), 2 * (each // 6), 2 * (each // 6)),
        cap_feat_dim=TEXT,
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=6.0)
    return {"unet": transformer, "vae": autoencoder(16), **gemma(), "scheduler": scheduler}


def qwen(size: Size) -> dict[str, Any]:
    """Qwen, and double blocks with the text first and masked."""
    heads, each, _ = width("qwen", size)
    transformer = diffusers.QwenImageTransformer2DModel(
        num_layers=size.layers // 2,
        attention_head_dim=each,
        num_attention_heads=heads,
        joint_attention_dim=TEXT,
        axes_dims_rope=(each // 8, each * 7 // 16, each * 7 // 16),
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    return {"unet": transformer, "vae": autoencoder(16), **qwen3(), "scheduler": scheduler}


def zimage(size: Size) -> dict[str, Any]:
    """Qwen, and blocks of joint attention with the text last."""
    heads, each, channels = width("zimage", size)
    transformer = diffusers.ZImageTransformer2DModel(
        dim=channels,
        n_layers=size.layers,
        n_refiner_layers=1,
        n_heads=heads,
        n_kv_heads=heads,
        cap_feat_dim=TEXT,
        axes_dims=[each // 4, each * 3 // 8, each * 3 // 8],
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    return {"unet": transformer, "vae": autoencoder(16), **qwen3(), "scheduler": scheduler}


BUILDERS: dict[str, tuple[families.Family, Callable[[Size], dict[str, Any]]]] = {
    "sdxl": (families.SDXL, sdxl),
    "sd3.5": (families.SD3, sd3),
    "flux": (families.FLUX, flux),
    "auraflow": (families.AURAFLOW, auraflow),
    "pixart": (families.PIXART, pixart),
    "sana": (families.SANA, sana),
    "lumina2": (families.LUMINA2, lumina2),
    "qwen": (families.QWEN_IMAGE, qwen),
    "zimage": (families.Z_IMAGE, zimage),
}


def autoencoder(channels: int) -> diffusers.AutoencoderKL:
    """Build a toy autoencoder, which is not used."""
    return diffusers.AutoencoderKL(
        block_out_channels=(4, 4, 4, 4),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=channels,
        norm_num_groups=2,
    )


def clip(suffix: str, kind: Any, channels: int) -> dict[str, Any]:
    """Build a shallow CLIP text encoder of some width, and its tokenizer."""
    tokenizer = letters()
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=channels,
        intermediate_size=channels,
        projection_dim=channels,
        num_hidden_layers=2,
        num_attention_heads=channels // 64,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return {f"text_encoder{suffix}": kind(config), f"tokenizer{suffix}": tokenizer}


def t5(suffix: str, channels: int) -> dict[str, Any]:
    """Build a shallow T5 encoder of some width, and a tokenizer with a token for every letter."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0)]
    alphabet = [(chr(code), -1.0) for code in range(ord("a"), ord("z") + 1)]
    tokenizer = T5TokenizerFast(vocab=[*pieces, *alphabet], extra_ids=0, model_max_length=512)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=channels, d_kv=64, d_ff=channels, num_layers=1, num_heads=1
    )
    return {f"text_encoder{suffix}": T5EncoderModel(config), f"tokenizer{suffix}": tokenizer}


# Channels of the stand-ins for Gemma and Qwen, and their shape.
TEXT = 256
SHALLOW = {
    "hidden_size": TEXT,
    "intermediate_size": TEXT,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 64,
}


def gemma() -> dict[str, Any]:
    """Build a shallow Gemma, and a tokenizer with a token for every letter."""
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "▁", *map(chr, range(33, 127)), "\n"]
    vocabulary = {
        token: number for number, token in enumerate([*tokens, *(f"<0x{n:02X}>" for n in range(256))])
    }
    tokenizer = GemmaTokenizerFast(vocab=vocabulary, merges=[])
    tokenizer.add_bos_token = True
    encoder = Gemma2Model(Gemma2Config(vocab_size=len(tokenizer), **SHALLOW))
    return {"text_encoder": encoder, "tokenizer": tokenizer}


def qwen3() -> dict[str, Any]:
    """Build a shallow Qwen, and a tokenizer with a token for every letter and a chat template."""
    alphabet = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<|endoftext|>"]
    tokenizer = Qwen2TokenizerFast(vocab={token: n for n, token in enumerate(alphabet)}, merges=[])
    tokenizer.chat_template = (
        "{% for message in messages %}<|im_start|>user\n{{ message.content }}{% endfor %}"
    )
    encoder = Qwen3Model(Qwen3Config(vocab_size=len(tokenizer), **SHALLOW))
    return {"text_encoder": encoder, "tokenizer": tokenizer}


def build(name: str, size: Size, device: str) -> wb.Model:
    """Build a pipeline of a family with random weights."""
    torch.manual_seed(0)
    family, builder = BUILDERS[name]
    parts = builder(size)
    for part in parts.values():
        if isinstance(part, torch.nn.Module):
            part.to(device).eval().requires_grad_(False)
    own = {part: parts.pop(part) for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler")}
    defaults = Defaults(**family.defaults(own["unet"]))
    return wb.Model(name, **own, defaults=defaults, family=family, more=parts)


def run(model: wb.Model, size: Size, way: dict[str, Any], device: str) -> torch.Tensor:
    """Make the two pictures' latents one way."""
    side = size.side * model.factor
    made = wb.edit(model, SOURCE, to=TARGET, seed=SEED, steps=size.steps, size=side, **way).latents
    if device == "cuda":
        torch.cuda.synchronize()
    return made


def measure(name: str, size: Size, device: str) -> dict[str, Any]:
    """Measure one family and print its table."""
    model = build(name, size, device)
    latents: dict[str, torch.Tensor] = {}
    memory: dict[str, float] = {}
    run(model, size, NOTHING, device)  # warms up
    for way, settings in WAYS.items():
        if name in LINEAR and settings["self_attention"]:
            continue
        latents[way], memory[way] = measured(lambda s=settings: run(model, size, s, device), device)
    clock = stopwatch(device)
    seconds: dict[str, list[float]] = {way: [] for way in latents}
    for number in range(size.rounds):
        for way in list(latents)[:: 1 if number % 2 else -1]:
            began = clock()
            run(model, size, WAYS[way], device)
            seconds[way].append(clock() - began)
    rows = {
        way: {
            "seconds": median(seconds[way]),
            "time_ratio": ratio(seconds[way], seconds["plain"]),
            "peak_mb": memory[way],
            "memory_ratio": memory[way] / memory["plain"],
            "moves": float((latents[way][1] - latents["plain"][1]).norm() / latents["plain"][1].norm()),
        }
        for way in latents
    }
    parameters = sum(parameter.numel() for parameter in model.unet.parameters())
    show(
        f"{name}: {parameters / 1e6:.1f} million parameters, latents of {size.side} × {size.side}, {size.steps} steps",
        ["", "seconds", "time ratio", "peak MB", "memory ratio", "moves"],
        [
            [
                way,
                f"{row['seconds']:.3f}",
                f"{row['time_ratio']:.3f}",
                f"{row['peak_mb']:.0f}",
                f"{row['memory_ratio']:.3f}",
                f"{row['moves']:.1g}",
            ]
            for way, row in rows.items()
        ],
    )
    return {"parameters": parameters, "ways": rows}


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(BUILDERS)}; repeatable.")] = None,
    size: Annotated[str, typer.Option(help=f"One of {', '.join(SIZES)}.")] = "moderate",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Measure and write benchmarks/results/families.json."""
    results = {name: measure(name, SIZES[size], device) for name in only or BUILDERS}
    if size != "tiny":
        before = kept("families") if only else {}
        others = before.get("families", {}) if before.get("size") == size else {}
        print(keep("families", {"device": device, "size": size, "families": others | results}))


if __name__ == "__main__":
    typer.run(main)
