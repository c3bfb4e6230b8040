"""Tiny pipelines in the layout of the original Stable Diffusion checkpoints: one file, other names."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
VAE = {
    "conv_norm_out": "norm_out",
    "conv_shortcut": "nin_shortcut",
    "mid_block.attentions.0": "mid.attn_1",
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2",
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}


def write_single_file(
    folder: Path, path: Path, *, layers: int, levels: int, averages: Callable[[Tensor], Tensor] | None = None
) -> None:
    """Write a diffusers directory as one file.

    Args:
        layers: ``layers_per_block`` of both networks.
        levels: the number of blocks of the autoencoder.
        averages: makes the averaged weights of the network from the others; None for a file without.
    """
    unet = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    vae = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    text = load_file(folder / "text_encoder" / "model.safetensors")
    tensors = {f"model.diffusion_model.{_unet(name, layers)}": tensor for name, tensor in unet.items()}
    if averages:
        tensors |= {
            "model_ema." + name.removeprefix("model.").replace(".", ""): averages(tensor)
            for name, tensor in tensors.items()
        }
    tensors |= {
        f"first_stage_model.{_vae(name, levels)}": _conv(name, tensor) for name, tensor in vae.items()
    }
    tensors |= {f"cond_stage_model.transformer.text_model.{name}": tensor for name, tensor in text.items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def _unet(name: str, layers: int) -> str:
    per_block = layers + 1
    if match := re.match(r"down_blocks\.(\d+)\.(\w+)\.(\d+)\.(conv\.)?(.*)", name):
        block, part, index, _, rest = match.groups()
        if part == "downsamplers":
            return f"input_blocks.{per_block * (int(block) + 1)}.0.op.{rest}"
        place = f"input_blocks.{per_block * int(block) + int(index) + 1}"
        return f"{place}.{0 if part == 'resnets' else 1}.{_resnet(part, rest)}"
    if match := re.match(r"up_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", name):
        block, part, index, rest = match.groups()
        if part == "upsamplers":
            return f"output_blocks.{per_block * int(block) + layers}.2.{rest}"
        place = f"output_blocks.{per_block * int(block) + int(index)}"
        return f"{place}.{0 if part == 'resnets' else 1}.{_resnet(part, rest)}"
    for ours, theirs in UNET.items():
        if name.startswith(f"{ours}."):
            rest = name.removeprefix(f"{ours}.")
            return f"{theirs}.{_resnet('resnets' if 'resnets' in ours else '', rest)}"
    raise KeyError(name)


def _resnet(part: str, rest: str) -> str:
    layer, _, kind = rest.rpartition(".")
    return f"{RESNET[layer]}.{kind}" if part == "resnets" else rest


def _vae(name: str, levels: int) -> str:
    name = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d+)\.resnets", lambda m: f"up.{levels - 1 - int(m[1])}.block", name)
    name = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{levels - 1 - int(m[1])}.upsample", name)
    for ours, theirs in VAE.items():
        name = name.replace(f"{ours}.", f"{theirs}.")
    return name


def _conv(name: str, tensor: Tensor) -> Tensor:
    """The original's attention is made of 1 × 1 convolutions."""
    linear = "attentions" in name and name.endswith("weight") and "group_norm" not in name
    return tensor[:, :, None, None] if linear else tensor
