"""Every family beyond Stable Diffusion 1 and 2 under the same control, on tiny pipelines of the real classes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import maximum_filter
from torch import Tensor

import families
import wordbrush as wb
from compare import distance
from families import KINDS, T5_LENGTH
from family_oracle import TEMPLATED, TWO_CALLS, Explicit, WordEdit, stock_latents
from pipelines import LENGTH

STEPS = 2
SIZE = (24, 32)
SOURCE, DOG = "a cat on the beach", "a dog on the beach"
HIPPO, RED = "a hippopotamus on the beach", "a red cat on the beach"
# diffusers' schedulers work in float32 whatever they are given: a rounding of the latents at every step.
TOLERANCE = 1e-6
EVERYWHERE = 10**9
REGISTERS = 8  # AuraFlow's, before the text: they are related as padding is, one by one

noise = partial(families.noise, size=SIZE)


def pixels(kind: str) -> int:
    """Positions of the image at a joint layer: patches of 2 × 2, which Z-Image pads."""
    model = families.model(kind)
    count = (SIZE[0] // model.factor // 2) * (SIZE[1] // model.factor // 2)
    return -(-count // 32) * 32 if kind == "zimage" else count


def template(kind: str) -> tuple[str, int]:
    """What diffusers' pipeline sets before the prompt, and how many tokens of it the network does not see."""
    pipeline: Any = families.stock(families.model(kind))
    if kind == "sana":
        call = inspect.signature(type(pipeline).__call__).parameters
        before = "\n".join(call["complex_human_instruction"].default)
        return before, len(pipeline.tokenizer(before).input_ids) - 2
    if kind == "lumina2":
        return f"{pipeline.system_prompt} <Prompt Start> ", 0
    if kind == "qwen":
        unseen = pipeline.prompt_template_encode_start_idx
        return pipeline.prompt_template_encode.partition("{}")[0], unseen
    return "<|im_start|>user\n", 0


@lru_cache
def templated(kind: str) -> tuple[int, int]:
    """How many tokens of its text a network takes, and the position of the first word among them."""
    before, unseen = template(kind)
    offsets = families.model(kind).tokenizer(before + SOURCE, return_offsets_mapping=True)["offset_mapping"]
    first = next(number for number, (_, end) in enumerate(offsets) if end > len(before))
    return {"sana": 300, "lumina2": 256, "qwen": 512, "zimage": 512}[kind], first - unseen


def sequences(kind: str) -> list[tuple[int, int, int]]:
    """Where each tokenizer's reading begins, its length, and the position of the first word in it."""
    if kind in TEMPLATED:
        length, first = templated(kind)
        return [(0, length, first)]
    clip, t5 = (0, LENGTH, 1), (0, T5_LENGTH, 0)
    if kind in ("sdxl", "lcm"):
        return [clip]
    if kind == "auraflow":
        return [(REGISTERS, T5_LENGTH, 0)]
    return [clip, (LENGTH, T5_LENGTH, 0)] if kind.startswith("sd3") else [t5]


def text_length(kind: str) -> int:
    start, length, _ = sequences(kind)[-1]
    return start + length


def swap(kind: str) -> WordEdit:
    """Cat → dog: token by token."""
    return lambda source, own: source


def hippopotamus(kind: str) -> WordEdit:
    """Cat → hippopotamus: four tokens share the cat's map, what follows is shifted by three."""

    def edit(source: Tensor, own: Tensor) -> Tensor:
        edited = own.clone()
        edited[..., : sequences(kind)[0][0]] = source[..., : sequences(kind)[0][0]]
        for start, length, first in sequences(kind):
            cat, end = start + first + 1, start + length
            edited[..., start:cat] = source[..., start:cat]
            edited[..., cat : cat + 4] = source[..., cat : cat + 1] / 4
            edited[..., cat + 4 : end] = source[..., cat + 1 : end - 3]
        return edited

    return edit


