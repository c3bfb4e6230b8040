"""A network of one's own under control: one class that says where its attention layers and its text are.

The network here is a toy with random weights, so the pictures show nothing; the edit inside it is real.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

import wordbrush as wb
from wordbrush.backbones.base import Backbone, Site
from wordbrush.backbones.families import Family
from wordbrush.backbones.text import token_ids
from wordbrush.edits.prompt import read_prompt


class Attention(nn.Module):
    """Attention as control needs it: one call of scaled_dot_product_attention, (rows, heads, positions, channels)."""

    def __init__(self, width, context):
        super().__init__()
        self.query, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.key, self.value = nn.Linear(context, width), nn.Linear(context, width)

    def forward(self, pixels, context):
        query, key, value = self.query(pixels), self.key(context), self.value(context)
        return pixels + self.out(
            F.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None])[:, 0]
        )


class Toy(nn.Module):
    """A denoiser of 16 × 16 latents: one layer that looks at the picture, and one that looks at the text."""

    def __init__(self, text_width):
        super().__init__()
        self.enter, self.leave = nn.Conv2d(8, 32, 1), nn.Conv2d(32, 8, 1)
        self.looks_at_picture, self.looks_at_text = Attention(32, 32), Attention(32, text_width)

    def forward(self, latents, text):
        pixels = self.enter(latents)
        flat = pixels.flatten(2).transpose(1, 2)
        flat = self.looks_at_text(self.looks_at_picture(flat, flat), text)
        return self.leave(flat.transpose(1, 2).unflatten(2, pixels.shape[2:]))


class ToyBackbone(Backbone):
    """Where Toy's attention layers are, how its prompts are read and encoded, and how it is called."""

    latent_channels = 8
    native_latent_size = (16, 16)

    def __init__(self, network, parts, factor):
        self.network, self.encoder, self.tokenizer = network, parts["text_encoder"], parts["tokenizer"]

    @property
    def sites(self):
        picture, text = self.network.looks_at_picture, self.network.looks_at_text
        return (
            Site(0, "looks_at_picture", "self", "stack", 1, picture),
            Site(1, "looks_at_text", "cross", "stack", 1, text),
        )

    def read(self, text):
        return read_prompt(text, self.tokenizer, length=self.encoder.config.max_position_embeddings)

    def encode(self, prompts):
        return {"text": self.encoder(token_ids(prompts, self.tokenizer, self.encoder))[0]}

    def predict(self, latents, timestep, text):
        return self.network(latents, text["text"])


family = Family("toy", {}, ToyBackbone)  # a row of wordbrush.backbones.families, for one that can be loaded
model = wb.load("storybook")  # lends its text encoder and autoencoder
torch.manual_seed(0)
network = Toy(model.text_encoder.config.hidden_size).eval().requires_grad_(False)
model = replace(model, name="toy", unet=network, family=family)

settings = {"seed": 1, "steps": 4, "blend": "none"}
edited = wb.edit(model, "a cat on a beach", to="a dog on a beach", **settings)
plain = wb.generate(model, "a dog on a beach", seed=1, steps=4)
print(f"the edit moved the latents by {float((edited.latents[1] - plain.latents[0]).norm()):.3g}")
edited.grid().save("toy.png")
