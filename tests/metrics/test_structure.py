"""Self-similarity of keys: against the same written out, and what it must and must not react to."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ViTConfig, ViTModel

import small_clip
import wordbrush as wb
from wordbrush.metrics.structure import Keys, load_keys, structure_distance

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def vit() -> ViTModel:
    torch.manual_seed(3)
    shape = {"hidden_size": 16, "intermediate_size": 32, "image_size": 32, "patch_size": 8}
    config = ViTConfig(**shape, num_hidden_layers=3, num_attention_heads=2)
    return ViTModel(config, add_pooling_layer=False).eval()


def picture(seed: int, side: int = 32) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


@pytest.mark.parametrize("levels", [False, True])
def test_it_is_the_similarity_of_the_last_layers_keys(levels: bool):
    """The keys are computed anew: of what enters the last layer, which is what leaves the one before."""
    model = vit()
    keys = Keys("tiny", model, size=32, mean=MEAN, std=STD, levels=levels)
    pixels = np.asarray(picture(0)).astype(np.float64) / (1 if levels else 255)
    inputs = torch.tensor((pixels - MEAN) / STD, dtype=torch.float32).permute(2, 0, 1)[None]
    with torch.no_grad():
        entering = model(pixel_values=inputs, output_hidden_states=True).hidden_states[-2]
        last = [layer for name, layer in model.named_modules() if name.endswith("layernorm_before")][-1]
        projection = [layer for name, layer in model.named_modules() if name.endswith(("k_proj", "key"))][-1]
        read = projection(last(entering))[0].double().numpy()  # pyright: ignore[reportCallIssue]
    lengths = np.linalg.norm(read, axis=1)
    expected = read @ read.T / np.outer(lengths, lengths)
    found = keys.self_similarity(picture(0)).numpy()
    assert found.shape == (17, 17)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_distance():
    keys = Keys("tiny", vit(), size=32, mean=MEAN, std=STD)
    a, b = picture(0), picture(1)
    assert structure_distance(keys, a, a) == 0
    apart = (keys.self_similarity(a) - keys.self_similarity(b)).square().mean().item()
    assert structure_distance(keys, a, b) == pytest.approx(apart)
    assert structure_distance(keys, a, b) == pytest.approx(structure_distance(keys, b, a))
    assert apart > 0
    published = Keys("tiny", vit(), size=32, mean=MEAN, std=STD, levels=True)
    assert structure_distance(published, a, b) != pytest.approx(apart, rel=0.01)
    large = Keys("tiny", vit(), size=32, mean=MEAN, std=STD)
    assert structure_distance(large, picture(0, side=50), picture(1, side=50)) > 0
    with pytest.raises(wb.InvalidInput, match="differ in size"):
        structure_distance(keys, a, picture(1, side=50))


def test_models_are_read_from_disk(tmp_path: Path):
    statistics = json.dumps({"image_mean": MEAN, "image_std": STD})
    for name, model in (("vit", vit()), ("clip", small_clip.clip().model)):
        model.save_pretrained(tmp_path / name)
        (tmp_path / name / "preprocessor_config.json").write_text(statistics)
        keys = load_keys(tmp_path / name, device="cpu")
        own = Keys("own", getattr(model, "vision_model", model), size=32, mean=MEAN, std=STD)
        torch.testing.assert_close(keys.self_similarity(picture(2)), own.self_similarity(picture(2)))
    with pytest.raises(wb.ModelError, match="cannot be loaded as a vision transformer"):
        load_keys(tmp_path)


def test_a_model_without_keys_is_refused():
    with pytest.raises(wb.ModelError, match="no attention layer with keys"):
        Keys("plain", torch.nn.Linear(2, 2), size=8, mean=MEAN, std=STD)