def red(kind: str) -> WordEdit:
    """A *red* cat: one new token, what follows is shifted by one."""

    def edit(source: Tensor, own: Tensor) -> Tensor:
        edited = own.clone()
        edited[..., : sequences(kind)[0][0]] = source[..., : sequences(kind)[0][0]]
        for start, length, first in sequences(kind):
            new, end = start + first + 1, start + length
            edited[..., start:new] = source[..., start:new]
            edited[..., new + 1 : end] = source[..., new : end - 1]
        return edited

    return edit


def louder(kind: str, edit: Callable[[str], WordEdit], word: int, factor: float) -> WordEdit:
    """The word at a position turned up, on top of another edit."""

    def both(source: Tensor, own: Tensor) -> Tensor:
        edited = edit(kind)(source, own).clone()
        for start, _, first in sequences(kind):
            edited[..., start + first + word] *= factor
        return edited

    return both


def unchanged(kind: str) -> WordEdit:
    return lambda source, own: own


@dataclass
class Case:
    """One edit in our words and in the oracle's."""

    to: Sequence[str]
    words: Callable[[str], Sequence[WordEdit]]
    settings: dict[str, Any] = field(default_factory=dict)
    word_steps: range = range(STEPS)
    image_steps: range = range(0)
    renormalised: bool = False


CASES = {
    "replace, one step": Case(
        [DOG], lambda k: [swap(k)], {"edits": wb.Replace(until=0.5)}, word_steps=range(1)
    ),
    "replace, more tokens": Case([HIPPO], lambda k: [hippopotamus(k)], {"edits": wb.Replace(until=1.0)}),
    "refine": Case([RED], lambda k: [red(k)], {"edits": wb.Refine(until=1.0)}),
    "re-weight": Case(
        [DOG],
        lambda k: [louder(k, unchanged, 1, -1.5)],
        {"edits": [wb.Replace(until=0.0), wb.Reweight({"dog": -1.5})]},
    ),
    "re-weight, renormalised": Case(
        [DOG, HIPPO],
        lambda k: [louder(k, swap, 1, 3.0), louder(k, hippopotamus, 7, -2.0)],
        {
            "edits": [
                [wb.Replace(until=1.0), wb.Reweight({"dog": 3.0}, renormalise=True)],
                [wb.Replace(until=1.0), wb.Reweight({"beach": -2.0}, renormalise=True)],
            ]
        },
        renormalised=True,
    ),
    "self-attention": Case(
        [DOG],
        lambda k: [unchanged(k)],
        {"edits": [], "self_attention": wb.SelfAttention(0.5, max_pixels=EVERYWHERE)},
        image_steps=range(1),
    ),
    "all of them, many targets": Case(
        [DOG, HIPPO, RED],
        lambda k: [louder(k, swap, 4, 2.0), louder(k, hippopotamus, 7, 2.0), louder(k, red, 5, 2.0)],
        {
            "edits": [
                [wb.Replace(until=1.0), wb.Reweight({"beach": 2.0})],
                [wb.Replace(until=1.0), wb.Reweight({"beach": 2.0})],
                [wb.Refine(until=1.0), wb.Reweight({"beach": 2.0})],
            ],
            "self_attention": wb.SelfAttention(0.5, max_pixels=EVERYWHERE),
        },
        image_steps=range(1),
    ),
}


def cases(kind: str) -> dict[str, Case]:
    """The cases of a family; Sana's self-attention is linear, so that there are no maps of it."""
    if kind != "sana":
        return CASES
    everything = CASES["all of them, many targets"]
    words = {name: value for name, value in everything.settings.items() if name != "self_attention"}
    without = replace(everything, settings=words, image_steps=range(0))
    others = {name: case for name, case in CASES.items() if name != "self-attention"}
    return {**others, "all of them, many targets": without}


def edited(model: wb.Model, case: Case, **settings: Any) -> wb.EditResult:
    given = {"self_attention": 0.0, "latents": noise(model), "steps": STEPS, **case.settings, **settings}
    return wb.edit(model, SOURCE, to=case.to, **given)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("same_fresh_noise")
