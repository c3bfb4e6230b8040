"""Local blend against explicit maps in float64: our rule, and the published one's differences."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import pipelines
import wordbrush as wb
from oracle import Oracle
from wordbrush.backbones.base import map_sites
from wordbrush.backbones.maps import LocalBlend
from wordbrush.edits.plan import Recipe
from wordbrush.edits.published import CrossSchedule, Transfer
from wordbrush.edits.self_attention import SelfAttention
from wordbrush.edits.window import Clock
from wordbrush.errors import InvalidInput

STEPS = 4
SIZE = (32, 16)  # latents of 16 × 8, all of which the maps of the finest layers cover
SOURCE, TARGET = "a cat on the beach", "a dog on the beach"
THRESHOLD = 0.8
TOLERANCE = 1e-12


def region(maps: Tensor, tokens: int, *, pooled: bool, threshold: float) -> Tensor:
    """The published mask from (samples, pixels, tokens) maps: one pixel of the map per latent pixel."""
    word = maps[..., tokens].unflatten(1, (SIZE[0] // 2, SIZE[1] // 2))
    if pooled:
        word = F.max_pool2d(word, 3, 1, 1)
    mask = word / word.amax((1, 2), keepdim=True) > threshold
    return mask[:1] | mask


def oracle(*, start: int, pooled: bool = True, edited: bool = False, subtract: bool = False) -> Tensor:
    seen: list[float] = []

    def after_step(step: int, latents: Tensor, maps: Tensor) -> Tensor:
        if step < start:
            return latents
        mask = region(maps, 2, pooled=pooled, threshold=THRESHOLD)
        if subtract:
            mask = mask & ~region(maps, 5, pooled=False, threshold=0.6)
        seen.append(mask[1].double().mean().item())
        return latents[:1] + mask[:, None].to(latents) * (latents - latents[:1])

    model = pipelines.model()
    run = Oracle(
        model,
        [SOURCE, TARGET],
        [lambda step, source, own: source],
        lambda step, pixels: False,
        after_step,
        read_pixels=SIZE[0] * SIZE[1] // 4,
        read_edited=edited,
    )
    noise = torch.randn(1, 4, SIZE[0] // 2, SIZE[1] // 2, generator=torch.Generator().manual_seed(1)).double()
    latents = run.run(noise, model.scheduler, steps=STEPS, guidance=7.5)
    assert len(seen) == STEPS - start
    assert 0 < min(seen) <= max(seen) < 1, "the mask must neither be empty nor cover everything"
    return latents


def published(**settings: Any) -> Recipe:
    blend = wb.published.LocalBlend(["cat", "dog"], threshold=THRESHOLD, **settings)
    return Recipe((Transfer("replace", CrossSchedule(1.0)),), SelfAttention(0.0), blend)


OURS: dict[str, Any] = {"edits": wb.Replace(until=1.0), "self_attention": 0.0}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "ours": ({**OURS, "blend": wb.Blend("cat", "dog", threshold=THRESHOLD)}, {"start": 1}),
    "ours, from the first step": (
        {**OURS, "blend": wb.Blend(["cat"], ["dog"], threshold=THRESHOLD, start=0.0)},
        {"start": 0},
    ),
    "ours, subtracting": (
        {
            **OURS,
            "blend": wb.Blend(
                "cat", [["dog"]], threshold=THRESHOLD, subtract="beach", subtract_threshold=0.6
            ),
        },
        {"start": 1, "subtract": True},
    ),
    "stable": ({"edits": published()}, {"start": 0, "edited": True}),
    "ldm": ({"edits": published(pooled=False)}, {"start": 0, "edited": True, "pooled": False}),
    "nulltext": ({"edits": published(start=0.5)}, {"start": 2, "edited": True}),
}


@pytest.mark.parametrize("name", CASES)
def test_blend_equals_explicit_maps(name: str):
    settings, explicit = CASES[name]
    expected = oracle(**explicit)
    result = wb.edit(pipelines.model(), SOURCE, to=TARGET, seed=1, size=SIZE, steps=STEPS, **settings)
    assert float((result.latents - expected).norm() / expected.norm()) < TOLERANCE


def test_all_cases_are_run():
    assert len(CASES) == 6


def test_several_targets_use_the_words_they_have():
    model = pipelines.model()
    both = wb.Blend("cat", ["dog", "castle"], threshold=THRESHOLD)
    castle = "a castle on the beach"
    result = wb.edit(model, SOURCE, to=[TARGET, castle], blend=both, seed=1, size=SIZE, steps=STEPS)
    alone = wb.edit(
        model,
        SOURCE,
        to=castle,
        blend=wb.Blend("cat", "castle", threshold=THRESHOLD),
        seed=1,
        size=SIZE,
        steps=STEPS,
    )
    assert torch.allclose(result.latents[2], alone.latents[1], atol=1e-9)


def automatic(target: str | list[str], **settings: Any) -> torch.Tensor:
    given = {"edits": wb.Replace(until=1.0), "self_attention": 0.0, **settings}
    return wb.edit(pipelines.model(), SOURCE, to=target, seed=1, size=SIZE, steps=STEPS, **given).latents


def test_an_automatic_blend_is_that_of_the_changed_words():
    anywhere = automatic(TARGET)
    chosen = automatic(TARGET, blend=wb.Blend("cat", "dog", threshold=THRESHOLD))
    assert not torch.equal(anywhere, chosen)
    assert torch.equal(automatic(TARGET, blend=wb.AutoBlend(THRESHOLD, 0.2, 1.0, pooled=True)), chosen)
    narrow = automatic(TARGET, blend=wb.AutoBlend(THRESHOLD, start=0.2, max_spread=1.0))
    assert not torch.equal(narrow, chosen)
    assert torch.equal(narrow, automatic(TARGET, blend=wb.Blend("cat", "dog", THRESHOLD, pooled=False)))


def test_an_automatic_blend_of_a_large_region_is_none():
    assert torch.equal(automatic(TARGET, blend=wb.AutoBlend(THRESHOLD, max_spread=0.01)), automatic(TARGET))


def test_words_of_one_prompt_alone_have_a_wider_region():
    model = pipelines.model()
    targets = [TARGET, "a cat with a hat on the beach", "on the beach"]
    source, *read = (model.backbone.read(prompt) for prompt in (SOURCE, *targets))
    rule = wb.AutoBlend(threshold=0.5, unpaired_threshold=0.3, start=0.0)
    site = map_sites(model.backbone)[0]
    blend = LocalBlend(rule, torch.tensor(rule.indicators(source, read)), [site], steps=range(1))
    height, width = 16, 8
    maps = torch.zeros(4, height, width, 3)
    for row, column in (
        (0, 0),
        (1, 0),
        (2, 1),
        (0, 2),
    ):  # the cat and the dog for it, the hat, the cat that is no more
        maps[row, 4, 4, column], maps[row, 9, 1, column] = 1.0, 0.4
    latents = torch.arange(4.0)[:, None, None, None].expand(4, 4, height, width)
    blend.probe.collect(site, maps.flatten(1, 2))
    _, swapped, added, deleted = blend(0, latents)[:, 0]
    assert swapped.nonzero().tolist() == [[4, 4]]
    near = [[y, x] for y, x in itertools.product(range(3, 6), range(3, 6))]
    far = [[y, x] for y, x in itertools.product(range(8, 11), range(3))]
    assert added.nonzero().tolist() == deleted.nonzero().tolist() == near + far


def test_the_thresholds_of_swapped_words_and_of_others_are_apart():
    added = "a red cat on the beach"
    for target, acts, rests in ((TARGET, 0, 1), (added, 1, 0)):
        blends = [
            wb.AutoBlend(paired, start=0.2, max_spread=1.0, unpaired_threshold=unpaired)
            for paired, unpaired in ((0.7, 0.7), (0.95, 0.7), (0.7, 0.95))
        ]
        whole, *changed = (automatic(target, blend=blend) for blend in blends)
        assert not torch.equal(whole, changed[acts])
        assert torch.equal(whole, changed[rests])


def test_every_target_of_an_automatic_blend_has_its_own_source_words():
    rule = wb.AutoBlend(THRESHOLD, max_spread=1.0, unpaired_threshold=THRESHOLD)
    targets = [TARGET, "a cat on the castle", "a red cat on the beach"]
    together = automatic(targets, blend=rule)
    for row, target in enumerate(targets, start=1):
        assert not torch.equal(automatic(target)[1], together[row])
        torch.testing.assert_close(automatic(target, blend=rule)[1], together[row], atol=1e-9, rtol=0)


def test_what_no_edit_changed_is_not_blended():
    model = pipelines.model()
    assert wb.plan(model, SOURCE, to=TARGET, blend="auto").blend == wb.AutoBlend(weighted=((),))
    assert wb.plan(model, SOURCE, to=TARGET, blend="none").blend is None
    assert wb.plan(model, SOURCE, to=TARGET, edits=[], blend="auto").blend is None
    assert wb.plan(model, SOURCE, to=SOURCE, edits=wb.Reweight({"cat": 2.0}), blend="auto").blend is None
    mixed = wb.plan(model, SOURCE, to=[TARGET] * 2, edits=[[], [wb.Replace()]], blend="auto").blend
    assert mixed == wb.AutoBlend(unedited=(0,), weighted=((), ()))


def test_a_word_that_is_turned_up_beside_a_swap_may_change_its_own_region():
    model = pipelines.model()
    edits = [wb.Replace(), wb.Reweight({"beach": 2.0})]
    plan = wb.plan(model, SOURCE, to=TARGET, edits=edits, blend="auto")
    assert isinstance(plan.blend, wb.AutoBlend)
    source, own = plan.blend.indicators(plan.source, plan.targets)
    target = plan.targets[0]
    assert source[:, 0].nonzero()[0].tolist() == list(plan.source.find("cat"))
    assert [column.nonzero()[0].tolist() for column in own.T] == [
        list(target.find("dog")), list(target.find("beach")),
    ]  # fmt: skip
    assert not source[:, 1].any()
    # A word that was changed anyhow, one that is neutral, and one that only another target has.
    edits = [wb.Replace(), wb.Reweight({"dog": 2.0}), wb.Reweight({"beach": 1.0})]
    targets = [TARGET, "a castle on the snow"]
    neutral = wb.plan(model, SOURCE, to=targets, edits=edits, blend="auto")
    assert isinstance(neutral.blend, wb.AutoBlend)
    assert neutral.blend.indicators(neutral.source, neutral.targets).shape[-1] == len(targets)


@pytest.mark.parametrize(
    ("spreads", "expected"),
    [("local", [(2, 2), (12, 2)]), ("everywhere", None), ("changed everywhere", None)],
)
def test_a_weighted_word_adds_its_region(spreads: str, expected: list[tuple[int, int]] | None):
    """Maps of our own: the swapped word is at (2, 2), and the weighted one at (12, 2) or all over the picture."""
    model = pipelines.model()
    rule = wb.AutoBlend(start=0.0, weighted=(("beach",), ()))
    source, *targets = (model.backbone.read(text) for text in (SOURCE, TARGET, TARGET))
    blend = LocalBlend(
        rule,
        torch.tensor(rule.indicators(source, targets)),
        [map_sites(model.backbone)[0]],
        steps=range(2),
    )
    height, width = 16, 8
    maps = torch.zeros(3, height, width, 3)
    for row, column in ((0, 0), (0, 1), (1, 0), (2, 1)):
        maps[row, 2, 2, column] = 1.0
    maps[1, 12, 2, 2] = 1.0
    if spreads == "everywhere":
        maps[1, ..., 2] = 1.0
    if spreads == "changed everywhere":
        maps[1, ..., 0] = 1.0
    blend.probe.collect(blend._site, maps.flatten(1, 2))
    latents = torch.arange(3.0)[:, None, None, None].expand(3, 4, height, width)
    for step in range(2):
        _, edited, other = blend(step, latents)[:, 0]
        assert list(map(tuple, other.nonzero().tolist())) == [(2, 2)]
        changed = list(map(tuple, edited.nonzero().tolist()))
        assert changed == expected if expected else len(changed) == height * width


def test_the_last_steps_of_an_automatic_blend_are_free():
    clock = Clock(20, 20)
    assert wb.AutoBlend().steps(clock) == range(8, 18)
    assert wb.AutoBlend(stop=1.0).steps(clock) == range(8, 20)
    model = pipelines.model()
    rules = {stop: wb.AutoBlend(THRESHOLD, start=0.0, max_spread=1.0, stop=stop) for stop in (0.5, 1.0)}
    outside: dict[float, float] = {}
    for stop, rule in rules.items():
        result = wb.edit(model, SOURCE, to=TARGET, blend=rule, seed=1, steps=4, size=32)
        source, target = result.latents
        outside[stop] = float((source == target).all(dim=0).double().mean())
    assert outside[0.5] == 0  # what was the source's has been denoised under the other prompt since
    assert 0 < outside[1.0] < 1
    for start, stop in ((0.95, 0.9), (0.2, 1.5), (0.2, float("nan"))):
        with pytest.raises(
            InvalidInput, match=f"starts, at {start}, .* not at {stop}: give another start or stop"
        ):
            wb.AutoBlend(start=start, stop=stop)


def test_articles_and_prepositions_are_no_region():
    model = pipelines.model()
    read = model.backbone.read
    marks = wb.AutoBlend().indicators(read(SOURCE), [read("a cat on the beach with a dog")])
    assert marks.shape == (2, read(SOURCE).length, 1)
    assert marks[0].sum() == 0
    assert marks[1].sum() == len(read("a cat on the beach with a dog").find("dog"))


@pytest.mark.parametrize("added", [".", ",", "!", ' "', "-", "…", " |", "、", "。", " \" ' ;"])
def test_punctuation_is_no_region(added: str):
    read = pipelines.model().backbone.read
    source = read(SOURCE)
    for before, after in ((SOURCE, TARGET + added), (SOURCE + added, TARGET)):
        marks = wb.AutoBlend().indicators(read(before), [read(after)])
        assert marks[0, :, 0].nonzero()[0].tolist() == list(source.find("cat"))
        assert marks[1, :, 0].nonzero()[0].tolist() == list(read(TARGET).find("dog"))
    assert wb.plan(pipelines.model(), SOURCE, to=SOURCE + added, blend="auto").blend is None


@pytest.mark.parametrize("word", ["7", "é", "猫", "кот", "🦊", "☂️"])
def test_letters_digits_and_pictographs_are_a_region(word: str):
    read = pipelines.model().backbone.read
    target = read(f"a {word} on the beach")
    marks = wb.AutoBlend().indicators(read(SOURCE), [target])
    assert marks[1, :, 0].nonzero()[0].tolist() == list(target.find(1))


def test_an_automatic_blend_of_words_of_one_s_own():
    found = automatic(TARGET, blend=wb.AutoBlend(THRESHOLD, max_spread=1.0))
    assert not torch.equal(found, automatic(TARGET))
    assert torch.equal(
        found, automatic(TARGET, blend=wb.AutoBlend(THRESHOLD, max_spread=1.0, source="cat", target="dog"))
    )
    read = pipelines.model().backbone.read
    source, targets = read(SOURCE), [read(TARGET), read("a castle on the beach")]
    for rule, expected in (
        (wb.AutoBlend(source=["cat"], target=["dog", "castle"]), [[[2], [2]], [[2], []], [[], [2]]]),
        (wb.AutoBlend(target=[["dog"], ["castle", "beach"]]), [[[], []], [[2], []], [[], [2, 5]]]),
        (wb.AutoBlend(source="beach", unedited=(0,)), [[[], [5]], [[], []], [[], []]]),
    ):
        marks = rule.indicators(source, targets)
        assert [[column.nonzero()[0].tolist() for column in row.T] for row in marks] == expected
    with pytest.raises(wb.UnknownWord, match="source word cannot be found"):
        wb.AutoBlend(source="dog").indicators(source, targets)
