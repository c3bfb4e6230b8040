"""The published algorithm, quirk by quirk: against its own results, and against facts known of its token rules.

The results come from the official code on tiny random-weight pipelines; they are kept beside the repository, in
``../shared/parity/p2p``, and what needs them is skipped where they are not.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

import pipelines
import wordbrush as wb
from wordbrush.edits.prompt import Prompt, read_prompt
from wordbrush.inversion.picture import invert_latents

REFERENCE = Path(__file__).parents[2].parent / "shared" / "parity" / "p2p"
NAMES = (
    "baseline_no_edit",
    "replace",
    "refine",
    "reweight",
    "replace_local_blend",
    "replace_per_word",
    "nt_replace_reweight_blend",
    "sd32_ldm_local_blend",
)
TOLERANCE = 1e-5  # relative, per row: separates every deliberate mistake from rounding


PUBLISHED: Any = wb.published  # to give it what its types forbid


def read(text: str) -> Prompt:
    return read_prompt(text, pipelines.clip_tokenizer(), length=77)


@pytest.mark.skipif(not REFERENCE.exists(), reason=f"the published results are not at {REFERENCE}")
@pytest.mark.parametrize("name", NAMES)
def test_latents_of_the_official_code(name: str):
    stored = np.load(REFERENCE / "latents" / f"{name}.npz")
    case: dict[str, Any] = json.loads((REFERENCE / "cases.json").read_text(encoding="utf-8"))[name]
    precision = {} if name == "replace" else {"dtypes": ["float32"]}  # float64 is slow; one case has to do
    latents = wb.parity.run_case({**case, **precision, "init": stored["init"]}, REFERENCE / "pipelines")
    expected = stored["latents"].astype(np.float64)
    assert latents.shape == expected.shape
    assert max(map(relative, latents, expected)) < TOLERANCE


def relative(row: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(row - expected) / np.linalg.norm(expected))


@pytest.mark.skipif(not REFERENCE.exists(), reason=f"the published results are not at {REFERENCE}")
@pytest.mark.parametrize(("name", "offset"), [("ddim", 1), ("ddim_offset0", 0)])
def test_a_case_of_null_text_inversion_is_inverted_first(name: str, offset: int):
    case = null_text_case(name)
    clean = case["null_z0"]
    rows = wb.parity.run_case(case, REFERENCE / "pipelines")
    model = wb.load(REFERENCE / "pipelines" / "tiny_sd32", dtype=torch.float32)
    start = invert_latents(
        model,
        torch.as_tensor(clean),
        case["prompts"][0],
        method=wb.NullText(3, 1e-5),
        steps=4,
        guidance=7.5,
        scheduler=DDIMScheduler.from_config(model.scheduler.config, steps_offset=offset),
    )
    recipe = wb.published.nulltext("replace", cross_replace_steps=0.8, self_replace_steps=0.5)
    expected = wb.edit(model, start, to=case["prompts"][1], edits=recipe).latents.numpy()
    assert max(map(relative, rows, expected)) < TOLERANCE
    assert relative(rows[1], rows[0]) > 0.01
    kept = wb.parity.run_case(
        {**case, "null_text": {"num_inner_steps": 1, "epsilon": 1e9}}, REFERENCE / "pipelines"
    )
    assert relative(rows[0], clean[0]) < relative(kept[0], clean[0])


def null_text_case(scheduler: str = "ddim") -> dict[str, Any]:
    return {
        "pipeline": "tiny_sd32",
        "prompts": ["a cat on the beach", "a dog on the beach"],
        "variant": "nulltext",
        "scheduler": scheduler,
        "num_steps": 4,
        "guidance": 7.5,
        "dtypes": ["float32"],
        "controller": {"type": "replace", "cross_replace_steps": 0.8, "self_replace_steps": 0.5},
        "null_text": {"num_inner_steps": 3, "epsilon": 1e-5},
        "null_z0": np.random.default_rng(5).standard_normal((1, 4, 32, 32)).astype(np.float32),
    }


@pytest.mark.skipif(not REFERENCE.exists(), reason=f"the published results are not at {REFERENCE}")
def test_a_case_of_null_text_inversion_may_weaken_its_prompt():
    """What is fitted leads back to the picture, where the empty prompt does not."""
    case = null_text_case() | {"guidance": 0.5, "num_steps": 2}
    fitted, hardly = (
        wb.parity.run_case({**case, "null_text": settings}, REFERENCE / "pipelines")
        for settings in (
            {"num_inner_steps": 10, "epsilon": 1e-9},
            {"num_inner_steps": 1, "epsilon": 1e9},
        )
    )
    clean = case["null_z0"][0]
    assert relative(fitted[0], clean) < relative(hardly[0], clean)
    assert np.isfinite(fitted).all()


@pytest.mark.skipif(not REFERENCE.exists(), reason=f"the published results are not at {REFERENCE}")
def test_a_case_may_have_any_guidance():
    stored = np.load(REFERENCE / "latents" / "replace.npz")
    case = json.loads((REFERENCE / "cases.json").read_text(encoding="utf-8"))["replace"]
    case |= {"dtypes": ["float32"], "num_steps": 2, "init": stored["init"]}
    rows = [
        wb.parity.run_case({**case, "guidance": scale}, REFERENCE / "pipelines") for scale in (0.0, 0.5, 1.0)
    ]
    assert relative(rows[0], rows[2]) > relative(rows[1], rows[2]) > TOLERANCE


@pytest.mark.skipif(not REFERENCE.exists(), reason=f"the published results are not at {REFERENCE}")
def test_every_case_is_run():
    assert set(NAMES) == set(json.loads((REFERENCE / "cases.json").read_text(encoding="utf-8")))


class PNDMScheduler(diffusers.PNDMScheduler):
    """One that tells what its second evaluation is given, and what it goes on from."""

    seen: ClassVar[list[tuple[torch.Tensor, torch.Tensor]]] = []

    def step_plms(self, model_output: Any, timestep: Any, sample: Any, return_dict: bool = True) -> Any:
        if self.counter == 1:
            self.seen.append((sample, self.cur_sample))
        return super().step_plms(model_output, timestep, sample, return_dict)


PUBLISHED_BLEND = wb.published.stable(
    "replace", local_blend=wb.published.LocalBlend(["cat", "dog"], threshold=0.6)
)


@pytest.mark.parametrize(
    ("edits", "lost"),
    [({"edits": PUBLISHED_BLEND}, True), ({"blend": wb.Blend("cat", "dog", 0.6, start=0.0)}, False)],
)
def test_pndm_loses_what_is_blended_first_only_as_published(edits: dict[str, Any], lost: bool):
    model = pipelines.model("sd1")
    PNDMScheduler.seen.clear()
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3), dtype=model.dtype)
    settings: dict[str, Any] = {"latents": noise, "steps": 2, "guidance": 3.0}
    scheduler = PNDMScheduler.from_config(model.scheduler.config, skip_prk_steps=True)
    wb.edit(model, "a cat on the beach", to="a dog on the beach", scheduler=scheduler, **edits, **settings)
    ((sample, kept),) = PNDMScheduler.seen
    blended = sample[1] == sample[0]
    assert blended.any()
    assert not blended.all()
    assert torch.equal(kept[1], noise[0]) is lost


def test_swap_to_more_tokens_leaves_the_tail_unshifted():
    matrix = wb.published.replace_matrix(
        read("a cat eating a burger"), read("a hippopotamus eating a burger")
    )
    np.testing.assert_array_equal(matrix[2, 2:6], 0.25)
    assert matrix[6, 6] == 1, "eating takes the map of the source's end of text"
    assert matrix[3:6].sum() == 0, "the source's own eating a burger are dropped"


def test_swap_to_fewer_tokens_counts_the_tail_twice():
    matrix = wb.published.replace_matrix(
        read("a hippopotamus eating a burger"), read("a cat eating a burger")
    )
    np.testing.assert_array_equal(matrix[2:6, 2], 1)
    np.testing.assert_array_equal(matrix[3:6].sum(axis=1), 2)
    np.testing.assert_array_equal(matrix[:, 74:], 0)


def test_swaps_shift_what_lies_between_them():
    matrix = wb.published.replace_matrix(read("a cat on a beach"), read("a hippopotamus on a castle"))
    assert matrix[3, 6] == 1
    assert matrix[5, 8] == 1


def test_swap_needs_equally_many_words():
    with pytest.raises(wb.InvalidInput, match="has 2 and 'a red cat' has 3"):
        wb.published.replace_matrix(read("a cat"), read("a red cat"))


def test_refinement_matches_the_earliest_repetition():
    mapper, aligned = wb.published.refine_mapper(read("a cat"), read("a cat a cat"))
    assert mapper[:6].tolist() == [0, 1, 2, -1, -1, 3]
    assert aligned[:6].tolist() == [1, 1, 1, 0, 0, 1]
    assert mapper[6:].tolist() == list(range(6, 77)), "padding is not shifted"


def test_refinement_to_a_shorter_prompt_gives_padding_real_words():
    mapper, aligned = wb.published.refine_mapper(read("a red cat on the beach"), read("a cat"))
    assert mapper[:4].tolist() == [0, 1, 3, 7]
    assert mapper[4:7].tolist() == [4, 5, 6]
    assert aligned.all()


def test_words_stand_between_single_spaces():
    prompt = read("a cat, a cat and  a dog")
    assert wb.published.find(prompt, "cat") == (5,)
    assert wb.published.find(prompt, "cat,") == (2, 3)
    assert wb.published.find(prompt, "castle") == ()
    assert wb.published.find(prompt, 1) == (2, 3)


def test_tables_have_one_row_more_than_steps():
    schedule = wb.published.CrossSchedule({"cat": 0.4})
    from wordbrush.edits.window import Clock

    gates = schedule.gates(read("a cat and a cat"), Clock(50, 51))
    assert gates.shape == (51, 77)
    assert gates[:, 2].sum() == gates[:, 5].sum() == 20
    assert gates[:, 1].sum() == 51, "without default_ the other words are always on"


def test_constructors():
    model = pipelines.model()
    source, target, settings = "a cat on the beach", "a dog on the beach", {"seed": 1, "steps": 2, "size": 16}
    recipes = {
        "stable": wb.published.stable("replace+reweight", equalizer={"dog": 2.0}),
        "ldm": wb.published.ldm("reweight", equalizer=[{"beach": 0.5}]),
        "nulltext": wb.published.nulltext(
            "refine", local_blend=wb.published.LocalBlend(["cat", "dog"], start=0.2)
        ),
    }
    made = {
        name: wb.edit(model, source, to=target, edits=recipe, **settings) for name, recipe in recipes.items()
    }
    assert "dog × 2" in made["stable"].plan.describe()
    assert made["nulltext"].plan.self_attention[0].max_pixels == 1024
    assert len({float(result.latents[1].sum()) for result in made.values()}) == 3
    with pytest.raises(wb.InvalidInput, match="a list of mappings, one per target"):
        wb.published.ldm("reweight", equalizer={"beach": 0.5})  # pyright: ignore[reportArgumentType]
    with pytest.raises(wb.InvalidInput, match="needs an equalizer"):
        wb.published.stable("reweight")
    with pytest.raises(wb.InvalidInput, match="brings its own"):
        wb.edit(model, source, to=target, edits=recipes["stable"], self_attention=0.4, **settings)


def test_one_strength_per_target_of_the_ldm_notebook():
    model = pipelines.model()
    values = [{"beach": 0.5}, {"beach": 0.0}, {"beach": -0.5}]
    source = "a cat on the beach"
    result = wb.edit(
        model,
        source,
        to=[source] * 3,
        edits=wb.published.ldm("reweight", equalizer=values),
        seed=1,
        steps=2,
        size=16,
    )
    assert len({float(row.sum()) for row in result.latents}) == 4


LONGER = ["a red cat on a beach", "a cat on a snow beach", "a cat on a beach"]


@pytest.mark.parametrize(
    ("recipe", "prompt"),
    [
        (wb.published.stable("refine+reweight", equalizer={"beach": 3.0}), 1),
        (wb.published.nulltext("refine+reweight", equalizer={"beach": 3.0}), 1),
        (wb.published.ldm("refine+reweight", equalizer=[{"beach": 3.0}]), 0),
        (wb.published.ldm("refine+reweight", equalizer=[{"beach": 3.0}] * 3), 0),
    ],
)
def test_factors_of_all_targets_stand_at_the_tokens_of_one_prompt(recipe: wb.Recipe, prompt: int):
    made = wb.plan(pipelines.model(), "a cat on a beach", to=LONGER, edits=recipe)
    expected = np.ones(pipelines.LENGTH)
    expected[[5, 6][prompt]] = 3.0
    for target, (_, equalizer) in zip(made.targets, made.edits, strict=True):
        assert isinstance(equalizer, wb.published.Equalizer)
        np.testing.assert_array_equal(equalizer.factors(target), expected)


def test_each_mapping_of_the_ldm_notebook_is_for_one_target():
    recipe = wb.published.ldm("reweight", equalizer=[{"cat": 2.0}] * 2)
    with pytest.raises(wb.InvalidInput, match="lists 2 mappings but there are 3 targets"):
        wb.plan(pipelines.model(), "a cat on a beach", to=LONGER, edits=recipe)


def test_a_blend_is_that_of_its_notebook():
    blend = wb.published.LocalBlend(["cat", "dog"])
    for make, start, pooled in (
        (wb.published.stable, 0.0, True),
        (wb.published.ldm, 0.0, False),
        (wb.published.nulltext, 0.2, True),
    ):
        assert make("replace", local_blend=blend).blend == replace(blend, start=start, pooled=pooled)
    own = wb.published.LocalBlend(["cat", "dog"], start=0.0, pooled=True)
    assert wb.published.nulltext("replace", local_blend=own).blend == own
    assert wb.published.ldm("replace", local_blend=own).blend == own


@pytest.mark.parametrize(
    ("source", "target"),
    [("a  cat", "a  dog"), ("a cat ", "a cat b"), (" cat", " dog"), ("a cat b", "a cat ")],
)
def test_swaps_of_words_between_odd_spaces_are_refused(source: str, target: str):
    with pytest.raises(
        wb.InvalidInput, match=r"finds no token for the word .* take out doubled and outer spaces"
    ):
        wb.plan(pipelines.model(), source, to=target, edits=wb.published.stable("replace"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PUBLISHED.stable("replace+reweight", equalizer={"dog": "x"}), "finite numbers.*'x'"),
        (lambda: PUBLISHED.stable("reweight", equalizer={"dog": float("nan")}), "finite numbers"),
        (lambda: PUBLISHED.stable("reweight", equalizer=["dog"]), r"maps words.*not \['dog'\]"),
        (lambda: PUBLISHED.stable("reweight", equalizer={}), "maps words"),
        (lambda: PUBLISHED.ldm("reweight", equalizer=["dog"]), "maps words.*not 'dog'"),
        (lambda: PUBLISHED.ldm("reweight", equalizer="dog"), "a list of mappings"),
        (lambda: PUBLISHED.ldm("reweight", equalizer=[]), "needs an equalizer"),
        (lambda: PUBLISHED.stable("replace", equalizer={"dog": 2.0}), "does not take an equalizer"),
        (lambda: PUBLISHED.stable("replaced"), r"no published edit 'replaced' \(did you mean 'replace'\?\)"),
        (lambda: PUBLISHED.stable(3), "no published edit 3"),
        (lambda: PUBLISHED.stable("replace", cross_replace_steps="x"), "window of steps"),
        (lambda: PUBLISHED.stable("replace", cross_replace_steps={"dog": 2.0}), "window of steps"),
        (lambda: PUBLISHED.nulltext("replace", self_replace_steps=1.5), "window of steps"),
        (lambda: PUBLISHED.ldm("replace", local_blend=wb.Blend("cat", "dog")), "local_blend is a"),
        (lambda: PUBLISHED.LocalBlend("cat"), "a list with those of every prompt.*not 'cat'"),
        (lambda: PUBLISHED.LocalBlend(["cat", "dog"], threshold="x"), r"in \[0, 1\)"),
        (lambda: PUBLISHED.LocalBlend(["cat", "dog"], start=2), "window of steps"),
    ],
)
def test_recipes_that_cannot_be(make: Any, message: str):
    with pytest.raises(wb.InvalidInput, match=message):
        make()