def test_generate_equals_the_stock_pipeline(kind: str):
    model = families.model(kind)
    made = wb.generate(model, [SOURCE, HIPPO], latents=noise(model), steps=STEPS).latents
    expected = stock_latents(model, [SOURCE, HIPPO], noise(model), steps=STEPS)
    assert made.shape == expected.shape
    assert distance(made[0], made[1]) > 1e-3
    assert distance(made, expected) < TOLERANCE


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in cases(kind)])
@pytest.mark.usefixtures("same_fresh_noise")
def test_edit_equals_explicit_maps(kind: str, name: str):
    model, case = families.model(kind), cases(kind)[name]
    prompts = [SOURCE, *case.to]
    oracle = Explicit(
        kind,
        len(prompts),
        case.words(kind),
        case.word_steps,
        case.image_steps,
        text_length(kind),
        pixels(kind),
        case.renormalised,
    )
    expected = stock_latents(model, prompts, noise(model), steps=STEPS, explicit=oracle)
    assert oracle.step == STEPS - 1
    plain = wb.generate(model, prompts, latents=noise(model), steps=STEPS).latents
    for row in range(1, len(prompts)):
        assert distance(expected[row], plain[row]) > 1e-4, "the edit does something"
    made = edited(model, case).latents
    # The source is what it is without targets; masked, its sums are made in another order.
    assert distance(made[0], plain[0]) < (1e-12 if kind in TWO_CALLS else 1e-300)
    assert distance(made, expected) < TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
def test_no_edit_is_bit_equal(kind: str):
    model = families.model(kind)
    plain = wb.generate(model, [SOURCE, DOG], latents=noise(model), steps=STEPS).latents
    assert torch.equal(edited(model, Case([DOG], lambda k: [], {"edits": []})).latents, plain)
    neutral = {"edits": [wb.Replace(until=0.0), wb.Reweight({"dog": 1.0})]}
    assert torch.equal(edited(model, Case([DOG], lambda k: [], neutral)).latents, plain)


def state(model: wb.Model) -> list[tuple[str, frozenset[str], str]]:
    """What control could leave behind: attributes, hooks and processors of every module."""
    return [
        (name, frozenset(module.__dict__), type(getattr(module, "processor", None)).__name__)
        for name, module in model.unet.named_modules()
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_restored_whatever_happens(kind: str):
    model, case = families.model(kind), cases(kind)["all of them, many targets"]
    before, plain = state(model), wb.generate(model, SOURCE, latents=noise(model), steps=1).latents
    during: list[bool] = []

    def stop(done: int, steps: int) -> None:
        during.append(state(model) != before)
        raise error("stop")

    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error, match="stop"):
            edited(model, case, progress=stop)
        assert state(model) == before
    assert during == [True, True]
    edited(model, case)
    assert state(model) == before
    assert torch.equal(wb.generate(model, SOURCE, latents=noise(model), steps=1).latents, plain)


@pytest.mark.parametrize("kind", KINDS)
def test_targets_do_not_depend_on_each_other(kind: str):
    model, case = families.model(kind), cases(kind)["all of them, many targets"]
    together = edited(model, case).latents
    alone = Case([HIPPO], case.words, {**case.settings, "edits": case.settings["edits"][1]})
    assert distance(edited(model, alone).latents[1], together[2]) < TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision(kind: str):
    case = cases(kind)["all of them, many targets"]
    latents = edited(families.model(kind, torch.bfloat16), case, maps=True).latents
    assert latents.dtype == torch.bfloat16
    assert torch.isfinite(latents).all()


