"""Loss, weights, average and order against formulas in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

import pipelines
from wordbrush.errors import InvalidInput, ModelError
from wordbrush.training import loss
from wordbrush.training.config import Optimizer
from wordbrush.training.ema import Average, keep_at
from wordbrush.training.loop import rate_at
from wordbrush.training.order import Order, draw, indices_at

KINDS: tuple[loss.Prediction, ...] = ("epsilon", "v_prediction")


@pytest.mark.parametrize("kind", KINDS)
def test_noise_and_target_are_those_of_diffusers_and_of_the_formula(kind: loss.Prediction):
    scheduler = DDPMScheduler(**pipelines.BETAS, prediction_type=kind)
    generator = torch.Generator().manual_seed(0)
    clean, noise, said = (torch.randn(3, 4, 5, 6, generator=generator, dtype=torch.float64) for _ in range(3))
    steps = torch.tensor([0, 500, 999])
    signal = scheduler.alphas_cumprod.double()[steps]
    assert loss.prediction_of(scheduler) == kind
    noisy = loss.noisy(clean, noise, signal)
    torch.testing.assert_close(noisy, scheduler.add_noise(clean, noise, steps), rtol=1e-6, atol=1e-6)
    wanted = loss.target(kind, clean, noise, signal)
    if kind == "v_prediction":
        velocity = scheduler.get_velocity(clean, noise, steps)  # pyright: ignore[reportArgumentType]
        torch.testing.assert_close(wanted, velocity, rtol=1e-6, atol=1e-6)
    oracle = []
    for i in range(3):
        a = float(signal[i])
        e, x, s = noise[i].numpy(), clean[i].numpy(), said[i].numpy()
        right = e if kind == "epsilon" else np.sqrt(a) * e - np.sqrt(1 - a) * x
        oracle.append(2.0 * np.mean((s - right) ** 2))
    got = loss.per_sample(said, wanted, torch.full((3,), 2.0))
    assert got.tolist() == pytest.approx(oracle, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_min_snr_weights_the_picture_by_the_limited_ratio(kind: loss.Prediction):
    signal = DDIMScheduler(**pipelines.BETAS).alphas_cumprod.double()
    ratio = signal / (1 - signal)
    got = loss.weights("min_snr", kind, signal, gamma=5.0)
    # The error of the denoised picture is that of the noise over SNR, and that of v over SNR + 1.
    per_picture = got * (ratio if kind == "epsilon" else ratio + 1)
    torch.testing.assert_close(per_picture, ratio.clamp(max=5.0), rtol=1e-12, atol=0)
    assert got.max() <= 1.0
    assert loss.weights("none", kind, signal, gamma=5.0).unique().tolist() == [1.0]


def test_the_terminal_step_is_trained_with_its_own_weighting_only():
    scheduler = DDIMScheduler(**pipelines.BETAS, rescale_betas_zero_snr=True)
    signal = scheduler.alphas_cumprod.double()
    with pytest.raises(InvalidInput, match=r"never trains the last timestep.*: use min_snr_terminal"):
        loss.weights("min_snr", "v_prediction", signal, gamma=5.0)
    got = loss.weights("min_snr_terminal", "v_prediction", signal, gamma=5.0)
    assert got[-1] == pytest.approx(1.0, abs=1e-6)
    assert got[0] < 0.01
    little = signal / (1 - signal) >= 5.0
    plain = loss.weights("min_snr", "v_prediction", signal.clamp(min=1e-3), gamma=5.0)
    torch.testing.assert_close(got[little], 6 / 5 * plain[little])
    with pytest.raises(InvalidInput, match="is for v-prediction"):
        loss.weights("min_snr_terminal", "epsilon", signal, gamma=5.0)


def test_other_predictions_are_refused():
    with pytest.raises(ModelError, match="predicts 'sample'; training knows 'epsilon' and 'v_prediction'"):
        loss.prediction_of(DDIMScheduler(prediction_type="sample"))


def test_the_average_is_what_its_warm_up_says_in_closed_form():
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(3, generator=generator, dtype=torch.float64) for _ in range(40)]
    average = Average({"w": weights[0]}, decay=0.6)
    for one in weights[1:]:
        average.update({"w": one})
    keeps = [min(0.6, (1 + n) / (10 + n)) for n in range(1, 40)]
    assert keep_at(1, 0.6) == keeps[0] == 2 / 11
    assert keeps[-1] == 0.6
    expected = np.prod(keeps) * weights[0]
    for n, one in enumerate(weights[1:]):
        expected = expected + (1 - keeps[n]) * np.prod(keeps[n + 1 :]) * one
    torch.testing.assert_close(average.values["w"], expected, rtol=1e-12, atol=1e-12)
    assert average.updates == 39


def test_the_learning_rate_rises_stays_and_falls():
    section = Optimizer(rate=1e-3, warmup=4, decay=5)
    rates = [rate_at(section, step, 20) for step in range(20)]
    assert rates[:4] == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3])
    assert set(rates[4:15]) == {1e-3}
    assert rates[15:] == pytest.approx([1e-3, 0.8e-3, 0.6e-3, 0.4e-3, 0.2e-3])
    assert rate_at(Optimizer(rate=1e-4), 10**6, 20) == 1e-4


def test_an_epoch_has_every_item_once():
    steps = [indices_at(step, 6, 30, seed=1) for step in range(10)]
    assert sorted(np.concatenate(steps[:5])) == sorted(np.concatenate(steps[5:])) == list(range(30))
    assert list(np.concatenate(steps[:5])) != list(np.concatenate(steps[5:]))


def test_batches_are_of_one_bucket_and_buckets_come_as_often_as_they_are_large():
    sizes = (60, 30, 7)
    order = Order(sizes, batch=4, seed=9)
    steps = [order.at(step) for step in range(3000)]
    shares = np.bincount([bucket for bucket, _ in steps], minlength=3) / 3000
    assert shares == pytest.approx(np.array(sizes) / 97, abs=0.03)
    for bucket, size in enumerate(sizes):
        items = np.concatenate([items for b, items in steps if b == bucket])
        whole = items[: len(items) // size * size].reshape(-1, size)
        assert len(whole) > 20
        assert all(sorted(epoch) == list(range(size)) for epoch in whole)


def test_the_order_does_not_depend_on_where_one_begins():
    far = Order((5, 9), batch=3, seed=2).at(2500)
    walked = Order((5, 9), batch=3, seed=2)
    near = [walked.at(step) for step in range(2501)][-1]
    assert far[0] == near[0]
    assert (far[1] == near[1]).all()


def test_draws_are_functions_of_seed_step_and_position():
    assert draw(1, 2, 3) == draw(1, 2, 3)
    others = [draw(1, 2, 4), draw(1, 3, 3), draw(2, 2, 3)]
    assert len({one.seed for one in [*others, draw(1, 2, 3)]}) == 4
    many = np.array([draw(0, 0, position).drop for position in range(4000)])
    assert np.histogram(many, 10, (0, 1))[0] == pytest.approx(np.full(10, 400), abs=90)
