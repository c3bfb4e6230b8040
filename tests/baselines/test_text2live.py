"""Text2LIVE: its losses against float64 formulas, its random views, and a fit that does what it is asked."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import editors
import small_clip
import wordbrush as wb
from wordbrush.baselines import layer_losses as losses
from wordbrush.baselines.edit_layer import EditLayer, over, smallest_side
from wordbrush.baselines.relevancy import relevancy
from wordbrush.baselines.text2live import PRESETS, Layered, Settings, Weights, text2live
from wordbrush.baselines.views import Looks, Views, draw_views, example, homography, recoloured
from wordbrush.metrics.clip import Clip

SOURCE, TARGET = "a cat on a beach", "a red house in a forest"
LOOKS = Looks(count=2, cover=0.8, turn=(5.0, 0.05), bend=0.1)
SMALL = Settings(
    steps=30, rate=2e-2, channels=8, scales=2, looks=LOOKS, whole_every=2, templates=("{}",), screens=("{}",)
)


@pytest.fixture(scope="module")
def clip() -> Clip:
    return small_clip.clip()


picture = partial(editors.picture, size=(40, 48))


def as_tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def directions(count: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(count, 6, generator=generator(seed), dtype=torch.float64), dim=-1)


# Losses ----------------------------------------------------------------------------------------------------------


def test_the_distance_is_half_the_squared_angle():
    images, texts = directions(3, 1), directions(2, 2)
    angles = np.arccos(images.numpy() @ texts.numpy().T)
    assert float(losses.distance(images, texts)) == pytest.approx((angles**2 / 2).mean(), abs=1e-12)
    assert float(losses.distance(images[:1], images[:1])) == pytest.approx(0, abs=1e-12)


def test_the_direction_is_a_cosine_of_changes():
    before, after, said, meant = (directions(count, seed) for seed, count in enumerate((3, 3, 2, 2)))
    moved, told = (after - before).numpy(), (meant - said).numpy()
    cosines = [
        row @ column / np.linalg.norm(row) / np.linalg.norm(column) for row in moved for column in told
    ]
    found = losses.direction(before, after, said, meant)
    assert float(found) == pytest.approx(1 - np.mean(cosines), abs=1e-12)


def test_the_structure_compares_self_similarities():
    before, after = (torch.randn(1, 5, 7, generator=generator(seed), dtype=torch.float64) for seed in (1, 2))

    def similar(tokens: torch.Tensor) -> np.ndarray:
        rows = tokens[0].numpy() / np.linalg.norm(tokens[0].numpy(), axis=1, keepdims=True)
        return rows @ rows.T

    expected = np.square(similar(before) - similar(after)).mean()
    assert float(losses.structure(before, after)) == pytest.approx(expected, abs=1e-12)
    assert float(losses.structure(before, 3 * before)) == pytest.approx(0, abs=1e-12)


def test_the_sparsity_counts_pixels_that_are_a_little_opaque():
    alpha = torch.linspace(0, 1, 24, dtype=torch.float64).view(1, 1, 4, 6)
    values = alpha.numpy()
    expected = values.mean() + (2 / (1 + np.exp(-5 * values)) - 1).mean()
    assert float(losses.sparsity(alpha)) == pytest.approx(expected, abs=1e-12)
    assert float(losses.sparsity(torch.zeros(3))) == 0


def test_the_relevancy_is_attention_times_its_gradient(clip: Clip):
    """Against the last layer written out in float64, where the gradient is taken by differences."""
    pixels = as_tensor(picture(3, size=(clip.size, clip.size)))
    text = clip.texts([TARGET])[0]
    found = relevancy(clip, pixels, text)
    attention, patch_gradient = by_differences(clip, pixels, text)
    paid = np.maximum(attention * patch_gradient, 0).mean(axis=0)
    expected = (paid - paid.min()) / (paid.max() - paid.min())
    np.testing.assert_allclose(found.flatten().numpy(), expected, atol=2e-3)
    assert expected.std() > 0.1
    assert clip.model.config._attn_implementation == "sdpa"


def by_differences(clip: Clip, pixels: torch.Tensor, text: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Attention of the class token to the patches, (heads, patches), and the similarity's slope in each."""
    import copy

    vision = copy.deepcopy(clip.model.vision_model).double()
    project = copy.deepcopy(clip.model.visual_projection).double()
    normal = (pixels.double() - 0.5) / 0.5
    with torch.no_grad():
        hidden = vision(pixel_values=normal, output_hidden_states=True).hidden_states[-2]
        layer = vision.encoder.layers[-1]
        inner = layer.layer_norm1(hidden)
        heads = layer.self_attn.num_heads

        def split(x: torch.Tensor) -> torch.Tensor:
            return x.view(*x.shape[:2], heads, -1).transpose(1, 2)

        q, k, v = (
            split(proj(inner))
            for proj in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj)
        )
        attention = (q @ k.mT * layer.self_attn.scale).softmax(-1)

        def similarity(weights: torch.Tensor) -> float:
            mixed = layer.self_attn.out_proj((weights @ v).transpose(1, 2).flatten(2))
            x = hidden + mixed
            x = x + layer.mlp(layer.layer_norm2(x))
            embedded = F.normalize(project(vision.post_layernorm(x[:, 0])), dim=-1)
            return float(embedded[0] @ text.double())

        slopes = np.zeros((heads, attention.shape[-1] - 1))
        for head, patch in np.ndindex(slopes.shape):
            up, down = attention.clone(), attention.clone()
            up[0, head, 0, patch + 1] += 1e-5
            down[0, head, 0, patch + 1] -= 1e-5
            slopes[head, patch] = (similarity(up) - similarity(down)) / 2e-5
    return attention[0, :, 0, 1:].numpy(), slopes