@pytest.mark.parametrize("kind", KINDS)
def test_blend_and_maps_at_any_aspect(kind: str):
    """The word maps have the grid of the attention layers, and only in the region of the words anything changes."""
    model = families.model(kind, torch.float32)
    blend = wb.Blend("cat", "dog", threshold=0.9, start=0.5)
    factor = 1 if kind in ("sdxl", "lcm", "sana") else 2
    for size in (SIZE, (40, 16)):
        made = wb.edit(model, SOURCE, to=DOG, seed=1, steps=STEPS, size=size, blend=blend, maps=True)
        height, width = (side // model.factor for side in size)
        assert made.maps["dog"].shape == made.maps["cat"].shape == (height // factor, width // factor)
        assert made.maps["dog"].std() > 0
        changed = (made.latents[0] != made.latents[1]).any(dim=0)
        assert np.array_equal(changed, region(made.maps, "cat", factor) | region(made.maps, "dog", factor))
        assert made.images[0].size == (size[1], size[0])


def region(maps: Any, word: str, factor: int) -> np.ndarray:
    """Where a word's map, summed over steps and layers and widened by one pixel, is above 0.9 of its maximum."""
    widened = maximum_filter(maps.raw(word).sum(axis=(0, 1)), size=3, mode="constant")
    return np.kron(widened > 0.9 * widened.max(), np.ones((factor, factor), bool))


@pytest.mark.parametrize("kind", ["sd3", "flux", "pixart-sigma", *TEMPLATED])
def test_maps_equal_explicit_maps(kind: str):
    model = families.model(kind)
    seen: list[Tensor] = []

    class Watching(Explicit):
        def edited(self, maps: Tensor) -> Tensor:
            if self.kind != "self":
                row = maps[0 if kind == "zimage" else -1]
                text, image = self._columns(row)
                seen.append(self._padded(row[:, self._pixels(image), text]).mean(dim=0))
            return maps

    watching = Watching(kind, 1, [], range(0), range(0), text_length(kind), pixels(kind))
    stock_latents(model, [HIPPO], noise(model), steps=STEPS, explicit=watching)
    tokens = [start + first + token for start, _, first in sequences(kind) for token in range(1, 5)]
    expected = torch.stack(seen)[..., tokens].sum(dim=-1)
    made = wb.generate(model, HIPPO, latents=noise(model), steps=STEPS)
    raw = torch.from_numpy(made.maps.raw("hippopotamus")).flatten(0, 1).flatten(1)
    expected = expected[:, : raw.shape[1]]  # without Z-Image's padding
    assert raw.shape == expected.shape
    torch.testing.assert_close(raw.double(), expected, rtol=1e-4, atol=1e-6)


def test_linear_attention_cannot_be_injected():
    model = families.model("sana")
    with pytest.raises(
        wb.EditNotApplied, match=r"no self-attention layer .* there is none; use self_attention=0"
    ):
        edited(model, CASES["self-attention"])


@pytest.mark.parametrize("kind", ["sd3", "flux", "sdxl"])
def test_only_the_chosen_blocks_are_edited(kind: str):
    model = families.model(kind)
    case = Case([DOG], lambda k: [], {"edits": wb.Replace(until=1.0)})
    everywhere, plain = edited(model, case).latents, edited(model, case, edits=[]).latents
    one = edited(model, case, blocks=[0]).latents
    assert distance(one[1], everywhere[1]) > 1e-5
    assert distance(one[1], plain[1]) > 1e-5
    assert torch.equal(edited(model, case, blocks=[]).latents, plain)
    every = range(max(site.block for site in model.backbone.sites) + 1)
    assert torch.equal(edited(model, case, blocks=every).latents, everywhere)
    assert "in blocks 0 only" in wb.plan(model, SOURCE, to=DOG, blocks=[0]).describe()
    with pytest.raises(wb.InvalidInput, match="there is no block 99 to edit: the network's blocks are 0 to"):
        edited(model, case, blocks=[99])
    with pytest.raises(wb.InvalidInput, match=r"blocks are the numbers .* not '12'"):
        edited(model, case, blocks="12")


def caches() -> dict[str, Any]:
    from diffusers.hooks import (
        FasterCacheConfig,
        FirstBlockCacheConfig,
        MagCacheConfig,
        PyramidAttentionBroadcastConfig,
        SeaCacheConfig,
        TaylorSeerCacheConfig,
    )

    return {
        "first block": FirstBlockCacheConfig(threshold=0.1),
        "faster": FasterCacheConfig(current_timestep_callback=lambda: 500, tensor_format="BCHW"),
        "broadcast": PyramidAttentionBroadcastConfig(
            spatial_attention_block_skip_range=2, current_timestep_callback=lambda: 500
        ),
        "mag": MagCacheConfig(num_inference_steps=STEPS, mag_ratios=torch.ones(STEPS)),
        "sea": SeaCacheConfig(),
        "taylor": TaylorSeerCacheConfig(),
    }


CACHED = [
    *(("flux", name) for name in ("first block", "faster", "broadcast", "mag", "sea", "taylor")),
    ("qwen", "first block"),
    ("qwen", "taylor"),
]


@pytest.mark.parametrize(("kind", "name"), CACHED)
def test_caches_are_refused(kind: str, name: str):
    import copy

    model = copy.deepcopy(families.model(kind))
    model.unet.enable_cache(caches()[name])  # pyright: ignore[reportCallIssue]
    with pytest.raises(wb.ControlError, match=r"skips attention: remove it to edit"):
        edited(model, CASES["replace, one step"])


@pytest.mark.parametrize("kind", ["schnell", "sana", "lumina2", "zimage"])  # one of each layout
def test_compiled_transformer(kind: str):
    import copy

    plain = families.model(kind, torch.float32)
    model = copy.deepcopy(plain)
    model.unet = torch.compile(model.unet, backend="eager")  # pyright: ignore[reportAttributeAccessIssue]
    case = CASES["replace, more tokens"]
    compiled = edited(model, case, steps=1).latents
    assert distance(compiled, edited(plain, case, steps=1).latents) < 1e-5


def test_fresh_noise_is_of_each_sample_and_shared_with_its_targets():
    """LCM adds noise between the steps: the same for a source and its targets, whatever else is in the batch."""
    model = families.model("lcm")
    both = wb.generate(model, [SOURCE, DOG], seed=[1, 2], steps=STEPS, size=SIZE).latents
    again = wb.generate(model, [DOG, SOURCE], seed=[2, 1], steps=STEPS, size=SIZE).latents
    assert distance(both, again.flip(0)) < TOLERANCE
    same = wb.generate(model, [SOURCE, SOURCE], seed=1, steps=STEPS, size=SIZE).latents
    assert distance(same[0], same[1]) < TOLERANCE
    assert distance(wb.generate(model, SOURCE, seed=2, steps=STEPS, size=SIZE).latents[0], same[0]) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_word_spans_are_those_of_the_tokenizers(kind: str):
    """Every word's tokens are those whose characters the tokenizer says it has, in every reading of the prompt."""
    model = families.model(kind)
    text = "A Hippopotamus,  red watercolor."
    lowered = text.lower() if kind.startswith("pixart") or kind == "sana" else text
    before, unseen = template(kind) if kind in TEMPLATED else ("", 0)
    prompt = model.backbone.read(text)
    readers = {"tokenizer": model.tokenizer, **model.more}
    names = {"sd3": ("tokenizer", "tokenizer_3"), "sd3.5": ("tokenizer", "tokenizer_3")}
    names |= dict.fromkeys(("flux", "schnell"), ("tokenizer_2",))
    chosen = [readers[name] for name in names.get(kind, ("tokenizer",))]
    for tokenizer, (start, length, _) in zip(chosen, sequences(kind), strict=True):
        offsets = tokenizer(before + lowered, return_offsets_mapping=True)["offset_mapping"]
        for word in prompt.words:
            place = len(before) + text.index(word.text)
            covered = [
                start + number - unseen
                for number, (a, b) in enumerate(offsets)
                if a < place + len(word.text) and place < b and a < b
            ]
            here = [token for token in word.tokens if start <= token < start + length]
            assert covered == here, word.text
            assert here
    assert prompt.length == text_length(kind)
    assert prompt.find("hippopotamus") == prompt.words[1].tokens
    assert len(prompt.find("hippopotamus")) >= 2 * len(chosen)


@pytest.mark.parametrize("kind", TEMPLATED)
def test_words_of_a_template_are_not_the_prompts(kind: str):
    read = families.model(kind).backbone.read
    for word in ("user", "prompt", "assistant", "image"):
        assert not read(SOURCE).has(word)
    own = read("a user prompt")
    for word in ("user", "prompt"):
        found = own.find(word)
        assert min(found) > templated(kind)[1]
        assert "".join(own.tokens[token].text for token in found).strip() == word
    with pytest.raises(wb.PromptTooLong, match=rf"tokens but the text encoder reads {templated(kind)[0]}"):
        read("cat " * 600)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("schnell", {"guidance": 3.5}, "distilled to need no guidance: leave guidance=3.5 out"),
        ("sd3", {"guidance": 0.0}, "give 1 for no guidance"),
        (
            "sd3",
            {"guidance": wb.Distilled(3.5)},
            "sd3 takes no guidance scale as an input: give the number 3.5",
        ),
        ("flux", {"negative": "snow"}, "Distilled guidance asks no unconditional branch"),
        ("sd3", {"scheduler": "ddim"}, "'ddim' cannot sample this model, .* use one of flow"),
        ("sdxl", {"scheduler": "flow"}, "'flow' is for models that were trained on straight paths"),
        ("flux", {"size": 30, "latents": None, "seed": 1}, "multiples of 4 pixels"),
        ("sd3", {"to": "cat " * 30}, "32 tokens but the text encoder reads 24"),
    ],
)
def test_what_a_family_cannot_do(kind: str, settings: dict[str, Any], message: str):
    with pytest.raises(wb.InvalidInput, match=message):
        edited(families.model(kind), Case([settings.pop("to", DOG)], lambda k: []), **settings)


