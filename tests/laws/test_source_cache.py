"""The source cache: equal to editing without it, cheaper, within its limit, and refused when it is stale."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import families
import pipelines
import wordbrush as wb
from compare import distance
from wordbrush.ancestral import Ancestral

SOURCE, DOG, RED = "a cat on the beach", "a dog on the beach", "a red cat on the beach"
STEPS = 4
# Without the source's rows the network's batch is smaller, and kernels may round differently.
TOLERANCE = 1e-10


def edit(
    to: Any, cache: wb.SourceCache | None = None, *, kind: str = "sd1", **settings: Any
) -> wb.EditResult:
    settings = {"seed": 1, "steps": STEPS, "blend": "auto", "self_attention": 0.5, **settings}
    source = settings.pop("source", SOURCE)
    return wb.edit(pipelines.model(kind), source, to=to, cache=cache, **settings)


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("kind", pipelines.KINDS)
def test_cached_edits_equal_uncached_ones(kind: str, lean: bool, tmp_path: Path):
    """Other targets, windows, strengths, blends and maps than those of the edit that filled the cache."""
    folder = tmp_path / "source" if kind == "sd1" else None
    cache = wb.SourceCache(folder=folder, lean=lean)
    filling = (
        {"until": 1.0, "self_attention": 1.0}
        if lean
        else {"until": 0.25, "self_attention": 0.25, "blend": "none"}
    )
    first = edit(DOG, cache, kind=kind, **filling)
    assert torch.equal(first.latents, edit(DOG, kind=kind, **filling).latents)
    others: list[dict[str, Any]] = [
        {"to": [RED, DOG], "edits": [wb.Refine(1.0), wb.Reweight({"beach": 2.0})], "self_attention": 1.0},
        {"to": SOURCE, "edits": wb.Reweight({"cat": -1.0}), "blend": wb.Blend("cat", "cat")},
        {"to": DOG, "until": 0.5, "self_attention": 0.25, "blend": "none"},
    ]
    for other in others:
        again = wb.SourceCache(folder=folder) if folder else cache  # as another process would
        assert again.filled
        cached, fresh = edit(cache=again, kind=kind, **other), edit(kind=kind, **other)
        assert distance(fresh.latents[1:], fresh.latents[:1].expand_as(fresh.latents[1:])) > 1e-3
        assert distance(cached.latents, fresh.latents) < TOLERANCE
        assert abs(cached.maps.of("cat", image=0) - fresh.maps.of("cat", image=0)).max() < 1e-6


def test_later_edits_cost_half():
    cache = wb.SourceCache()
    costs = [edit(DOG, cache, steps=20).settings for _ in range(2)]
    assert [cost["cache"] for cost in costs] == ["filled", "used"]
    first, second = (cost["forward_samples"] for cost in costs)
    assert (first, second) == (4 * 20 + 1, 2 * 20 + 1)
    assert second <= 0.55 * first


def test_what_is_kept_takes_what_the_documentation_says():
    """Queries and keys of text and image, of every block of a Stable Diffusion 3, in the first fifth of the steps."""
    model, cache = families.model("sd3"), wb.SourceCache(lean=True)
    wb.edit(model, SOURCE, to=DOG, seed=1, steps=6, size=64, cache=cache)
    assert cache._source is not None
    latents = cache._source.path[0].numel()
    image, channels, blocks = (64 // model.factor // 2) ** 2, 2 * 8, 2
    used = 2  # step 1 of 6 is inside a window until 0.2, as 1/6 is below it
    positions = model.backbone.read(SOURCE).length + image
    per_step = blocks * 2 * positions * channels
    assert [len(sites) for sites in cache._source.uses] == [2, 2, 0, 0, 0, 0]
    assert cache._source.size == 8 * (used * per_step + 7 * latents)


def test_injection_in_all_branches_is_kept_if_the_first_edit_has_it():
    everywhere = wb.SelfAttention(0.6, branches="all")
    cache = wb.SourceCache()
    edit(DOG, cache, self_attention=everywhere)
    cached, fresh = (edit(RED, one, self_attention=everywhere) for one in (cache, None))
    assert distance(cached.latents, fresh.latents) < TOLERANCE
    less = wb.SourceCache()
    edit(DOG, less)
    with pytest.raises(wb.InvalidInput, match="injects less self-attention"):
        edit(RED, less, self_attention=everywhere)


def kept(cache: wb.SourceCache) -> list[int]:
    """How many sites are kept, step by step."""
    assert cache._source is not None
    assert [len({name.partition(".")[0] for name in cache._source.step(step)}) for step in range(STEPS)] == [
        len(sites) for sites in cache._source.uses
    ]
    return [len(sites) for sites in cache._source.uses]


def test_only_what_is_used_is_kept(tmp_path: Path):
    """Words for half of the run, self-attention for a quarter, and without a blend nothing in the rest."""
    cache = wb.SourceCache(folder=tmp_path, lean=True)
    edit(DOG, cache, until=0.5, self_attention=0.25, blend="none")
    first, second, *rest = kept(cache)
    assert first > second > 0
    assert rest == [0, 0]
    sizes = [(tmp_path / f"step-{step:04d}.safetensors").stat().st_size for step in range(STEPS)]
    assert sizes[0] > sizes[1] > 100 * sizes[2]
    stronger = {"edits": [wb.Replace(0.5), wb.Reweight({"beach": 3.0})], "self_attention": 0.0}
    cached, fresh = (edit(RED, one, blend="none", **stronger) for one in (cache, None))
    assert distance(cached.latents[1:], cached.latents[:1]) > 1e-3
    assert distance(cached.latents, fresh.latents) < TOLERANCE
    assert abs(cached.maps.of("cat") - fresh.maps.of("cat")).max() < 1e-6


@pytest.mark.parametrize(
    ("more", "step"),
    [({"until": 0.75}, 3), ({"self_attention": 0.5}, 2), ({"blend": "auto"}, 3), ({"maps": True}, 3)],
)
def test_an_edit_that_uses_more_is_refused(more: dict[str, Any], step: int):
    less = {"until": 0.5, "self_attention": 0.25, "blend": "none"}
    cache = wb.SourceCache(lean=True)
    edit(DOG, cache, **less)
    edit(RED, cache, **less)
    with pytest.raises(
        wb.InvalidInput, match=f"uses less of the source than this one, first in step {step} of 4"
    ):
        edit(RED, cache, **{**less, **more})


@pytest.mark.parametrize("method", ["direct", "edit-friendly", "negative-prompt"])
def test_inverted_pictures_are_cached_too(method: str):
    model, cache = pipelines.model(), wb.SourceCache()
    clean = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2)).double()
    start = wb.invert_latents(model, clean, SOURCE, method=method, steps=STEPS)
    wb.edit(model, start, to=DOG, cache=cache)
    cached, fresh = (wb.edit(model, start, to=RED, cache=one) for one in (cache, None))
    assert cached.settings["cache"] == "used"
    assert distance(cached.latents, fresh.latents) < TOLERANCE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 2}, "another value of the noise"),
        ({"steps": 3}, "steps 4, not 3"),
        ({"source": "a cat in the snow"}, "prompt a cat on the beach, not a cat in the snow"),
        ({"size": 24}, "size 32 × 32, not 24 × 24"),
        ({"guidance": 3.0}, r"guidance ClassifierFree\(scale=7.5\), not"),
        ({"scheduler": "dpm++"}, "another value of the scheduler"),
        ({"negative": "dark"}, "another value of the negative prompt"),
    ],
)
def test_stale_caches_are_refused(changes: dict[str, Any], message: str, filled: wb.SourceCache):
    with pytest.raises(wb.InvalidInput, match=f"stale: .*{message}"):
        edit(DOG, filled, **changes)


@pytest.mark.parametrize(("first", "second"), [("lms", "dpm2"), (Ancestral(1), Ancestral(2))])
def test_schedulers_of_the_same_settings_are_told_apart(first: object, second: object):
    cache = wb.SourceCache()
    edit(DOG, cache, scheduler=first, steps=2)
    assert edit(DOG, cache, scheduler=first, steps=2).settings["cache"] == "used"
    with pytest.raises(wb.InvalidInput, match=r"stale: .*another value of the scheduler"):
        edit(DOG, cache, scheduler=second, steps=2)


def test_whole_numbers_are_no_other_guidance():
    """7 is 7.0, however it is given."""
    cache = wb.SourceCache()
    edit(DOG, cache, guidance=7.0, steps=1)
    for same in (7, wb.ClassifierFree(7)):
        assert edit(DOG, cache, guidance=same, steps=1).settings["cache"] == "used"
    assert repr(wb.ClassifierFree(7)) == "ClassifierFree(scale=7.0)"


def test_a_folder_beyond_the_limit_is_refused(tmp_path: Path):
    edit(DOG, wb.SourceCache(folder=tmp_path), steps=1)
    kept = wb.SourceCache(folder=tmp_path)._source
    assert kept
    assert kept.size > 1000
    assert wb.SourceCache(kept.size, folder=tmp_path).filled
    with pytest.raises(wb.InvalidInput, match=r"takes [\d.]+ [kM]B and its limit is 1 kB: raise the limit"):
        wb.SourceCache("1kB", folder=tmp_path)


@pytest.fixture(scope="module")
def filled() -> wb.SourceCache:
    cache = wb.SourceCache()
    edit(DOG, cache)
    return cache


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_another_network_is_noticed(dtype: torch.dtype):
    """In half precision too, where less is changed than a prediction is rounded by."""
    model, cache = pipelines.model("sd1", dtype), wb.SourceCache()
    how: dict[str, Any] = {"to": DOG, "seed": 1, "steps": 1, "cache": cache}
    wb.edit(model, SOURCE, **how)
    network = copy.deepcopy(model.unet)
    other = replace(model, unet=network)
    assert wb.edit(other, SOURCE, **how).settings["cache"] == "used"
    with torch.no_grad():
        network.get_parameter("conv_in.weight").mul_(1.01)
    with pytest.raises(wb.InvalidInput, match=r"stale: .*another value of the network's weights"):
        wb.edit(other, SOURCE, **how)
    with pytest.raises(wb.InvalidInput, match=r"model sd1 \(UNet2DConditionModel\), not another \(UNet2D"):
        wb.edit(replace(model, name="another"), SOURCE, **how)


def test_hooks_are_noticed(filled: wb.SourceCache):
    """What is changed without the weights."""
    network = pipelines.model("sd1").unet
    edit(DOG, filled)

    def louder(module: Any, given: Any, out: torch.Tensor) -> torch.Tensor:
        return out * (1 + 1e-6)

    hook = network.get_submodule("conv_in").register_forward_hook(louder)
    try:
        with pytest.raises(wb.InvalidInput, match="predicts something else now"):
            edit(DOG, filled)
    finally:
        hook.remove()
    edit(DOG, filled)


def test_the_limit_is_kept(tmp_path: Path):
    for cache in (wb.SourceCache(limit=10_000), wb.SourceCache("10 kB", folder=tmp_path)):
        with pytest.raises(wb.InvalidInput, match=r"takes [\d.]+ MB and the cache's limit is 10 kB"):
            edit(DOG, cache)
        assert not cache.filled
    assert not list(tmp_path.glob("*.safetensors"))


def test_an_interrupted_edit_keeps_nothing(tmp_path: Path):
    def stop(step: int, steps: int) -> None:
        if step == 2:
            raise KeyboardInterrupt

    cache = wb.SourceCache(folder=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        edit(DOG, cache, progress=stop)
    assert not cache.filled
    assert not wb.SourceCache(folder=tmp_path).filled
    edit(DOG, cache)
    assert wb.SourceCache(folder=tmp_path).filled
    cache.clear()
    assert not wb.SourceCache(folder=tmp_path).filled
    assert not list(tmp_path.glob("*.safetensors"))


def test_steps_of_another_filling_are_noticed(tmp_path: Path):
    """Of the same source, so that nothing else tells them apart."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        edit(DOG, wb.SourceCache(folder=folder))
    shutil.copy(folders[1] / "step-0002.safetensors", folders[0])
    cache = wb.SourceCache(folder=folders[0])
    with pytest.raises(wb.InvalidInput, match=r"the cache in .*one is damaged: delete the folder"):
        edit(RED, cache)


