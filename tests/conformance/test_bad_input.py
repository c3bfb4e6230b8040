"""Bad input: one clear sentence each, and nothing computed or changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pipelines
import wordbrush as wb
from wordbrush.files import png, read_settings, write_files
from wordbrush.inversion.start import Start
from wordbrush.run import check_finite

SOURCE, TARGET = "a cat on the beach", "a dog on the beach"
NOISE = torch.zeros(1, 4, 8, 8)
LONG = "cat " * 30

INVERTED = Start(SOURCE, NOISE, 2, 7.5, "ddim", [torch.zeros(1, 24, 32)] * 2)


class NoCondition(wb.Unguided):
    branches = ("image",)


EDITS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"source": ""}, wb.InvalidInput, "empty prompt"),
    ({"to": "  "}, wb.InvalidInput, "empty prompt"),
    ({"to": []}, wb.InvalidInput, "no target prompt"),
    ({"to": SOURCE}, wb.InvalidInput, "equals the source prompt .*Reweight"),
    ({"to": SOURCE.upper()}, wb.InvalidInput, "equals the source prompt"),
    ({"to": SOURCE, "edits": wb.Replace()}, wb.InvalidInput, "equals the source prompt"),
    ({"to": LONG}, wb.PromptTooLong, "32 tokens but the text encoder reads 24"),
    ({"negative": LONG}, wb.PromptTooLong, "32 tokens"),
    ({"to": 3}, wb.InvalidInput, "prompts are a piece of text"),
    ({"to": [TARGET, 3]}, wb.InvalidInput, "a prompt is a piece of text"),
    ({"edits": wb.Reweight({"snow": 2.0})}, wb.UnknownWord, "'snow' is not in .* tokens: a | dog"),
    ({"edits": wb.Replace(until={"dgo": 0.5})}, wb.UnknownWord, "did you mean 'dog'"),
    ({"to": "a dog and a dog", "edits": wb.Reweight({"dog": 2.0})}, wb.AmbiguousWord, r"\('dog', 0\) or"),
    ({"blend": wb.Blend("dog", "dog")}, wb.UnknownWord, "'dog' is not in"),
    ({"blend": wb.Blend("cat", "cat")}, wb.UnknownWord, "'cat' is not in"),
    ({"to": [TARGET, "a castle"], "blend": wb.Blend("cat", "dog")}, wb.UnknownWord, "no word of 'a castle'"),
    ({"blend": wb.Blend("cat", [["dog"], ["dog"]])}, wb.InvalidInput, "2 targets but there are 1"),
    ({"edits": ["replace"]}, wb.InvalidInput, "an edit is Replace"),
    ({"edits": [[wb.Replace()], [wb.Replace()]]}, wb.InvalidInput, "1 lists of edits"),
    ({"self_attention": 1.5}, wb.InvalidInput, "window of steps"),
    ({"seed": None}, wb.InvalidInput, "exactly once"),
    ({"latents": NOISE}, wb.InvalidInput, "exactly once"),
    ({"seed": -1}, wb.InvalidInput, "whole number of at least 0"),
    ({"seed": 2**64}, wb.InvalidInput, "below 2⁶³"),
    ({"seed": 1.5}, wb.InvalidInput, "whole number of at least 0"),
    ({"seed": None, "latents": NOISE[0]}, wb.InvalidInput, r"shape \(1, 4, 16, 16\), not \(4, 8, 8\)"),
    (
        {"seed": None, "latents": NOISE, "size": 32},
        wb.InvalidInput,
        r"shape \(1, 4, 16, 16\), not \(1, 4, 8, 8\)",
    ),
    ({"seed": None, "latents": NOISE[:, :3]}, wb.InvalidInput, "shape"),
    ({"seed": None, "latents": NOISE * float("nan")}, wb.InvalidInput, "NaN"),
    ({"size": 17}, wb.InvalidInput, "multiples of 2 pixels: 16 × 16, not 17 × 17"),
    ({"size": (16, 0)}, wb.InvalidInput, "whole numbers of pixels"),
    ({"steps": 0}, wb.InvalidInput, "at least 1, not 0"),
    ({"steps": 2.5}, wb.InvalidInput, "at least 1, not 2.5"),
    ({"steps": 1001}, wb.InvalidInput, "trained with 1000 timesteps"),
    ({"guidance": float("nan")}, wb.InvalidInput, "finite number"),
    ({"guidance": 10**400}, wb.InvalidInput, "finite number"),
    ({"guidance": "7.5"}, wb.InvalidInput, "guidance is a number"),
    (
        {"scheduler": "dimm"},
        wb.InvalidInput,
        r"unknown scheduler 'dimm' \(did you mean 'ddim'.*use one of ddim, pndm",
    ),
    ({"scheduler": "DDPMScheduler"}, wb.InvalidInput, "use one of ddim"),
    ({"scheduler": 3}, wb.InvalidInput, "the scheduler int cannot be used"),
    ({"self_attention": [0.4, 0.4]}, wb.InvalidInput, "2 windows but there are 1 targets"),
    ({"source": 3}, wb.InvalidInput, "the source is a prompt or an inverted picture"),
    ({"source": "a \ud83d cat"}, wb.InvalidInput, "surrogate"),
    ({"edits": wb.Replace}, wb.InvalidInput, "an edit is Replace"),
    ({"edits": "replace"}, wb.InvalidInput, "an edit is Replace.* not 'replace'"),
    ({"edits": wb.Replace(until=(0.1, 0.2))}, wb.InvalidInput, "holds none of the 2 steps"),
    ({"blend": "cat"}, wb.InvalidInput, "blend is Blend.*'auto' or 'none', not 'cat'"),
    ({"size": 16.0}, wb.InvalidInput, "whole numbers of pixels"),
    ({"size": (16, 16, 3)}, wb.InvalidInput, "whole numbers of pixels"),
    ({"negative": None}, wb.InvalidInput, "negative is one prompt"),
    ({"negative": ["dark", "blurred"]}, wb.InvalidInput, "negative is one prompt"),
    ({"negative": "dark", "guidance": wb.Unguided()}, wb.InvalidInput, "leave negative out"),
    ({"guidance": NoCondition()}, wb.InvalidInput, "has no branch 'cond'"),
    ({"source": INVERTED, "seed": None, "negative": "dark"}, wb.InvalidInput, "leave negative out"),
    ({"source": INVERTED, "seed": None, "steps": 3}, wb.InvalidInput, "inverted in 2 steps and the run .* 3"),
    ({"source": INVERTED}, wb.InvalidInput, "exactly once"),
]


@pytest.mark.parametrize(("changes", "error", "message"), EDITS, ids=[str(c)[:60] for c, _, _ in EDITS])
def test_edit(changes: dict[str, Any], error: type[Exception], message: str):
    given: dict[str, Any] = {"source": SOURCE, "to": TARGET, "seed": 1, "steps": 2, **changes}
    with pytest.raises(error, match=message) as caught:
        wb.edit(pipelines.model("sd1", torch.float32), given.pop("source"), **given, progress=_never)
    assert isinstance(caught.value, wb.WordbrushError)
    assert "\n" not in str(caught.value)


def _never(step: int, steps: int) -> None:
    raise AssertionError("nothing may be computed before the input is checked")


def test_every_bad_edit_is_tried():
    assert len(EDITS) == 56


@pytest.mark.parametrize(
    ("prompts", "settings", "message"),
    [
        ("", {}, "empty prompt"),
        (["a cat", " "], {}, "empty prompt"),
        ([], {}, "empty prompt"),
        (["a cat", "a dog"], {"seed": [1, 2, 3]}, "3 seeds for 2 prompts"),
        ("a cat", {"seed": None}, "exactly once"),
        ("a cat", {"latents": NOISE}, "exactly once"),
    ],
)
def test_generate(prompts: Any, settings: dict[str, Any], message: str):
    with pytest.raises(wb.InvalidInput, match=message):
        wb.generate(pipelines.model("sd1", torch.float32), prompts, **{"seed": 1, **settings})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: wb.Reweight({}), "needs words and factors"),
        (lambda: wb.Reweight({"cat": 2.0}, renormalise=1), "True, False or None, not 1"),  # pyright: ignore[reportArgumentType]
        (lambda: wb.Reweight({"cat": float("inf")}), "finite number"),
        (lambda: wb.Reweight({"cat": True}), "finite number"),
        (lambda: wb.Reweight({"cat": 10**400}), "finite number"),
        (lambda: wb.Blend("cat", "dog", threshold=1.0), r"\[0, 1\)"),
        (lambda: wb.Blend("cat", "dog", threshold="0.3"), r"\[0, 1\)"),  # pyright: ignore[reportArgumentType]
        (lambda: wb.AutoBlend(max_spread=0.0), r"in \(0, 1\]"),
        (lambda: wb.AutoBlend(unpaired_threshold=1.0), r"threshold is a number in \[0, 1\)"),
        (lambda: wb.SelfAttention(max_pixels="1"), "whole number"),  # pyright: ignore[reportArgumentType]
        (lambda: wb.Blend("cat", "dog", start=1.5), "window of steps"),
        (lambda: wb.SelfAttention(0.4, max_pixels=0), "at least 1"),
        (lambda: wb.SelfAttention(0.4, branches="both"), "'cond' or 'all'"),  # pyright: ignore[reportArgumentType]
        (lambda: wb.ClassifierFree(True), "finite number"),
        (lambda: wb.ClassifierFree(10**400), "finite number"),
    ],
)
def test_settings(make: Any, message: str):
    with pytest.raises(wb.InvalidInput, match=message):
        make()


def test_schedulers_that_draw_noise_are_refused():
    from diffusers import DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler

    model = pipelines.model("sd1", torch.float32)
    for scheduler, message in (
        (EulerAncestralDiscreteScheduler(), "EulerAncestralDiscreteScheduler cannot be used"),
        (DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++"), "draws noise at every step"),
    ):
        with pytest.raises(wb.InvalidInput, match=message):
            wb.edit(model, SOURCE, to=TARGET, seed=1, scheduler=scheduler)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latents": NOISE[0]}, r"shape \(1, 4, h, w\), not \(4, 8, 8\)"),
        ({"latents": NOISE + float("inf")}, "NaN or infinite"),
        ({"prompt": ""}, "what the picture shows"),
        ({"steps": 0}, "whole number from 1 to 100"),
        ({"steps": 101}, "whole number from 1 to 100"),
        ({"inner_steps": 0}, "whole number of at least 1"),
        ({"epsilon": -1.0}, "at least 0"),
    ],
)
def test_null_text_inversion(changes: dict[str, Any], message: str):
    given: dict[str, Any] = {"latents": NOISE, "prompt": SOURCE, "steps": 2, **changes}
    how = {name: given.pop(name) for name in ("inner_steps", "epsilon") if name in given}
    with pytest.raises(wb.InvalidInput, match=message):
        wb.invert_latents(
            pipelines.model("sd1", torch.float32), **given, method=wb.NullText(**how), progress=_never
        )


def test_a_plan_is_made_without_computing():
    model = pipelines.model("sd1", torch.float32)
    described = wb.plan(model, SOURCE, to=TARGET, self_attention=0.25).describe()
    assert "swapped for 'cat'" in described
    assert "steps 0 to 0.25" in described


@pytest.mark.parametrize(
    ("dtype", "advice"),
    [
        (torch.float32, "get its files again"),
        (torch.bfloat16, "load it with dtype='float32', and if that does not help, get its files again"),
    ],
)
def test_weights_that_are_not_finite_are_named(dtype: torch.dtype, advice: str):
    model = wb.Model("broken", **pipelines.parts("sd1", dtype))
    with torch.no_grad():
        model.unet.get_parameter("conv_out.bias").fill_(float("nan"))
    name = str(dtype).removeprefix("torch.")
    with pytest.raises(wb.ModelError) as caught:
        wb.generate(model, SOURCE, seed=1, steps=1)
    assert str(caught.value) == (
        f"the model made NaN or infinite values in {name}, because its weights hold such values, first "
        f"unet.conv_out.bias: {advice}"
    )


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"edits": wb.Reweight({"dog": 1e30})}, "because the strength of 'dog' is too large: 1e+30"),
        (
            {"edits": [wb.Replace(), wb.Reweight({"dog": 2.0, "beach": -1e36})]},
            "because the strength of 'beach' is too large: -1e+36",
        ),
        ({"guidance": 1e38}, "because the guidance is too large: 1e+38"),
    ],
)
def test_numbers_that_are_too_large_are_named(settings: dict[str, Any], reason: str):
    model = pipelines.model("sd1", torch.float32)
    with pytest.raises(wb.ModelError) as caught:
        wb.edit(model, SOURCE, to=TARGET, seed=1, steps=2, **settings)
    assert str(caught.value) == (
        f"the model made NaN or infinite values in float32, {reason}; usual numbers are below 20"
    )


@pytest.mark.parametrize(
    ("dtype", "reason"),
    [
        (torch.float16, ": load it with dtype='float32', or 'bfloat16'"),
        (torch.bfloat16, ": load it with dtype='float32'"),
        (
            torch.float32,
            ", though its weights are finite, the guidance is 7.5, the strength of 'dog' is 2: try smaller numbers, or "
            "another scheduler",
        ),
    ],
)
def test_a_dtype_is_blamed_only_where_it_can_be(dtype: torch.dtype, reason: str):
    numbers = {"the guidance": 7.5, "the strength of 'dog'": 2.0}
    latents = torch.full((1, 4, 8, 8), float("inf"), dtype=dtype)
    with pytest.raises(wb.ModelError) as caught:
        check_finite(latents, pipelines.model("sd1", torch.float32), numbers)
    name = str(dtype).removeprefix("torch.")
    assert str(caught.value) == f"the model made NaN or infinite values in {name}{reason}"


@pytest.mark.parametrize(
    ("guidance", "effect"),
    [
        (0.5, "weaken the prompt instead of strengthening it"),
        (np.float32(0.5), "weaken the prompt instead of strengthening it"),
        (0, "leave the prompt out"),
        (-2.0, "turn the picture away from its prompt"),
    ],
)
def test_guidance_below_one(guidance: Any, effect: str):
    with pytest.raises(wb.InvalidInput) as caught:
        wb.edit(pipelines.model("sd1", torch.float32), SOURCE, to=TARGET, seed=1, guidance=guidance)
    assert str(caught.value) == (
        f"a guidance of {guidance:g} would {effect}: give 1 for no guidance, even where diffusers' pipelines are given "
        f"0, or ClassifierFree({guidance:g}) if that is meant"
    )


def test_numbers_of_numpy_are_numbers(tmp_path: Path):
    model = pipelines.model("sd1", torch.float32)
    given: dict[str, Any] = {
        "edits": [wb.Replace(until=0.5), wb.Reweight({("dog", 0): 2.0})],
        "self_attention": 0.5,
        "blend": wb.Blend("cat", "dog", threshold=0.5, start=0.5),
        "seed": 3,
        "steps": 2,
        "guidance": 4.0,
        "size": (16, 16),
    }
    numpys = {
        **given,
        "edits": [wb.Replace(until=np.float32(0.5)), wb.Reweight({("dog", np.int64(0)): np.float32(2)})],  # pyright: ignore[reportArgumentType]
        "self_attention": np.float32(0.5),
        "blend": wb.Blend("cat", "dog", threshold=np.float32(0.5), start=np.float16(0.5)),  # pyright: ignore[reportArgumentType]
        "seed": np.int64(3),
        "steps": np.int32(2),
        "size": (np.int64(16), np.uint8(16)),
    }
    expected = wb.edit(model, SOURCE, to=TARGET, **given)
    for guidance in (np.float32(4), np.int64(4)):
        made = wb.edit(model, SOURCE, to=TARGET, **{**numpys, "guidance": guidance})
        assert torch.equal(made.latents, expected.latents)
        write_files({tmp_path / "made.png": png(made.images[0], made.settings)})
        told = read_settings(tmp_path / "made.png")
        assert (told["seed"], told["guidance"], told["size"]) == (3, 4.0, [16, 16])


@pytest.mark.parametrize(
    ("until", "message"),
    [
        (1.5, "a window of steps is .* within 0 and 1, not 1.5$"),
        (-0.1, "not -0.1$"),
        ((0.0, 1.5), r"not \(0.0, 1.5\)$"),
        (
            (0.8, 0.2),
            r"starts before it stops, but in \(0.8, 0.2\) the start comes after the stop: did you mean \(0.2, 0.8\)",
        ),
        ([0.2, 0.8], r"\[0.2, 0.8\] is a list: write a tuple for a window, as \(0.2, 0.8\)$"),
        ({"dog": [0.2, 0.8]}, r"\[0.2, 0.8\] is a list: write a tuple"),
        ({"dog": 1.5}, "not 1.5$"),
    ],
)
def test_windows_are_shown_as_they_were_given(until: Any, message: str):
    model = pipelines.model("sd1", torch.float32)
    makes: list[Callable[[], object]] = [
        lambda: wb.plan(model, SOURCE, to=TARGET, until=until),
        lambda: wb.Replace(until=until),
        lambda: wb.Reweight({"dog": 2.0}, until=until),
    ]
    for make in makes:
        with pytest.raises(wb.InvalidInput, match=message):
            make()


@pytest.mark.parametrize("kind", [wb.Blend, wb.AutoBlend])
@pytest.mark.parametrize(
    ("words", "told", "python", "command"),
    [
        (
            ("dog", "dog"),
            "source word cannot be found: the word 'dog' is not in the prompt",
            "source=[], target='dog'",
            ":dog",
        ),
        (
            ("cat", "cat"),
            "target word cannot be found: the word 'cat' is not in the prompt",
            "source='cat', target=[]",
            "cat:",
        ),
        ((("dog", 0), "dog"), "source word cannot be found", "source=[], target=('dog', 0)", ":dog#0"),
        (("cat", [["cat"]]), "target word cannot be found", "source='cat', target=[]", "cat:"),
        (
            ("beech", "dog"),
            "source word cannot be found: the word 'beech' is not in .* .did you mean 'beach'",
            None,
            None,
        ),
        ((9, "dog"), "source word cannot be found: there is no word at position 9", None, None),
        (("cat", "cow"), "target word cannot be found: the word 'cow' is not in", None, None),
    ],
)
def test_words_of_a_blend_that_are_not_there(
    kind: Any, words: Any, told: str, python: str | None, command: str | None
):
    source, target = words
    with pytest.raises(wb.UnknownWord, match=f"^the blend's {told}") as caught:
        wb.plan(
            pipelines.model("sd1", torch.float32), SOURCE, to=TARGET, blend=kind(source=source, target=target)
        )
    for text, expected in ((str(caught.value), python), (caught.value.command, command)):
        hint = f" alone is given as {expected}"
        assert text.endswith(hint) if expected else "alone is given as" not in text
