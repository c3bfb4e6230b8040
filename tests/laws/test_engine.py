"""Laws of attention control, on every layout: identities are bit-equal, models are restored, rows are independent."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

import pipelines
import wordbrush as wb
from compare import distance
from wordbrush import sampling

SIZES = {"sd1": (16, 24), "sd2": (32, 48), "ldm": (16, 24)}
SOURCE, DOG, HIPPO = "a cat on the beach", "a dog on the beach", "a hippopotamus on the beach"
RED = "a red cat on the beach"
STEPS = 3


def edit(to: Any, *, kind: str = "sd1", dtype: torch.dtype = torch.float32, **settings: Any) -> wb.EditResult:
    settings = {"seed": 1, "steps": STEPS, "size": SIZES[kind], **settings}
    return wb.edit(pipelines.model(kind, dtype), SOURCE, to=to, **settings)


def plain(prompts: list[str], *, kind: str = "sd1", dtype: torch.dtype = torch.float32) -> Tensor:
    model = pipelines.model(kind, dtype)
    return wb.generate(model, prompts, seed=1, steps=STEPS, size=SIZES[kind]).latents


@pytest.mark.parametrize("kind", pipelines.KINDS)
def test_no_edit_is_bit_equal_to_plain_generation(kind: str):
    expected = plain([SOURCE, DOG], kind=kind)
    assert distance(edit(DOG, kind=kind).latents[1], expected[1]) > 1e-3
    assert torch.equal(edit(DOG, kind=kind, edits=[], self_attention=0.0).latents, expected)
    assert torch.equal(
        edit(DOG, kind=kind, edits=wb.Replace(until=0.0), self_attention=0.0).latents, expected
    )


@pytest.mark.parametrize("kind", pipelines.KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_source_row_is_bit_equal_to_plain_generation(kind: str, dtype: torch.dtype):
    edits = [[wb.Replace(until={"dog": 0.4}), wb.Reweight({"beach": 2.0})], [wb.Refine(until=1.0)]]
    result = edit([DOG, RED], kind=kind, dtype=dtype, edits=edits, self_attention=0.7)
    expected = plain([SOURCE, DOG, RED], kind=kind, dtype=dtype)
    assert torch.isfinite(result.latents).all()
    assert all(distance(a, b) > 1e-3 for a, b in zip(result.latents[1:], expected[1:], strict=True))
    assert torch.equal(result.latents[0], expected[0])


@pytest.mark.parametrize("kind", pipelines.KINDS)
def test_source_row_is_plain_generation_to_rounding_in_another_batch(kind: str):
    result = edit([DOG, RED], kind=kind, dtype=torch.float64)
    assert distance(result.latents[0], plain([SOURCE], kind=kind, dtype=torch.float64)[0]) < 1e-10


def test_strength_one_is_no_fader():
    faded = edit(DOG, edits=[wb.Replace(), wb.Reweight({"beach": 2.0})]).latents
    neutral = edit(DOG, edits=[wb.Replace(), wb.Reweight({"beach": 1.0})]).latents
    assert distance(faded, neutral) > 1e-3
    assert torch.equal(neutral, edit(DOG, edits=[wb.Replace()]).latents)


def test_faders_of_different_words_commute():
    one = edit(DOG, edits=[wb.Replace(), wb.Reweight({"beach": 2.0}), wb.Reweight({"dog": 0.5})]).latents
    other = edit(DOG, edits=[wb.Replace(), wb.Reweight({"dog": 0.5}), wb.Reweight({"beach": 2.0})]).latents
    assert torch.equal(one, other)


@pytest.mark.parametrize("kind", pipelines.KINDS)
def test_rows_are_independent_and_permute(kind: str):
    targets = [DOG, HIPPO, RED]
    together = edit(targets, kind=kind, dtype=torch.float64).latents
    turned = edit(targets[::-1], kind=kind, dtype=torch.float64).latents
    alone = edit(HIPPO, kind=kind, dtype=torch.float64).latents
    assert distance(together[1], together[2]) > 1e-3
    assert distance(turned[1:].flip(0), together[1:]) < 1e-11
    assert distance(alone, together[[0, 2]]) < 1e-11


def test_deterministic_and_without_the_global_generator():
    state = torch.get_rng_state()
    first, second = edit(DOG).latents, edit(DOG).latents
    assert torch.equal(first, second)
    assert not torch.equal(first, edit(DOG, seed=2).latents)
    assert torch.equal(torch.get_rng_state(), state)


def test_given_latents_replace_the_seed():
    noise = torch.randn(1, 4, 8, 12, generator=torch.Generator().manual_seed(1))
    given = edit(DOG, seed=None, latents=noise, size=None)
    assert torch.equal(given.latents, edit(DOG).latents)
    assert given.settings["size"] == SIZES["sd1"]


def test_every_sample_has_its_own_noise():
    model = pipelines.model("sd1", torch.float64)
    settings: Any = {"steps": STEPS, "size": SIZES["sd1"]}
    batch = wb.generate(model, [SOURCE, SOURCE, DOG], seed=[3, 4, 4], **settings).latents
    assert distance(batch[0], batch[1]) > 1e-3
    assert distance(batch[2:], wb.generate(model, DOG, seed=4, **settings).latents) < 1e-11


# --- what may be left out, and what is said first


def test_without_a_target_words_of_the_source_are_weighted():
    faded: Any = {"edits": wb.Reweight({"beach": 2.0})}
    assert torch.equal(edit(None, **faded).latents, edit(SOURCE, **faded).latents)
    made = wb.plan(pipelines.model("sd1", torch.float32), SOURCE, **faded)
    assert [target.text for target in made.targets] == [SOURCE]


@pytest.mark.parametrize("edits", [None, [], wb.Replace()])
def test_without_a_target_and_words_to_weight_there_is_nothing_to_do(edits: Any):
    model = pipelines.model("sd1", torch.float32)
    for ask in (lambda: wb.edit(model, SOURCE, edits=edits), lambda: wb.plan(model, SOURCE, edits=edits)):
        with pytest.raises(wb.InvalidInput, match=r"equals the source prompt .*Reweight"):
            ask()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"to": SOURCE}, "equals the source prompt"),
        ({"to": " "}, "empty prompt"),
        ({"until": 2}, "within 0 and 1"),
        ({}, "seed=, such as seed=0"),
    ],
)
def test_the_words_are_checked_before_the_noise(changes: dict[str, Any], says: str):
    settings: Any = {"to": DOG, **changes}
    with pytest.raises(wb.InvalidInput, match=says):
        wb.edit(pipelines.model("sd1", torch.float32), SOURCE, **settings)


# --- changes of the latents between the steps

VARIANCE_KEEPING = ("ddim", "pndm", "dpm++", "dpm++singlestep", "unipc", "deis", "lcm")
"""Schedulers of latents in which the picture weighs the less the more noise there is; else it weighs 1 in all."""
CHANGEABLE = (*sampling.SCHEDULERS, *sampling.NOISY_SCHEDULERS, *sampling.FLOW_SCHEDULERS)


def fresh(name: str, **settings: Any) -> Any:
    """A named scheduler for networks that predict noise, or for those of straight paths, with ten steps set."""
    noisy = DDIMScheduler(**pipelines.BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    trained = FlowMatchEulerDiscreteScheduler() if name in sampling.FLOW_SCHEDULERS else noisy
    made = sampling.make_scheduler(name, trained)
    scheduler = type(made).from_config(made.config, **settings)
    scheduler.set_timesteps(10)
    return scheduler


def sampled(
    scheduler: Any, after_step: Callable[[int, Tensor], Tensor] | None = None, *, carries: bool = True
) -> Tensor:
    """Two samples of a network whose answers are noise, the same in every run."""
    drawn = torch.Generator().manual_seed(0)
    answers = iter(torch.randn(40, 2, 4, 2, 2, generator=drawn, dtype=torch.float64))
    network: Any = SimpleNamespace(predict=lambda inputs, timestep, text: next(answers))
    noise = torch.randn(2, 4, 2, 2, generator=drawn, dtype=torch.float64)
    return sampling.sample(
        network,
        scheduler,
        noise,
        text=lambda step: {},
        guidance=wb.Unguided(),
        after_step=after_step,
        carries=carries,
    )


def weight(scheduler: Any, name: str, at: int) -> float:
    """What the picture weighs in the latents before an evaluation."""
    if name not in VARIANCE_KEEPING:
        return 1.0
    return float(scheduler.alphas_cumprod[int(scheduler.timesteps[at])]) ** 0.5


def check_that_changes_last(name: str, **settings: Any) -> None:
    """Change the second sample after every single evaluation but the last, in its first column.

    With its answers held, a network's exact path keeps a change of the picture as it is. Only DPM-Solver++ in several
    steps takes it for a movement, of which it makes a little more.
    """
    plain = sampled(fresh(name, **settings))
    evaluations = len(fresh(name, **settings).timesteps)
    assert evaluations >= 10
    for at in range(evaluations - 1):
        scheduler = fresh(name, **settings)
        change = torch.zeros(2, 4, 2, 2, dtype=torch.float64)
        change[1, ..., 0] = weight(scheduler, name, at + 1)

        def changed(step: int, latents: Tensor, at: int = at, change: Tensor = change) -> Tensor:
            return latents + change if step == at else latents

        made = sampled(scheduler, changed)
        assert torch.equal(made[0], plain[0])
        assert torch.equal(made[1, ..., 1], plain[1, ..., 1])
        lasting = (made - plain)[1, ..., 0]
        assert (lasting - 1).abs().max() < 0.01 or (name == "dpm++" and 1 < lasting.min() < 1.3), (
            at,
            lasting,
        )


@pytest.mark.parametrize("name", CHANGEABLE)
def test_a_change_after_a_step_lasts(name: str):
    """What a blend or a mask does to the latents is not undone by what a scheduler keeps of earlier steps."""
    check_that_changes_last(name)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("pndm", {"skip_prk_steps": False}),
        ("unipc", {"solver_order": 3}),
        ("unipc", {"predict_x0": False, "final_sigmas_type": "sigma_min"}),
        ("dpm++singlestep", {"solver_order": 3, "lower_order_final": True}),
    ],
)
def test_a_change_lasts_in_other_settings(name: str, settings: dict[str, Any]):
    check_that_changes_last(name, **settings)


def test_a_change_is_lost_where_the_scheduler_is_not_told():
    def changed(step: int, latents: Tensor) -> Tensor:
        return latents if step else latents + 1

    plain = sampled(fresh("pndm"))
    assert torch.equal(sampled(fresh("pndm"), changed, carries=False), plain)
    assert not torch.allclose(sampled(fresh("pndm"), changed), plain)


@pytest.mark.parametrize("name", CHANGEABLE)
def test_steps_without_a_change_are_the_scheduler_s_own(name: str):
    copied = sampled(fresh(name), lambda step, latents: latents.clone())
    assert torch.equal(copied, sampled(fresh(name)))


def test_every_scheduler_s_changes_are_tried():
    assert len(CHANGEABLE) == 12


def test_a_scheduler_that_the_caller_changes_later_is_read_once():
    model, scheduler = pipelines.model("sd1", torch.float32), fresh("euler")
    settings: Any = {"seed": 1, "steps": STEPS, "size": SIZES["sd1"]}
    expected = wb.generate(model, DOG, scheduler=fresh("euler"), maps=True, **settings)
    made = wb.generate(model, DOG, scheduler=scheduler, **settings)
    scheduler.register_to_config(beta_end=0.1)
    other = wb.generate(model, DOG, scheduler=scheduler, maps=True, **settings)
    assert not np.array_equal(other.maps.raw("dog"), expected.maps.raw("dog"))
    assert np.array_equal(made.maps.raw("dog"), expected.maps.raw("dog"))


# --- restoring the model


def state(model: wb.Model) -> dict[str, set[str]]:
    """The attributes of every module, where hooks would leave traces."""
    return {name: set(module.__dict__) for name, module in model.unet.named_modules()}


def outputs(model: wb.Model) -> Tensor:
    text = model.backbone.encode([model.backbone.read(DOG)])
    return model.backbone.predict(torch.ones(1, 4, 8, 8), torch.tensor(500), text)


class Stop(Exception):
    pass


@pytest.mark.parametrize("error", [None, Stop, KeyboardInterrupt])
def test_model_is_restored(error: type[BaseException] | None):
    model = pipelines.model("sd1", torch.float32)
    before, expected = state(model), outputs(model)
    during: list[dict[str, set[str]]] = []

    def progress(step: int, steps: int) -> None:
        during.append(state(model))
        if error:
            raise error

    if error:
        with pytest.raises(error):
            edit(DOG, progress=progress)
    else:
        edit(DOG, progress=progress)
    changed = {name for name in before if during[0][name] != before[name]}
    assert changed == {site.name for site in model.backbone.sites}
    assert state(model) == before
    assert torch.equal(outputs(model), expected)


def test_a_processor_that_is_not_known_gives_the_same_and_all_are_put_back():
    from diffusers.models.attention_processor import AttnProcessor2_0

    class Own(AttnProcessor2_0):
        pass

    def shared(unet: Any) -> None:
        unet.set_attn_processor(Own())

    model = altered(shared)
    unet, common = (cast(Any, one.unet) for one in (model, pipelines.model("sd1", torch.float32)))
    own, known = (next(iter(one.attn_processors.values())) for one in (unet, common))
    assert (type(own), type(known)) == (Own, AttnProcessor2_0)

    def stop(step: int, steps: int) -> None:
        raise Stop

    settings: dict[str, Any] = {"to": DOG, "seed": 1, "steps": STEPS, "size": 16}
    assert torch.equal(
        wb.edit(model, SOURCE, **settings).latents,
        wb.edit(pipelines.model("sd1", torch.float32), SOURCE, **settings).latents,
    )
    with pytest.raises(Stop):
        wb.edit(model, SOURCE, **settings, progress=stop)
    assert set(unet.attn_processors.values()) == {own}
    assert {type(processor) for processor in common.attn_processors.values()} == {AttnProcessor2_0}


def test_hooks_of_others_survive():
    from diffusers.hooks import HookRegistry, ModelHook

    class Doubling(ModelHook):
        def post_forward(self, module: nn.Module, output: Tensor) -> Tensor:
            return 2 * output

    model = pipelines.model("sd1", torch.float32)
    module = model.backbone.sites[0].module
    registry = HookRegistry.check_if_exists_or_initialize(module)
    registry.register_hook(Doubling(), "doubling")
    try:
        expected = outputs(model)
        edit(DOG)
        assert list(registry.hooks) == ["doubling"]
        assert torch.equal(outputs(model), expected)
    finally:
        registry.remove_hook("doubling")
        del module.__dict__["_diffusers_hook"], module.__dict__["forward"]


def test_nesting_is_refused_and_the_outer_edit_goes_on():
    refused: list[str] = []

    def progress(step: int, steps: int) -> None:
        with pytest.raises(wb.ControlError) as caught:
            edit(RED)
        refused.append(str(caught.value))

    result = edit(DOG, progress=progress)
    assert len(refused) == STEPS
    assert "being edited already" in refused[0]
    assert torch.equal(result.latents, edit(DOG).latents)


# --- a plan that cannot be carried out


def altered(change: Callable[[nn.Module], None]) -> wb.Model:
    """A fresh copy of the model, changed."""
    import copy

    model = copy.deepcopy(pipelines.model("sd1", torch.float32))
    change(model.unet)
    return model


def test_attention_that_computes_its_own_maps_is_not_silently_unedited():
    from diffusers.models.attention_processor import AttnProcessor

    model = altered(lambda unet: unet.set_attn_processor(AttnProcessor()))  # pyright: ignore
    before = state(model)
    with pytest.raises(wb.EditNotApplied, match=r"14 of 14 .* down_blocks\.0\..*AttnProcessor"):
        wb.edit(model, SOURCE, to=DOG, seed=1, steps=STEPS, size=16)
    assert state(model) == before


def test_a_layer_that_is_left_out_is_noticed():
    model = altered(lambda unet: None)
    layer: Any = model.backbone.sites[-1].module
    layer.forward = lambda hidden_states, *args, **kwargs: hidden_states
    with pytest.raises(wb.EditNotApplied, match=r"1 of 14 attention layers"):
        wb.edit(model, SOURCE, to=DOG, seed=1, steps=STEPS, size=16)


def test_a_u_nets_processor_and_a_mode_hand_over_the_same(monkeypatch: pytest.MonkeyPatch):
    """The two ways of ``seam`` to an attention call; without the first one, the second is taken."""
    from wordbrush.backbones import seam

    how: dict[str, Any] = {"edits": [wb.Refine(0.7), wb.Reweight({"beach": 2.0})], "self_attention": 0.5}
    taken = edit(RED, **how).latents
    assert seam._rebound(lambda: None) is not None, "this diffusers' processor can be taken"
    monkeypatch.setattr(seam, "_rebound", lambda attend: None)
    entered: list[object] = []

    class Counted(seam._Interception):
        def __enter__(self) -> Any:
            entered.append(self)
            return super().__enter__()

    monkeypatch.setattr(seam, "_Interception", Counted)
    assert torch.equal(edit(RED, **how).latents, taken)
    assert entered


def test_no_layer_for_the_self_attention():
    with pytest.raises(wb.EditNotApplied, match="at most 4 pixels"):
        edit(DOG, self_attention=wb.SelfAttention(0.5, max_pixels=4))


def test_caching_hooks_are_refused():
    from diffusers.hooks import HookRegistry, ModelHook

    model = altered(
        lambda unet: HookRegistry.check_if_exists_or_initialize(unet).register_hook(
            ModelHook(), "faster_cache_block"
        )
    )
    with pytest.raises(wb.ControlError, match="faster_cache_block"):
        wb.edit(model, SOURCE, to=DOG, seed=1, steps=STEPS, size=16)


def test_foreign_attention_backends_are_refused():
    model = altered(lambda unet: None)
    processor: Any = model.backbone.sites[0].module.processor
    processor._attention_backend = "flash"
    with pytest.raises(wb.ControlError, match="attention backend flash"):
        wb.edit(model, SOURCE, to=DOG, seed=1, steps=STEPS, size=16)