# Views -----------------------------------------------------------------------------------------------------------


def test_a_view_without_changes_is_the_picture():
    pixels = as_tensor(picture(size=(12, 12)))
    same, part, double = (
        Views(torch.diag(torch.tensor([share, share, 1.0]))[None], torch.eye(4)[None, :3])
        for share in (1.0, 8 / 12, 2.0)
    )
    torch.testing.assert_close(same(pixels, 12), pixels, atol=1e-5, rtol=0)
    torch.testing.assert_close(part(pixels, 8), pixels[..., 2:10, 2:10], atol=1e-5, rtol=0)
    assert bool((double(pixels, 12)[..., :2, :] == 1).all())


def test_views_are_those_of_their_generator_and_all_differ():
    pixels = as_tensor(picture())
    looks = Looks(count=5)
    one, again, other = (draw_views(looks, generator(seed))(pixels, 16) for seed in (1, 1, 2))
    assert one.shape == (5, 3, 16, 16)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert len({view.numpy().tobytes() for view in one}) == 5
    assert 0 <= float(one.min()) <= float(one.max()) <= 1


def test_a_homography_takes_four_places_to_four():
    places = [(-0.8, -0.9), (0.7, -1.0), (0.9, 0.8), (-1.0, 0.6)]
    to = [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]
    moved = torch.tensor([[*place, 1.0] for place in places]) @ homography(places, to).T
    torch.testing.assert_close(moved[:, :2] / moved[:, 2:], torch.tensor(to), atol=1e-5, rtol=0)


def test_hues_turn_and_greys_stay():
    from wordbrush.baselines.views import _saturate, _turn_hue

    red = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1)
    third = recoloured(red, _turn_hue(1 / 3)[None, :3]).flatten()
    torch.testing.assert_close(third, torch.tensor([0, 1.0, 0]), atol=1e-5, rtol=0)
    grey = torch.full((1, 3, 1, 1), 0.3)
    torch.testing.assert_close(recoloured(grey, _turn_hue(0.2)[None, :3]), grey)
    assert len({round(float(level), 5) for level in recoloured(red, _saturate(0.0)[None, :3]).flatten()}) == 1


def test_examples_are_parts_of_the_picture():
    pixels = as_tensor(picture(size=(60, 80)))
    random = generator(3)
    sizes = [example(pixels, random).shape[-2:] for _ in range(30)]
    assert len(set(sizes)) > 20
    for height, width in sizes:
        assert 0.8 * 0.85 * 60 - 2 <= height <= 1.2 * 60
        assert height / width == pytest.approx(60 / 80, abs=0.03)