@pytest.mark.parametrize("kind", ["sd3", "flux", "pixart-sigma"])
def test_published_recipes_are_for_clip_alone(kind: str):
    recipe = wb.published.stable("refine", cross_replace_steps=0.8, self_replace_steps=0.4)
    with pytest.raises(
        wb.InvalidInput, match="the published recipes count tokens as CLIP and BERT make them"
    ):
        edited(families.model(kind), Case([RED], lambda k: []), edits=recipe, self_attention=None)


@pytest.mark.parametrize("kind", ["flux", "schnell"])
def test_true_guidance_of_distilled_models(kind: str):
    """Given as an object, classifier-free guidance asks for an unconditional branch, with a negative prompt."""
    model = families.model(kind)
    given: dict[str, Any] = {"latents": noise(model), "steps": STEPS, "guidance": wb.ClassifierFree(3.0)}
    made = wb.generate(model, SOURCE, **given)
    assert made.settings["forward_samples"] == 2 * STEPS
    assert distance(wb.generate(model, SOURCE, negative="snow", **given).latents, made.latents) > 1e-4


@pytest.mark.parametrize("kind", ["sdxl", "sd3"])
def test_one_step_without_guidance_equals_the_stock_pipeline(kind: str):
    """As Turbo models are sampled: what diffusers writes 0, and their one branch, is 1 here."""
    model = families.model(kind)
    made = wb.generate(model, [SOURCE, HIPPO], latents=noise(model), steps=1, guidance=1).latents
    expected = stock_latents(model, [SOURCE, HIPPO], noise(model), steps=1, guidance_scale=0.0)
    assert distance(made, expected) < TOLERANCE


