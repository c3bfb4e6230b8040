"""Tiny random-weight pipelines of the families beyond Stable Diffusion 1 and 2, of the real classes.

``model(kind)`` is what wordbrush edits; ``stock(model)`` is diffusers' own pipeline of the same parts.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import diffusers
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor
from transformers import (
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
    UMT5Config,
    UMT5EncoderModel,
)

from pipelines import BETAS, PIECES, WORDS, amplify, clip, unet, vae
from small_tokenizers import gemma, qwen
from wordbrush.backbones import families
from wordbrush.models import Defaults, Model
from wordbrush.sampling import start_noise

T5_LENGTH = 16
PIPELINES = {
    "lcm": "LatentConsistencyModelPipeline",
    "sdxl": "StableDiffusionXLPipeline",
    "sd3": "StableDiffusion3Pipeline",
    "sd3.5": "StableDiffusion3Pipeline",
    "flux": "FluxPipeline",
    "schnell": "FluxPipeline",
    "auraflow": "AuraFlowPipeline",
    "pixart-alpha": "PixArtAlphaPipeline",
    "pixart-sigma": "PixArtSigmaPipeline",
    "sana": "SanaPipeline",
    "lumina2": "Lumina2Pipeline",
    "qwen": "QwenImagePipeline",
    "zimage": "ZImagePipeline",
}
KINDS = tuple(PIPELINES)


@lru_cache
def t5_tokenizer() -> T5TokenizerFast:
    """Return a sentencepiece tokenizer that knows ``WORDS``; ``hippopotamus`` has four tokens here too."""
    letters = [chr(code) for code in (*range(ord("a"), ord("z") + 1), *range(ord("A"), ord("Z") + 1))]
    words = [f"▁{word}" for word in WORDS]
    pieces = dict.fromkeys([*words, *PIECES, "▁", *letters, ",", "."])
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    scores = [(piece, -len(piece) if len(piece.strip("▁")) < 2 else -1.0) for piece in pieces]
    return T5TokenizerFast(vocab=[*special, *scores], extra_ids=0, model_max_length=T5_LENGTH)


@lru_cache
def model(kind: str, dtype: torch.dtype = torch.float64) -> Model:
    """Return the pipeline of a kind; callers must leave it as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(KINDS.index(kind))
        parts = _BUILDERS[kind.partition("-")[0]](kind)
        for part in parts.values():
            if isinstance(part, torch.nn.Module):
                amplify(part.parameters())
                part.to(dtype).eval().requires_grad_(False)
    family = families.family_of(PIPELINES[kind])
    assert family
    own = {name: parts.pop(name) for name in ("unet", "vae", "text_encoder", "tokenizer", "scheduler")}
    parts |= {"_class_name": PIPELINES[kind]} if "_class_name" in family.settings else {}
    guided = {"guidance": 3.0} if kind == "zimage" else {}  # not Turbo, so that both branches are run
    defaults = Defaults(**{**family.defaults(own["unet"]), "steps": 2, **guided})
    return Model(kind, **own, defaults=defaults, family=family, more=parts)


def noise(model: Model, size: tuple[int, int]) -> Tensor:
    """Return the noise of seed 1, (1, C, h, w), for pictures of (height, width) pixels."""
    shape = (model.backbone.latent_channels, *(side // model.factor for side in size))
    return start_noise([1], shape).to(model.dtype)


def stock(model: Model) -> Any:
    """Return diffusers' own pipeline of the parts."""
    names = {name: part for name, part in model.more.items() if name != "_class_name"}
    missing = {}
    if model.name == "lcm":
        missing = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipeline = getattr(diffusers, PIPELINES[model.name])(
        **{model.family.network: model.unet},
        vae=model.vae,
        text_encoder=model.text_encoder,
        tokenizer=model.tokenizer,
        scheduler=type(model.scheduler).from_config(model.scheduler.config),
        **names,
        **missing,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _lcm(kind: str) -> dict[str, Any]:
    network = unet(cross_attention_dim=16, time_cond_proj_dim=9)
    scheduler = diffusers.LCMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=True)
    return {"unet": network, "vae": vae(), **clip(), "scheduler": scheduler}


def sdxl(kind: str, channels: int = 4) -> dict[str, Any]:
    """Make the parts of a Stable Diffusion XL; with twice the channels, of an editor."""
    network = unet(
        in_channels=channels,
        cross_attention_dim=32,
        use_linear_projection=True,
        transformer_layers_per_block=(1, 2),
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=16 + 6 * 8,
    )
    scheduler = diffusers.EulerDiscreteScheduler(**BETAS, steps_offset=1, timestep_spacing="leading")
    return {
        "unet": network,
        "vae": vae(),
        **clip(),
        **clip(CLIPTextModelWithProjection, "_2"),
        "scheduler": scheduler,
    }


def _sd3(kind: str) -> dict[str, Any]:
    dual = {"dual_attention_layers": (0,), "qk_norm": "rms_norm"} if kind == "sd3.5" else {}
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=32,
        patch_size=2,
        in_channels=16,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=32,
        pos_embed_max_size=32,
        **dual,
    )
    return {
        "unet": transformer,
        "vae": vae(16),
        **clip(CLIPTextModelWithProjection),
        **clip(CLIPTextModelWithProjection, "_2"),
        **_t5("_3"),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0),
    }