# The generator ---------------------------------------------------------------------------------------------------


def test_layers_have_the_picture_s_size_and_rows_stand_alone():
    torch.manual_seed(0)
    network = EditLayer(channels=8, scales=3)
    pixels = torch.rand(2, 3, smallest_side(3), 13, generator=generator())
    drawn = network(pixels)
    assert drawn.shape == (2, 4, 9, 13)
    assert 0 < float(drawn.detach().min()) < float(drawn.detach().max()) < 1
    torch.testing.assert_close(drawn[1:], network(pixels[1:]))


def test_a_layer_lies_over_a_picture():
    ground = torch.rand(1, 3, 2, 2)
    colour = torch.rand(1, 3, 2, 2)
    for alpha, expected in ((0.0, ground), (1.0, colour), (0.5, (ground + colour) / 2)):
        layer = torch.cat([colour, torch.full((1, 1, 2, 2), alpha)], dim=1)
        torch.testing.assert_close(over(layer, ground), expected)


# The whole -------------------------------------------------------------------------------------------------------


def fit(clip: Clip, **changes: Any) -> Layered:
    settings = {"source": SOURCE, "clip": clip, "settings": SMALL, **changes}
    return text2live(picture(), TARGET, **settings)


@pytest.fixture(scope="module")
def fitted(clip: Clip) -> Layered:
    return fit(clip, region="a cat")


def test_a_fit_raises_the_score_of_its_target(clip: Clip, fitted: Layered):
    told = clip.texts([TARGET])[0]
    before, after = clip.images([fitted.before, fitted.image]) @ told
    assert float(after - before) > 0.02
    assert fitted.history[-1]["total"] < 0.8 * fitted.history[0]["total"]
    assert len(fitted.history) == SMALL.steps


def test_pixels_without_opacity_are_the_picture_s_own(clip: Clip):
    opacity = replace(SMALL, steps=12, weights=Weights(composition=0, screen=0, structure=0, sparsity=60))
    layered = fit(clip, settings=opacity)
    alpha = np.asarray(layered.layer)[..., 3].copy()
    alpha[:, :24] = 0
    alpha[:, 24:] = np.maximum(alpha[:, 24:], 128)
    cut = replace(layered, layer=layered.layer.copy())
    cut.layer.putalpha(Image.fromarray(alpha))
    before, after = np.asarray(cut.before), np.asarray(cut.image)
    assert (before[:, 24:] != after[:, 24:]).any()
    assert (before[:, :24] == after[:, :24]).all()


def test_sparsity_empties_the_layer_and_screens_fill_it(clip: Clip):
    def opacity(**weights: float) -> float:
        only = {"composition": 0.0, "screen": 0.0, "structure": 0.0, "sparsity": 0.0, **weights}
        made = fit(clip, settings=replace(SMALL, steps=20, weights=Weights(**only)))
        return float(np.asarray(made.layer)[..., 3].mean()) / 255

    assert opacity(sparsity=10) < 0.2 < opacity(screen=1)


def test_a_seed_is_a_layer_and_the_global_generator_is_left_alone(clip: Clip):
    short = replace(SMALL, steps=2)
    state = torch.get_rng_state()
    one, again, other = (fit(clip, settings=short, seed=seed).layer.tobytes() for seed in (1, 1, 2))
    assert one == again != other
    assert torch.equal(torch.get_rng_state(), state)


def test_progress_and_settings_are_told(clip: Clip):
    seen: list[tuple[int, int]] = []
    made = fit(
        clip, settings=replace(SMALL, steps=2), seed=5, progress=lambda step, of: seen.append((step, of))
    )
    assert seen == [(1, 2), (2, 2)]
    told = {"method": "text2live", "clip": "small", "to": TARGET, "layer": TARGET, "region": None, "seed": 5}
    assert {**made.settings, **told} == made.settings
    assert set(made.history[0]) == {"composition", "screen", "structure", "sparsity", "total"}


