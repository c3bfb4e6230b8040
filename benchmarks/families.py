"""What control costs in every family: edits in all steps against plainly generating the same two pictures.

    python benchmarks/families.py --size tiny      a quick check that the benchmark works
    python benchmarks/families.py                  moderate widths, random weights

Time is measured in rounds that run every way once, in changing order; a ratio is one of medians. Text encoding is
included, decoding is not. Peak memory is that of the process, or of the GPU, during one run, the weights included.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import diffusers
import torch
import typer
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

import wordbrush as wb
from common import keep, ratio, show
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


@dataclass(frozen=True)
class Size:
    """Heads of 64 channels, layers, latent pixels along each side, steps and rounds."""

    heads: int
    layers: int
    side: int
    steps: int
    rounds: int


SIZES = {"tiny": Size(1, 2, 16, 2, 3), "moderate": Size(6, 6, 64, 4, 7), "large": Size(16, 16, 128, 4, 7)}


def sdxl(size: Size) -> dict[str, Any]:
    """Two CLIPs and a U-Net."""
    channels = 64 * size.heads
    unet = diffusers.UNet2DConditionModel(
        sample_size=size.side,
        block_out_channels=(channels, 2 * channels),
        layers_per_block=2,
        transformer_layers_per_block=(1, max(1, size.layers // 4)),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=2 * channels,
        attention_head_dim=(size.heads, 2 * size.heads),
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
    channels = 64 * size.heads
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=size.side,
        num_layers=size.layers,
        num_attention_heads=size.heads,
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
    channels = 64 * size.heads
    transformer = diffusers.FluxTransformer2DModel(
        num_layers=size.layers // 2,
        num_single_layers=size.layers,
        attention_head_dim=64,
        num_attention_heads=size.heads,
        joint_attention_dim=2 * channels,
        pooled_projection_dim=channels,
        guidance_embeds=True,
        axes_dims_rope=(8, 28, 28),
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
    channels = 64 * size.heads
    transformer = diffusers.AuraFlowTransformer2DModel(
        sample_size=size.side,
        num_mmdit_layers=size.layers // 2,
        num_single_dit_layers=size.layers,
        attention_head_dim=64,
        num_attention_heads=size.heads,
        joint_attention_dim=2 * channels,
        caption_projection_dim=channels,
        pos_embed_max_size=size.side**2,
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=1.73)
    return {"unet": transformer, "vae": autoencoder(4), **t5("", 2 * channels), "scheduler": scheduler}


def pixart(size: Size) -> dict[str, Any]:
    """T5 and a transformer of self- and cross-attention."""
    channels = 64 * size.heads
    transformer = diffusers.PixArtTransformer2DModel(
        sample_size=size.side,
        num_layers=size.layers,
        num_attention_heads=size.heads,
        attention_head_dim=64,
        cross_attention_dim=channels,
        caption_channels=2 * channels,
        use_additional_conditions=False,
    )
    scheduler = diffusers.DPMSolverMultistepScheduler()
    parts = {"unet": transformer, "vae": autoencoder(4), **t5("", 2 * channels), "scheduler": scheduler}
    return {**parts, "_class_name": "PixArtSigmaPipeline"}


BUILDERS: dict[str, tuple[families.Family, Callable[[Size], dict[str, Any]]]] = {
    "sdxl": (families.SDXL, sdxl),
    "sd3.5": (families.SD3, sd3),
    "flux": (families.FLUX, flux),
    "auraflow": (families.AURAFLOW, auraflow),
    "pixart": (families.PIXART, pixart),
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
    latents = {way: run(model, size, settings, device) for way, settings in WAYS.items()}  # warms up, too
    memory = {
        way: peak(lambda s=settings: run(model, size, s, device), device) for way, settings in WAYS.items()
    }
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(size.rounds):
        for way in list(WAYS)[:: 1 if number % 2 else -1]:
            began = time.perf_counter()
            run(model, size, WAYS[way], device)
            seconds[way].append(time.perf_counter() - began)
    rows = {
        way: {
            "seconds": median(seconds[way]),
            "time_ratio": ratio(seconds[way], seconds["plain"]),
            "peak_mb": memory[way],
            "memory_ratio": memory[way] / memory["plain"],
            "moves": float((latents[way][1] - latents["plain"][1]).norm() / latents["plain"][1].norm()),
        }
        for way in WAYS
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


def peak(work: Callable[[], object], device: str) -> float:
    """Return the greatest memory of the process, or of the GPU, during some work, in megabytes."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated() / 1e6
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far
    work()
    (line,) = [
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    ]
    return int(line.split()[1]) * 1024 / 1e6


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(BUILDERS)}; repeatable.")] = None,
    size: Annotated[str, typer.Option(help=f"One of {', '.join(SIZES)}.")] = "moderate",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Measure and write benchmarks/results/families.json."""
    results = {name: measure(name, SIZES[size], device) for name in only or BUILDERS}
    if size != "tiny":
        print(keep("families", {"device": device, "size": size, "families": results}))


if __name__ == "__main__":
    typer.run(main)
