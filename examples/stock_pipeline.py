"""Prompt-to-Prompt inside a pipeline of diffusers, which is called as ever."""

import torch
from diffusers import StableDiffusionPipeline

import wordbrush as wb
from wordbrush.models import EMBEDDED

# Any Stable Diffusion, SDXL, SD3, FLUX.1, PixArt or AuraFlow pipeline; this one comes with wordbrush.
pipe = StableDiffusionPipeline.from_pretrained(EMBEDDED["storybook"], dtype=torch.float32)
pipe.set_progress_bar_config(disable=True)

plan = wb.plan(wb.from_pipe(pipe), "a cat on a beach", to=["a dog on a beach", "a cat on a beach at night"])
print(plan.describe())

with wb.control(pipe, plan) as prompts:
    same_noise = [torch.Generator().manual_seed(3) for _ in prompts]
    pictures = pipe(prompts, generator=same_noise, num_inference_steps=10, guidance_scale=4.0).images

for number, picture in enumerate(pictures):
    picture.save(f"stock-{number}.png")