def test_a_folder_is_filled_by_one_edit_at_a_time(tmp_path: Path):
    def another(step: int, steps: int) -> None:
        with pytest.raises(wb.DataError, match=r"another run is working in .*: wait until it ends"):
            edit(RED, wb.SourceCache(folder=tmp_path))

    late = wb.SourceCache(folder=tmp_path)
    edit(DOG, wb.SourceCache(folder=tmp_path), progress=another)
    with pytest.raises(wb.InvalidInput, match="meanwhile: make a SourceCache of it again"):
        edit(RED, late)
    assert edit(RED, wb.SourceCache(folder=tmp_path)).settings["cache"] == "used"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def drop_a_tensor(path: Path) -> None:
    with safe_open(path, framework="pt") as file:
        known, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(dict(list(tensors.items())[1:]), path, known)


@pytest.mark.parametrize("damage", [Path.unlink, truncate, drop_a_tensor])
def test_a_damaged_step_is_one_sentence(damage: Callable[[Path], None], tmp_path: Path):
    edit(DOG, wb.SourceCache(folder=tmp_path))
    cache = wb.SourceCache(folder=tmp_path)
    damage(tmp_path / "step-0001.safetensors")
    with pytest.raises(wb.InvalidInput, match=r"the cache in .* is damaged: delete the folder"):
        edit(RED, cache)


def test_damaged_caches_and_bad_limits(tmp_path: Path):
    (tmp_path / "source.safetensors").write_bytes(b"not weights")
    with pytest.raises(wb.InvalidInput, match="is damaged: delete the folder"):
        wb.SourceCache(folder=tmp_path)
    for limit in ("much", "2 furlongs", True, -1):
        with pytest.raises(wb.InvalidInput, match="the limit of a cache is bytes or text"):
            wb.SourceCache(limit)
    assert wb.SourceCache("1.5 GiB").limit == 3 * 2**29
