"""C^2 and K: against closed forms of linear models."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from tests.fakes.gradients import (
    CROSS_ENTROPY,
    drawn_pairs,
    gradients_ND,
    images,
    linear_model,
    population,
    small_network,
    squared_loss,
    trace_of_covariance,
)
from trainables.measurements.gradients import flat_gradient, trained_parameters
from trainables.measurements.noise import Noise, per_example_noise, two_batch_noise

pytestmark = pytest.mark.slow  # the file takes more than a few seconds

torch.set_num_threads(1)


def standard_error(estimate: Noise) -> float:
    return (estimate.high - estimate.c2) / stats.t.ppf(0.975, estimate.n - 1)


@pytest.mark.parametrize("b", [1, 8])
def test_two_batches_estimate_the_trace_of_the_covariance_at_any_batch_size(b: int) -> None:
    model, (x, y) = linear_model(5), population(30, 5)
    g_ND = gradients_ND(model, x, y)
    estimate = two_batch_noise(model, squared_loss, drawn_pairs(x, y, 1500, b))
    assert abs(estimate.c2 - trace_of_covariance(g_ND, 30)) < 4 * standard_error(estimate)
    assert estimate.n == 1500
    # <g_1, g_2> has the variance tr(S^2)/b^2 + 2 g S g / b, S the covariance of one gradient.
    S, mean = np.cov(g_ND.T, bias=True), g_ND.mean(0)
    error = math.sqrt(((S**2).sum() / b**2 + 2 * mean @ S @ mean / b) / 1500)
    assert abs(estimate.gradient_norm**2 - mean @ mean) < 4 * error


def test_disjoint_pairs_give_the_divisor_n_minus_1_exactly() -> None:
    model, (x, y) = linear_model(3), population(6, 3)
    g_ND = gradients_ND(model, x, y)
    c2 = trace_of_covariance(g_ND, 5)
    pairs = [
        ((x[list(a)], y[list(a)]), (x[list(b)], y[list(b)]))
        for a in itertools.combinations(range(6), 2)
        for b in itertools.combinations(sorted({*range(6)} - {*a}), 2)
    ]
    estimate = two_batch_noise(model, squared_loss, pairs)
    assert estimate.c2 == pytest.approx(c2, rel=1e-5)
    expected_norm2 = max(0.0, (g_ND.mean(0) ** 2).sum() - c2 / 6)
    assert estimate.gradient_norm**2 == pytest.approx(expected_norm2, rel=1e-4)


def test_the_two_batch_interval_covers_about_as_often_as_it_says() -> None:
    model, (x, y) = linear_model(20), population(50, 20)
    c2 = trace_of_covariance(gradients_ND(model, x, y), 50)
    estimates = [
        two_batch_noise(model, squared_loss, drawn_pairs(x, y, 10, 16, seed))
        for seed in range(300)
    ]
    coverage = np.mean([e.low <= c2 <= e.high for e in estimates])
    assert 0.88 < coverage < 0.99  # binomial sd .013; the estimate is a little skewed


@pytest.mark.parametrize("chunk", [1, 7, 40, None])
def test_per_example_noise_is_the_sample_variance_whatever_the_chunk(chunk: int | None) -> None:
    model, (x, y) = linear_model(5), population(40, 5)
    g_ND = gradients_ND(model, x, y)
    estimate = per_example_noise(model, squared_loss, x, y, chunk)
    c2 = trace_of_covariance(g_ND, 39)
    assert estimate.c2 == pytest.approx(c2, rel=1e-5)
    norms = np.linalg.norm(g_ND, axis=1)
    assert estimate.max_gradient_norm == pytest.approx(norms.max(), rel=1e-5)
    norm2 = (g_ND.mean(0) ** 2).sum() - c2 / 40
    assert estimate.gradient_norm == pytest.approx(math.sqrt(max(0.0, norm2)), rel=1e-4)
    v_N = ((g_ND - g_ND.mean(0)) ** 2).sum(1) * 40 / 39
    low, high = stats.t.interval(0.95, 39, v_N.mean(), stats.sem(v_N))
    assert (estimate.low, estimate.high) == pytest.approx((low, high), rel=1e-4)
    assert estimate.n == 40


def test_per_example_noise_of_gaussian_data_is_unbiased() -> None:
    # g = (v.x - s e) x with v = w - w*: E||g||^2 - ||E g||^2 = ||v||^2 (d + 1) + s^2 d.
    d, s, v = 6, 0.5, linear_model(6).weight.detach()
    c2 = v.square().sum().item() * (d + 1) + s**2 * d
    estimates = []
    for seed in range(300):
        x, e = population(12, d, seed)
        estimates.append(per_example_noise(linear_model(d), squared_loss, x, s * e).c2)
    assert abs(np.mean(estimates) - c2) < 4 * stats.sem(estimates)


def test_noise_of_a_network_agrees_between_the_estimators() -> None:
    model, x, y = small_network(), *images(60)
    exact = per_example_noise(model, CROSS_ENTROPY, x, y)
    estimate = two_batch_noise(model, CROSS_ENTROPY, drawn_pairs(x, y, 40, 8), "eval")
    assert abs(estimate.c2 - exact.c2 * 59 / 60) < 5 * standard_error(estimate)
    assert estimate.max_gradient_norm < exact.max_gradient_norm


def test_the_interval_ends_at_zero() -> None:
    x, y = population(2, 3)
    same, other = (x[:1], y[:1]), (x[1:], y[1:])
    estimate = two_batch_noise(linear_model(3), squared_loss, [(same, same), (same, other)])
    assert estimate.low == 0 < estimate.c2 < estimate.high


@pytest.mark.parametrize("num_pairs", [0, 1])
def test_one_pair_is_refused(num_pairs: int) -> None:
    x, y = population(4, 3)
    with pytest.raises(ValueError, match=rf"At least 2 pairs must .* got \({num_pairs}\)"):
        two_batch_noise(linear_model(3), squared_loss, drawn_pairs(x, y, num_pairs, 2))


def test_one_example_is_refused() -> None:
    with pytest.raises(ValueError, match=r"At least 2 examples must .* got \(1\)"):
        per_example_noise(linear_model(3), squared_loss, *population(1, 3))


def test_unequal_batches_of_a_pair_are_refused() -> None:
    x, y = population(4, 3)
    with pytest.raises(ValueError, match=r"equally large, but got \(1, 3\)"):
        two_batch_noise(linear_model(3), squared_loss, [((x[:1], y[:1]), (x[1:], y[1:]))])


def test_frozen_parameters_do_not_count_and_unused_ones_have_no_gradient() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    model[0].requires_grad_(False)
    model.register_parameter("unused", nn.Parameter(torch.ones(2)))
    x, y = population(4, 3)
    g_P = flat_gradient(model, squared_loss, x, y)
    assert len(g_P) == sum(p.numel() for p in trained_parameters(model)) == 6
    assert torch.equal(g_P[:2], torch.zeros(2))
    g_NP = [
        flat_gradient(model, squared_loss, *one)
        for one in zip(x[:, None], y[:, None], strict=True)
    ]
    c2 = trace_of_covariance(torch.stack(g_NP).numpy(), 3)
    assert per_example_noise(model, squared_loss, x, y).c2 == pytest.approx(c2, rel=1e-5)


def test_measurements_are_float32_with_gradients_whatever_surrounds_them() -> None:
    model, x, y = small_network(), *images(12)
    pairs = list(drawn_pairs(x, y, 2, 6))
    expected = two_batch_noise(model, CROSS_ENTROPY, pairs)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert two_batch_noise(model, CROSS_ENTROPY, pairs) == expected


def test_the_noise_is_that_of_a_trainings_steps_unless_asked_otherwise() -> None:
    model, x, y = small_network(), *images(24)
    pairs = list(drawn_pairs(x, y, 3, 6))
    model.train()
    g_2KP = [
        [flat_gradient(model, CROSS_ENTROPY, *half).double() for half in pair] for pair in pairs
    ]
    c2 = np.mean([3 * (a - b).square().sum().item() for a, b in g_2KP])  # b/2 = 3
    largest = max(g.norm().item() for pair in g_2KP for g in pair)
    estimate = two_batch_noise(small_network(), CROSS_ENTROPY, pairs)
    assert estimate.c2 == pytest.approx(c2, rel=1e-5)
    assert estimate.max_gradient_norm == pytest.approx(largest, rel=1e-5)
    assert two_batch_noise(small_network(), CROSS_ENTROPY, pairs, "eval").c2 != estimate.c2


def test_an_unknown_batch_norm_mode_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one of eval, train, but got \(batch_norm='frozen'\)"):
        two_batch_noise(linear_model(3), squared_loss, [], "frozen")  # type: ignore[arg-type]