def test_the_storybook_preset_knows_what_is_asked():
    """A few steps on the real contrastive model already move a picture towards its target."""
    from wordbrush.metrics.clip import load_clip

    clip = load_clip("storybook", device="cpu")
    few = replace(PRESETS["storybook"], steps=6, channels=8, looks=replace(LOOKS, hue=0.0, grey=0.0))
    made = text2live(picture(size=(64, 64)), "a house at night", source="a house", clip=clip, settings=few)
    before, after = clip.images([made.before, made.image]) @ clip.texts(["a house at night"])[0]
    assert after > before + 0.02


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"settings": "publishd"}, "settings are one of published, storybook.*did you mean 'published'"),
        ({"settings": "published"}, "the picture has 40 × 48 pixels; a generator of 7 scales needs"),
        ({"source": " "}, "source is a text that describes the picture"),
        ({"region": ""}, "region is a text"),
        ({"layer": 3}, "layer is a text"),
        ({"seed": -1}, "a seed is a whole number"),
        ({"source": "a cat on a beach " * 20}, "the caption has .* tokens but small reads 32"),
    ],
)
def test_what_cannot_be_used_is_refused(clip: Clip, changes: dict[str, Any], sentence: str):
    with pytest.raises(wb.InvalidInput, match=sentence):
        fit(clip, **changes)


def test_settings_are_checked():
    with pytest.raises(wb.InvalidInput, match="steps must be a whole number of at least 1, not 0"):
        replace(SMALL, steps=0)
    with pytest.raises(wb.InvalidInput, match=r"rate must be a finite number above 0, not 0\.0"):
        replace(SMALL, rate=0.0)
    with pytest.raises(wb.InvalidInput, match="rate must be a finite number above 0, not inf"):
        replace(SMALL, rate=float("inf"))


def test_a_small_picture_is_told_the_side_it_needs(clip: Clip):
    with pytest.raises(wb.BadPicture, match="needs 8 on both sides"):
        text2live(picture(size=(7, 48)), TARGET, source=SOURCE, clip=clip, settings=SMALL)
    made = text2live(
        picture(size=(8, 48)), TARGET, source=SOURCE, clip=clip, settings=replace(SMALL, steps=3)
    )
    assert made.image.size == (48, 8)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory: 9 GB")]
)
def test_too_little_memory_is_one_sentence(clip: Clip, error: Exception, monkeypatch: pytest.MonkeyPatch):
    def full(*args: Any) -> None:
        raise error

    monkeypatch.setattr(EditLayer, "forward", full)
    with pytest.raises(wb.ModelError, match=r"memory ran out over a picture of 40 × 48 pixels.*fewer than 8"):
        fit(clip)


def test_other_errors_of_torch_stay_what_they_are(clip: Clip, monkeypatch: pytest.MonkeyPatch):
    def wrong(*args: Any) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(EditLayer, "forward", wrong)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        fit(clip)


def test_the_evaluation_measures_it(clip: Clip):
    from wordbrush.evaluation.example import Example
    from wordbrush.evaluation.methods import Text2Live, make_methods

    example = Example(key="one", image=picture(), instruction="make it red", before=SOURCE, after=TARGET)
    method = Text2Live(clip, replace(SMALL, steps=2))
    made = method.edit([example], [7])
    expected = fit(clip, settings=replace(SMALL, steps=2), seed=7)
    assert made.forward_samples == 0
    assert made.images[0].tobytes() == expected.image.tobytes()
    (by_name,) = make_methods(["text2live"], clip=clip)
    assert by_name.settings == {"model": "small", "fit": "published"}
    with pytest.raises(wb.InvalidInput, match="text2live needs a CLIP model"):
        make_methods(["text2live"])


def test_the_python_of_its_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    picture(size=(64, 64)).save("house.png")
    page = Path(__file__).parents[2] / "docs" / "text2live.md"
    (block,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert "steps=150" in block
    exec(block.replace("steps=150", "steps=1"), {})
    with (
        Image.open("red-house.png") as after,
        Image.open("layer.png") as layer,
        Image.open("house.png") as before,
    ):
        before.paste(layer, mask=layer.getchannel("A"))
        assert (after.size, layer.mode) == ((64, 64), "RGBA")
        assert np.array_equal(np.asarray(before), np.asarray(after))