@pytest.mark.parametrize("kind", ["sdxl", "sd3", "zimage"])
def test_edits_in_few_steps_without_guidance_equal_explicit_maps(kind: str):
    """As Turbo and Lightning models are edited: one branch, and timesteps that end with the first."""
    model = families.model(kind)
    if kind == "sdxl":
        trailing = type(model.scheduler).from_config(model.scheduler.config, timestep_spacing="trailing")
        model = replace(model, scheduler=trailing)
    case = CASES["all of them, many targets"]
    prompts = [SOURCE, *case.to]
    oracle = Explicit(
        kind, 4, case.words(kind), case.word_steps, case.image_steps, text_length(kind), pixels(kind)
    )
    none = 1.0 if kind == "zimage" else 0.0  # in our words, of which ``stock_latents`` takes 1 away
    expected = stock_latents(model, prompts, noise(model), steps=STEPS, explicit=oracle, guidance_scale=none)
    made = edited(model, case, guidance=1)
    assert made.settings["forward_samples"] == 4 * STEPS
    assert distance(made.latents, expected) < TOLERANCE
    plain = edited(model, Case(case.to, lambda k: [], {"edits": []}), guidance=1).latents
    assert distance(made.latents[1:], plain[1:]) > 1e-3


def test_a_prompt_beyond_clip_is_summarised_with_a_warning():
    model = families.model("flux")
    with pytest.warns(UserWarning, match="CLIP summarises the first 24 tokens of 'é"):
        wb.generate(model, "é" * 40, latents=noise(model), steps=1)


