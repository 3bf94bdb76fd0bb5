"""The distribution of the gradient noise: against formulas and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from tests.fakes.gradients import (
    drawn_pairs,
    gradients_ND,
    linear_loss,
    linear_model,
    population,
    squared_loss,
    trace_of_covariance,
)
from trainables.measurements.sampling import HISTOGRAM_LIMIT, sample_noise

torch.set_num_threads(1)


def test_sampled_noise_is_mini_minus_full_gradient_with_ragged_batches() -> None:
    model, (x, y) = linear_model(5), population(11, 5)
    g_ND = gradients_ND(model, x, y)
    full = [(x[:8], y[:8]), (x[8:], y[8:])]
    minis = [(x[i : i + 4], y[i : i + 4]) for i in range(3)]
    sample = sample_noise(model, squared_loss, full, minis)
    norms = [np.linalg.norm(g_ND[i : i + 4].mean(0) - g_ND.mean(0)) for i in range(3)]
    np.testing.assert_allclose(sample.norm_M, norms, rtol=1e-5)
    assert sample.gradient_norm == pytest.approx(np.linalg.norm(g_ND.mean(0)), rel=1e-5)
    assert (sample.batch_size, sample.num_params) == (4, 5)


@pytest.mark.slow
def test_mean_square_of_the_scaled_norms_is_c2() -> None:
    model, (x, y) = linear_model(5), population(30, 5)
    minis = [pair[0] for pair in drawn_pairs(x, y, 600, 4)]
    sample = sample_noise(model, squared_loss, [(x, y)], minis)
    squares = sample.batch_size * sample.norm_M**2
    c2 = trace_of_covariance(gradients_ND(model, x, y), 30)
    assert abs(squares.mean() - c2) < 4 * stats.sem(squares)


@pytest.mark.parametrize("b", [1, 16])
def test_scaled_norm_concentrates_on_c_in_many_dimensions(b: int) -> None:
    # Gradients of linear_loss are the inputs N(0, I): C^2 = d; ||omega|| has sd C / sqrt(2 d b).
    d = 10_000
    x = torch.randn(8 * b, d, generator=torch.Generator().manual_seed(3))
    minis = [(x_B, x_B[:, 0]) for x_B in x.split(b)]
    zeros = torch.zeros(1, d)
    sample = sample_noise(linear_model(d), linear_loss, [(zeros, zeros[:, 0])], minis)
    np.testing.assert_allclose(
        math.sqrt(sample.batch_size) * sample.norm_M, math.sqrt(d), atol=5 / math.sqrt(2)
    )


@pytest.mark.parametrize("kind", ["normal", "exponential"])
def test_shape_of_the_noise_is_that_of_scipy(kind: str) -> None:
    d = 4000
    rng = np.random.default_rng(5)
    x_ND = torch.from_numpy(getattr(rng, kind)(size=(3, d)).astype(np.float32))
    zeros = torch.zeros(1, d)
    full, minis = [(zeros, zeros[:, 0])], [(row[None], row[:1]) for row in x_ND]
    sample = sample_noise(linear_model(d), linear_loss, full, minis)
    z_ND = stats.zscore(x_ND.double().numpy(), axis=1)
    np.testing.assert_allclose(sample.skewness_M, stats.skew(z_ND, axis=1), rtol=1e-6)
    np.testing.assert_allclose(
        sample.excess_kurtosis_M, stats.kurtosis(z_ND, axis=1), rtol=1e-6, atol=1e-9
    )
    ks = [stats.kstest(z, "norm").statistic for z in z_ND]
    np.testing.assert_allclose(sample.ks_M, ks, rtol=1e-6)
    counts, edges = np.histogram(z_ND, 101, (-HISTOGRAM_LIMIT, HISTOGRAM_LIMIT))
    np.testing.assert_array_equal(sample.counts, counts)
    np.testing.assert_array_equal(sample.edges, edges)


def test_normal_noise_looks_normal_and_exponential_noise_does_not() -> None:
    d = 4000
    rng = np.random.default_rng(6)
    rows = torch.from_numpy(np.stack([rng.normal(size=d), rng.exponential(size=d)])).float()
    zeros = torch.zeros(1, d)
    minis = [(row[None], row[:1]) for row in rows]
    sample = sample_noise(linear_model(d), linear_loss, [(zeros, zeros[:, 0])], minis)
    assert abs(sample.skewness_M[0]) < 4 * math.sqrt(6 / d)
    assert abs(sample.excess_kurtosis_M[0]) < 4 * math.sqrt(24 / d)
    assert sample.ks_M[0] < 1.95 / math.sqrt(d)
    assert sample.skewness_M[1] > 1
    assert sample.ks_M[1] == pytest.approx(stats.norm.cdf(-1), abs=0.02)  # at the left end


def test_noise_without_spread_and_non_finite_noise_give_nan() -> None:
    x, y = population(2, 3)
    same = sample_noise(linear_model(3), squared_loss, [(x, y)], [(x, y)])
    broken = sample_noise(linear_model(3), squared_loss, [(x, y)], [(x * torch.inf, y)])
    assert same.norm_M[0] == 0
    for sample in (same, broken):
        assert np.isnan([sample.skewness_M, sample.excess_kurtosis_M, sample.ks_M]).all()
        assert sample.counts.sum() == 0


def test_no_full_batch_and_unequal_mini_batches_are_refused() -> None:
    model, (x, y) = linear_model(3), population(4, 3)
    with pytest.raises(ValueError, match="at least one batch"):
        sample_noise(model, squared_loss, [], [(x, y)])
    with pytest.raises(ValueError, match=r"sizes=\[2, 3\]"):
        sample_noise(model, squared_loss, [(x, y)], [(x[:2], y[:2]), (x[1:], y[1:])])
