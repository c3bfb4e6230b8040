"""InstructPix2Pix as published: against stored results, and against diffusers' pipeline where that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler

import editors
import pipelines
import wordbrush as wb
from wordbrush.parity import run_instruct_case

REFERENCE = Path(__file__).parents[2].parent / "shared" / "parity" / "ip2p"
TOLERANCE = 1e-5  # relative, per row
needs_reference = pytest.mark.skipif(
    not REFERENCE.exists(), reason=f"the published results are not at {REFERENCE}"
)


def far(made: Any, expected: Any) -> float:
    """The largest relative distance of a row."""
    pairs = zip(np.asarray(made, dtype=float), np.asarray(expected, dtype=float), strict=True)
    return max(np.linalg.norm(one - two) / np.linalg.norm(two) for one, two in pairs)


@needs_reference
@pytest.mark.parametrize("name", ["ddim", "euler"])
def test_latents_of_the_official_code(name: str):
    stored = np.load(REFERENCE / f"{name}.npz")
    case = {
        "scheduler": name,
        "prompt": "make the sky a sunset",
        "images": [0],
        "guidance_scale": 7.5,
        "image_guidance_scale": 1.5,
        "num_inference_steps": 12,
        "latents_in": stored["latents_in"],
    }
    assert far(run_instruct_case(case, REFERENCE / "tiny_ip2p"), stored["latents_out"]) < TOLERANCE


@needs_reference
def test_what_the_networks_are_given():
    """Tokens, condition latents and embeddings, each by itself."""
    from PIL import Image

    editor = wb.load_editor(REFERENCE / "tiny_ip2p", device="cpu")
    parts = np.load(REFERENCE / "parts.npz")
    for number in (0, 1):
        picture = Image.fromarray(parts[f"uint8_{number}"])
        # Rounding to float32 alone moves them by 8e-6; sampling instead of the mode by 8e-2.
        assert far(editor.model.condition([picture]), parts[f"latent_mode_{number}"]) < 5 * TOLERANCE
    for text, name in (("make the sky a sunset", "prompt"), ("", "null")):
        read = editor.backbone.read(text)
        ids = [token.id for token in read.tokens]
        assert parts[f"ids_{name}"][0, : len(ids)].tolist() == ids
        embedded = editor.backbone.encode([read])["encoder_hidden_states"]
        assert far(embedded, parts[f"emb_{name}"]) < TOLERANCE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return editors.save(tmp_path_factory.mktemp("models") / "editor")


PICTURES = {f"uint8_{number}": np.asarray(editors.picture(number)) for number in (0, 1)}


def case(**changes: Any) -> dict[str, Any]:
    noise = torch.randn(changes.pop("rows", 1), 4, 16, 16, generator=torch.Generator().manual_seed(1))
    return {
        "scheduler": "euler",
        "prompt": "a red dog",
        "images": [0],
        "guidance_scale": 5.0,
        "image_guidance_scale": 1.5,
        "num_inference_steps": 3,
        "flavour": "diffusers",
        "latents_in": noise.numpy(),
        **PICTURES,
        **changes,
    }


def stock(given: dict[str, Any]) -> np.ndarray:
    """What diffusers' pipeline makes of a case."""
    kind = {"euler": EulerDiscreteScheduler, "ddim": DDIMScheduler}[given["scheduler"]]
    settings = {"clip_sample": False, "set_alpha_to_one": False} if kind is DDIMScheduler else {}
    pipeline = editors.pipeline(editors.editor(), kind(**pipelines.BETAS, steps_offset=1, **settings))
    made = pipeline(
        given["prompt"],
        image=[editors.picture(number) for number in given["images"]],
        latents=torch.as_tensor(given["latents_in"]),
        output_type="latent",
        **{
            name: given[name]
            for name in ("guidance_scale", "image_guidance_scale", "num_inference_steps", "negative_prompt",
                         "num_images_per_prompt")
            if name in given
        },
    )  # fmt: skip
    return made.images.numpy()  # pyright: ignore


PAIRS: dict[str, Any] = {"prompt": ["a red dog", "snow on the castle"], "images": [0, 1]}
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "ddim": {"scheduler": "ddim"},
    "negative": {"negative_prompt": "the snow"},
    "pairs": {**PAIRS, "rows": 2},
    "several each": {**PAIRS, "rows": 4, "num_images_per_prompt": 2},
    "one picture": {**PAIRS, "images": [0], "rows": 2},
    "image guidance below 1": {"image_guidance_scale": 0.9},
    "text guidance of 1": {"guidance_scale": 1.0},
    "a prompt that is too long": {"prompt": "the snow on a red dog " * 50, "negative_prompt": "a cat " * 50},
}
DIFFERENT = {"several each", "image guidance below 1", "text guidance of 1"}


@pytest.mark.filterwarnings("ignore:You have passed:FutureWarning")  # of pictures that diffusers repeats
@pytest.mark.parametrize("name", CASES)
def test_both_flavours(name: str, folder: Path):
    """diffusers' results with its faults and, where it has none, without asking for them."""
    given = case(**CASES[name])
    expected = stock(given)
    assert far(run_instruct_case(given, folder), expected) < TOLERANCE
    published = run_instruct_case({**given, "flavour": "published"}, folder)
    assert (far(published, expected) > 1e-3) == (name in DIFFERENT)
    assert (far(published, expected) < TOLERANCE) == (name not in DIFFERENT)


def test_published_pairs_are_those_of_single_runs(folder: Path):
    given = case(**CASES["several each"], flavour="published")
    made = run_instruct_case(given, folder)
    for row, number in enumerate((0, 0, 1, 1)):
        single = case(
            prompt=PAIRS["prompt"][number], images=[number], latents_in=given["latents_in"][row : row + 1]
        )
        assert far(run_instruct_case(single, folder), made[row : row + 1]) < TOLERANCE


def test_noise_between_steps_is_the_case_s(folder: Path):
    noise = torch.randn(3, 1, 4, 16, 16, generator=torch.Generator().manual_seed(2)).numpy()
    given = case(scheduler="euler_a", noise_per_step=noise)
    made = run_instruct_case(given, folder)
    assert far(run_instruct_case(given, folder), made) == 0
    assert far(run_instruct_case({**given, "noise_per_step": -noise}, folder), made) > 1e-3
    assert far(run_instruct_case({**given, "dtypes": ["float64"]}, folder), made) < TOLERANCE


@pytest.mark.parametrize(
    ("changes", "left_out", "sentence"),
    [
        ({}, "latents_in", "the case has no latents_in, the unit noise"),
        (
            {"scheduler": "euler_a"},
            "noise_per_step",
            "noise_per_step for 0 steps, and euler_a needs it for 2",
        ),
        (
            {"scheduler": "euler_a", "noise_per_step": np.zeros((1, 1, 4, 16, 16))},
            None,
            "noise_per_step for 1 steps, and euler_a needs it for 2",
        ),
    ],
)
def test_noise_that_is_missing_is_told(changes: dict[str, Any], left_out: str, sentence: str, folder: Path):
    given = {name: value for name, value in case(**changes).items() if name != left_out}
    with pytest.raises(wb.InvalidInput, match=sentence):
        run_instruct_case(given, folder)
