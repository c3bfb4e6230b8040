"""The families of models that can be edited: which pipelines they are saved as, and what their parts are called.

To add one, write its file with a class that follows ``Backbone``, and a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from wordbrush.backbones import auraflow, flux, lumina2, pixart, qwen_image, sana, sd3, sdxl, z_image
from wordbrush.backbones.base import Backbone
from wordbrush.backbones.instruct import InstructBackbone, InstructXLBackbone
from wordbrush.backbones.unet import UNetBackbone

Settings = Mapping[str, Any]

# The entry of ``model_index.json`` by which diffusers tells an editor that sees its picture's latents scaled.
SCALED_CONDITION = "is_cosxl_edit"
# Of U-Nets that were distilled to few steps and take the scale of guidance as an input.
LCM_DEFAULTS: Settings = {"steps": 4, "guidance": 8.5, "scheduler": "lcm"}


@dataclass(frozen=True, eq=False)
class Family:
    """Models of one layout.

    Args:
        name: for messages and tables.
        pipelines: the diffusers classes they are saved as, and in each the other names of our parts.
        build: (network, parts by name, pixels per latent pixel) → backbone.
        network: the name of the network in the pipeline.
        encoders: the names of the text encoders; every one has the tokenizer of the same number.
        dispensable: the names of those that a pipeline may lack.
        settings: entries of ``model_index.json`` that the backbone reads.
        defaults: network → what is not the same as for Stable Diffusion.
        straight: whether they were trained on straight paths from noise to picture (rectified flow).
    """

    name: str
    pipelines: Mapping[str, Mapping[str, str]]
    build: Callable[[nn.Module, Mapping[str, Any], int], Backbone]
    network: str = "transformer"
    encoders: tuple[str, ...] = ("text_encoder",)
    dispensable: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    defaults: Callable[[Any], Settings] = lambda network: {}
    straight: bool = False

    @property
    def tokenizers(self) -> tuple[str, ...]:
        """The names of the tokenizers."""
        return tuple(map(_tokenizer_of, self.encoders))

    @property
    def more(self) -> tuple[str, ...]:
        """The names of the parts beyond those that every pipeline has."""
        return (*self.encoders[1:], *self.tokenizers[1:])

    def spared(self, lacks: Callable[[str], bool]) -> tuple[str, ...]:
        """Return the parts that a pipeline does without: dispensable encoders it lacks, and their tokenizers."""
        lacking = tuple(filter(lacks, self.dispensable))
        return (*lacking, *map(_tokenizer_of, lacking))


def _tokenizer_of(encoder: str) -> str:
    return encoder.replace("text_encoder", "tokenizer")


STABLE_DIFFUSION = Family(
    "Stable Diffusion 1 and 2",
    {
        "StableDiffusionPipeline": {},
        "StableDiffusionImg2ImgPipeline": {},
        "LDMTextToImagePipeline": {"vae": "vqvae", "text_encoder": "bert"},
        "LatentConsistencyModelPipeline": {},
    },
    lambda network, parts, factor: UNetBackbone(network, parts["text_encoder"], parts["tokenizer"]),
    network="unet",
    defaults=lambda network: LCM_DEFAULTS if network.config.time_cond_proj_dim is not None else {},
)
SDXL = Family(
    "Stable Diffusion XL",
    {"StableDiffusionXLPipeline": {}, "StableDiffusionXLImg2ImgPipeline": {}},
    sdxl.SDXLBackbone,
    network="unet",
    encoders=("text_encoder", "text_encoder_2"),
    settings=("force_zeros_for_empty_prompt",),
    defaults=lambda network: LCM_DEFAULTS if network.config.time_cond_proj_dim is not None else sdxl.DEFAULTS,
)
SD3 = Family(
    "Stable Diffusion 3 and 3.5",
    {"StableDiffusion3Pipeline": {}, "StableDiffusion3Img2ImgPipeline": {}},
    sd3.SD3Backbone,
    encoders=("text_encoder", "text_encoder_2", "text_encoder_3"),
    dispensable=("text_encoder_3",),
    defaults=lambda network: sd3.DEFAULTS,
    straight=True,
)
FLUX = Family(
    "FLUX.1",
    {"FluxPipeline": {}, "FluxImg2ImgPipeline": {}},
    flux.FluxBackbone,
    encoders=("text_encoder", "text_encoder_2"),
    defaults=lambda network: flux.DEFAULTS if network.config.guidance_embeds else flux.SCHNELL_DEFAULTS,
    straight=True,
)
PIXART = Family(
    "PixArt-α and Σ",
    {"PixArtAlphaPipeline": {}, "PixArtSigmaPipeline": {}},
    pixart.PixArtBackbone,
    settings=("_class_name",),
    defaults=lambda network: pixart.DEFAULTS,
)
AURAFLOW = Family(
    "AuraFlow",
    {"AuraFlowPipeline": {}},
    auraflow.AuraFlowBackbone,
    defaults=lambda network: auraflow.DEFAULTS,
    straight=True,
)
SANA = Family(
    "Sana",
    {"SanaPipeline": {}},
    sana.SanaBackbone,
    defaults=lambda network: sana.DEFAULTS,
    straight=True,
)
LUMINA2 = Family(
    "Lumina-Image 2.0",
    {"Lumina2Pipeline": {}},
    lumina2.Lumina2Backbone,
    defaults=lambda network: lumina2.DEFAULTS,
    straight=True,
)
QWEN_IMAGE = Family(
    "Qwen-Image",
    {"QwenImagePipeline": {}, "QwenImageImg2ImgPipeline": {}},
    qwen_image.QwenImageBackbone,
    defaults=lambda network: qwen_image.DEFAULTS,
    straight=True,
)
Z_IMAGE = Family(
    "Z-Image",
    {"ZImagePipeline": {}, "ZImageImg2ImgPipeline": {}},
    z_image.ZImageBackbone,
    defaults=lambda network: z_image.DEFAULTS,
    straight=True,
)

EDITORS = Family(
    "instruction editors",
    {"StableDiffusionInstructPix2PixPipeline": {}},
    lambda network, parts, factor: InstructBackbone(network, parts["text_encoder"], parts["tokenizer"]),
    network="unet",
)
EDITORS_XL = Family(
    "instruction editors of Stable Diffusion XL",
    {"StableDiffusionXLInstructPix2PixPipeline": {}},
    InstructXLBackbone,
    network="unet",
    encoders=SDXL.encoders,
    settings=(*SDXL.settings, SCALED_CONDITION),
    defaults=lambda network: {"text_guidance": sdxl.DEFAULTS["guidance"]},
)

FAMILIES = (STABLE_DIFFUSION, SDXL, SD3, FLUX, PIXART, AURAFLOW, SANA, LUMINA2, QWEN_IMAGE, Z_IMAGE)


def family_of(pipeline: str, families: Sequence[Family] = FAMILIES) -> Family | None:
    """Return the family of a diffusers pipeline class, or None if it is none of these."""
    return next((family for family in families if pipeline in family.pipelines), None)