def _flux(kind: str) -> dict[str, Any]:
    dev = kind == "flux"
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=16,
        guidance_embeds=dev,
        axes_dims_rope=(2, 2, 4),
    )
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0 if dev else 1.0, use_dynamic_shifting=dev)
    return {"unet": transformer, "vae": vae(16), **clip(), **_t5("_2"), "scheduler": scheduler}


def _auraflow(kind: str) -> dict[str, Any]:
    transformer = diffusers.AuraFlowTransformer2DModel(
        sample_size=32,
        in_channels=4,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pos_embed_max_size=1024,
    )
    parts = {
        **_t5("", UMT5Config, UMT5EncoderModel),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=1.73),
    }
    return {"unet": transformer, "vae": vae(), **parts}


def _pixart(kind: str) -> dict[str, Any]:
    alpha = kind == "pixart-alpha"
    transformer = diffusers.PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        cross_attention_dim=24,
        caption_channels=32,
        sample_size=128 if alpha else 32,
        use_additional_conditions=alpha,
    )
    scheduler = diffusers.DPMSolverMultistepScheduler(beta_start=1e-4, beta_end=0.02, solver_order=2)
    return {"unet": transformer, "vae": vae(), **_t5(""), "scheduler": scheduler}


def _sana(kind: str) -> dict[str, Any]:
    transformer = diffusers.SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=16,
        sample_size=32,
        mlp_ratio=2.0,
    )
    autoencoder = diffusers.AutoencoderDC(
        latent_channels=4,
        attention_head_dim=4,
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        encoder_qkv_multiscales=((), ()),
        decoder_qkv_multiscales=((), ()),
        scaling_factor=0.41,
    )
    scheduler = diffusers.DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    return {"unet": transformer, "vae": autoencoder, **_gemma(), "scheduler": scheduler}


def _lumina2(kind: str) -> dict[str, Any]:
    transformer = diffusers.Lumina2Transformer2DModel(
        sample_size=32,
        in_channels=4,
        hidden_size=24,
        num_layers=2,
        num_refiner_layers=1,
        num_attention_heads=3,
        num_kv_heads=1,
        multiple_of=2,
        axes_dim_rope=(4, 2, 2),
        cap_feat_dim=16,
    )
    scheduler = FlowMatchEulerDiscreteScheduler(shift=6.0)
    return {"unet": transformer, "vae": vae(), **_gemma(), "scheduler": scheduler}


def _qwen(kind: str) -> dict[str, Any]:
    transformer = diffusers.QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(2, 2, 4),
    )
    autoencoder = diffusers.AutoencoderKLQwenImage(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1],
        num_res_blocks=1,
        temperal_downsample=[False],
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.0, 2.0, 0.5, 1.5],
    )
    tokenizer = qwen()
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    config = Qwen2_5_VLConfig(
        text_config={
            **sizes,
            "vocab_size": len(tokenizer),
            "rope_scaling": {"type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1000.0},
        },
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": 16,
            "fullatt_block_indexes": [0],
        },
    )
    return {
        "unet": transformer,
        "vae": autoencoder,
        "text_encoder": Qwen2_5_VLForConditionalGeneration(config),
        "tokenizer": tokenizer,
        "scheduler": FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True,
            base_shift=0.5,
            max_shift=0.9,
            max_image_seq_len=8192,
        ),
    }


def _zimage(kind: str) -> dict[str, Any]:
    transformer = diffusers.ZImageTransformer2DModel(
        in_channels=4,
        dim=16,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[4, 2, 2],
        axes_lens=[1024, 64, 64],
    )
    for padding in (transformer.x_pad_token, transformer.cap_pad_token):
        padding.data.normal_()  # attended to, so that it matters
    tokenizer = qwen()
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    return {
        "unet": transformer,
        "vae": vae(),
        "text_encoder": Qwen3Model(config),
        "tokenizer": tokenizer,
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0),
    }


_BUILDERS = {
    "lcm": _lcm,
    "sdxl": sdxl,
    "sd3": _sd3,
    "sd3.5": _sd3,
    "flux": _flux,
    "schnell": _flux,
    "auraflow": _auraflow,
    "pixart": _pixart,
    "sana": _sana,
    "lumina2": _lumina2,
    "qwen": _qwen,
    "zimage": _zimage,
}


def _gemma() -> dict[str, Any]:
    tokenizer = gemma()
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=4096,
        sliding_window=4096,
    )
    return {"text_encoder": Gemma2Model(config), "tokenizer": tokenizer}


def _t5(suffix: str, settings: Any = T5Config, kind: Any = T5EncoderModel) -> dict[str, Any]:
    tokenizer = t5_tokenizer()
    config = settings(
        vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2, dropout_rate=0.0
    )
    return {f"text_encoder{suffix}": kind(config), f"tokenizer{suffix}": tokenizer}
