"""diffusers' training example (examples/instruct_pix2pix/train_instruct_pix2pix.py) runs on an export as it stands.

The example is not part of the installed package and needs torchvision, so what it does with the data is repeated here,
step by step, with the names of its options; its two transforms do nothing at the sizes and defaults used.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edit_data import pair, write_pairs
from wordbrush.dataset.export import export
from wordbrush.dataset.select import select

os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"

RESOLUTION = 64
COLUMNS = {"original_image": "input_image", "edit_prompt": "edit_prompt", "edited_image": "edited_image"}
"""The defaults of ``--original_image_column``, ``--edit_prompt_column`` and ``--edited_image_column``."""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Five pairs that are all selected."""
    return write_pairs(tmp_path / "run", [pair(number) for number in range(5)])


def load(folder: Path, name: str, cache: Path) -> Any:
    """Load as ``--dataset_name FOLDER`` does, or as ``--train_data_dir FOLDER`` does, which reads imagefolder."""
    from datasets import load_dataset

    if name == "imagefolder":
        files = {"train": os.path.join(folder, "**")}
        return load_dataset("imagefolder", data_files=files, cache_dir=str(cache))
    return load_dataset(str(folder), None, cache_dir=str(cache))


def convert_to_np(image: Any, resolution: int) -> np.ndarray:
    """A picture as the example makes an array of it: (3, resolution, resolution)."""
    return np.array(image.convert("RGB").resize((resolution, resolution))).transpose(2, 0, 1)


def batches(dataset: Any, tokenize: Callable[[list[str]], Any], batch_size: int) -> Any:
    """The example's data loader, without shuffling."""
    import torch

    for column in COLUMNS.values():
        assert column in dataset["train"].column_names  # where the example raises ValueError

    def preprocess_train(examples: dict[str, Any]) -> dict[str, Any]:
        before = np.concatenate([convert_to_np(i, RESOLUTION) for i in examples[COLUMNS["original_image"]]])
        after = np.concatenate([convert_to_np(i, RESOLUTION) for i in examples[COLUMNS["edited_image"]]])
        images = 2 * (torch.tensor(np.concatenate([before, after])) / 255) - 1
        original, edited = images.chunk(2)
        examples["original_pixel_values"] = original.reshape(-1, 3, RESOLUTION, RESOLUTION)
        examples["edited_pixel_values"] = edited.reshape(-1, 3, RESOLUTION, RESOLUTION)
        examples["input_ids"] = tokenize(list(examples[COLUMNS["edit_prompt"]]))
        return examples

    def collate(examples: list[dict[str, Any]]) -> dict[str, Any]:
        names = ("original_pixel_values", "edited_pixel_values", "input_ids")
        return {name: torch.stack([example[name] for example in examples]) for name in names}

    return torch.utils.data.DataLoader(
        dataset["train"].with_transform(preprocess_train), batch_size=batch_size, collate_fn=collate
    )


def lengths(prompts: list[str]) -> Any:
    """In place of a tokenizer: the letters of each prompt, as numbers."""
    import torch

    return torch.tensor([[ord(letter) for letter in prompt[-4:]] for prompt in prompts])


@pytest.mark.parametrize("name", ["diffusers", "imagefolder"])
def test_its_data_loader_runs_on_our_export(name: str, run: Path, tmp_path: Path):
    import torch

    export(run, selection=select(run), format=name, out=tmp_path / "out")
    loader = batches(load(tmp_path / "out", name, tmp_path / "cache"), lengths, batch_size=2)
    read = list(loader)
    assert [len(batch["input_ids"]) for batch in read] == [2, 2, 1]
    original, edited = read[0]["original_pixel_values"], read[0]["edited_pixel_values"]
    assert original.shape == edited.shape == (2, 3, RESOLUTION, RESOLUTION)
    assert original.dtype == torch.float32
    assert original.min() >= -1
    assert original.max() <= 1
    assert not torch.equal(original, edited)
    expected = pair(0)
    assert "".join(map(chr, read[0]["input_ids"][0])) == expected.instruction[-4:]
    for tensor, data in ((original[0], expected.before_image), (edited[0], expected.after_image)):
        assert data is not None
        pixels = torch.tensor(convert_to_np(_open(data), RESOLUTION))
        assert torch.equal(tensor, 2 * (pixels / 255) - 1)


def _open(data: bytes) -> Any:
    import io

    from PIL import Image

    return Image.open(io.BytesIO(data))


@pytest.mark.slow
def test_one_of_its_training_steps(run: Path, tmp_path: Path, tiny_folder: Path):
    import torch
    from diffusers import DDPMScheduler, StableDiffusionPipeline
    from torch.nn import functional

    export(run, selection=select(run), format="diffusers", out=tmp_path / "out")
    model = StableDiffusionPipeline.from_pretrained(tiny_folder)
    unet, vae, tokenizer = model.unet, model.vae, model.tokenizer

    # The example widens the first convolution from 4 to 8 channels, and fills the new ones with zeros.
    narrow = unet.conv_in
    torch.manual_seed(0)
    unet.register_to_config(in_channels=8)
    unet.conv_in = torch.nn.Conv2d(8, narrow.out_channels, narrow.kernel_size, narrow.stride, narrow.padding)
    with torch.no_grad():
        unet.conv_in.weight.zero_()
        unet.conv_in.weight[:, :4].copy_(narrow.weight)

    def tokenize(prompts: list[str]) -> torch.Tensor:
        return tokenizer(
            prompts,
            max_length=tokenizer.model_max_length,
            padding="max_length",
            truncation=True,
            return_tensors="pt",
        ).input_ids

    batch = next(
        iter(batches(load(tmp_path / "out", "diffusers", tmp_path / "cache"), tokenize, batch_size=4))
    )
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-3)
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    with torch.no_grad():
        latents = vae.encode(batch["edited_pixel_values"]).latent_dist.sample() * vae.config.scaling_factor
        condition = vae.encode(batch["original_pixel_values"]).latent_dist.mode()
        text = model.text_encoder(batch["input_ids"])[0]
    noise = torch.randn_like(latents)
    times = torch.randint(0, scheduler.config.num_train_timesteps, (4,))
    noisy = torch.cat([scheduler.add_noise(latents, noise, times), condition], dim=1)
    loss = functional.mse_loss(unet(noisy, times, text).sample, noise)
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    assert unet.conv_in.weight[:, 4:].abs().max() > 0  # the picture's channels have begun to learn