def test_a_schedule_without_one_step_says_so():
    """Qwen-Image's is stretched to end above 0, which takes two steps; with them it is sampled as diffusers does."""
    model = families.model("qwen")
    stretched = type(model.scheduler).from_config(model.scheduler.config, shift_terminal=0.02)
    model = replace(model, scheduler=stretched)
    given: dict[str, Any] = {"latents": noise(model)}
    with pytest.raises(wb.InvalidInput, match="cannot make 1 step: its shift_terminal needs 2 at least"):
        wb.generate(model, SOURCE, steps=1, **given)
    made = wb.generate(model, [SOURCE, HIPPO], steps=STEPS, **given).latents
    assert distance(made, stock_latents(model, [SOURCE, HIPPO], noise(model), steps=STEPS)) < TOLERANCE


def test_no_guidance_asks_one_branch():
    model = families.model("sd3")
    given: dict[str, Any] = {"latents": noise(model), "steps": STEPS}
    single = wb.generate(model, SOURCE, guidance=1, **given)
    assert single.settings["forward_samples"] == STEPS
    both = wb.generate(model, SOURCE, guidance=wb.ClassifierFree(1.0), **given)
    assert both.settings["forward_samples"] == 2 * STEPS
    assert distance(single.latents, both.latents) < TOLERANCE


LONG = "a red hippopotamus on the beach with a castle, at sunset, in the snow"


@pytest.mark.parametrize("kind", ["sd3", "flux", *TEMPLATED])
def test_a_cached_source_is_edited_again(kind: str):
    """Also by targets of another length, whose batch has other positions of text."""
    model, cache = families.model(kind), wb.SourceCache()
    injected = 0.0 if kind == "sana" else 0.5
    long = LONG if kind in TEMPLATED else RED
    first = edited(model, Case([DOG], lambda k: []), cache=cache, self_attention=injected)
    assert first.settings["cache"] == "filled"
    for to in ([long, DOG], [DOG]):
        again = edited(model, Case(to, lambda k: []), cache=cache, self_attention=injected)
        assert again.settings["cache"] == "used"
        fresh = edited(model, Case(to, lambda k: []), self_attention=injected).latents
        assert distance(fresh[1], fresh[0]) > 1e-4
        assert distance(again.latents, fresh) < 1e-9
    brief = wb.SourceCache()
    edited(model, Case([long], lambda k: []), cache=brief, self_attention=injected)
    shorter = edited(model, Case([DOG], lambda k: []), cache=brief, self_attention=injected).latents
    assert distance(shorter, first.latents) < 1e-9
