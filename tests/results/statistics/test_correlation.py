"""Rank correlations: against scipy and by formula."""

from __future__ import annotations

import math

import pytest
from scipy.stats import spearmanr

from results.statistics.correlation import Correlation, spearman


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([1, 2, 3, 4, 5], [2, 1, 4, 3, 5]),
        ([1, 1, 2, 2, 3, 3], [0.3, 0.1, 0.2, 0.2, 0.9, 0.7]),
        ([0.1, 0.5, 0.01, 0.05], [4.0, 3.0, 2.0, 1.0]),
    ],
)
def test_rho_is_scipys(x, y):
    assert spearman(x, y).rho == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)


def test_values_that_differ_by_rounding_tie():
    y = [1, 2, 3, 4, 5]
    assert spearman([0.1 + 0.2, 0.3, 0.1, 1, 2], y) == spearman([0.3, 0.3, 0.1, 1, 2], y)


def test_the_interval_is_fishers_with_bonett_and_wrights_error():
    correlation = spearman([1, 2, 3, 4, 5], [2, 1, 4, 3, 5])
    # d = (1, 1, 1, 1, 0): rho = 1 - 6 * 4 / (5 * 24)
    assert correlation.rho == pytest.approx(0.8)
    half = 1.959963984540054 * math.sqrt((1 + 0.8**2 / 2) / 2)
    assert correlation.low == pytest.approx(math.tanh(math.atanh(0.8) - half))
    assert correlation.high == pytest.approx(math.tanh(math.atanh(0.8) + half))


@pytest.mark.parametrize(
    ("x", "y"),
    [([1, 2, 3], [1, 3, 2]), ([1, 2, 3, 4], [2, 4, 6, 9]), ([1, 2, 3, 4], [5, 5, 5, 5])],
)
def test_few_perfect_and_constant_pairs_have_no_interval(x, y):
    correlation = spearman(x, y)
    assert (correlation.low, correlation.high, correlation.n) == (None, None, len(x))


def test_no_rho_where_one_side_does_not_vary():
    assert math.isnan(spearman([1, 2, 3, 4], [5, 5, 5, 5]).rho)
    assert math.isnan(spearman([5, 5, 5, 5], [1, 2, 3, 4]).rho)
    assert math.isnan(spearman([], []).rho)


@pytest.mark.parametrize("x", [[3, 4], [0, 0.5, 1], range(10), range(1000)])
def test_pairs_that_rise_together_have_a_rho_of_exactly_one(x):
    fallen = [-value for value in x]
    assert spearman(x, x) == Correlation(rho=1.0, low=None, high=None, n=len(x))
    assert spearman(x, fallen) == Correlation(rho=-1.0, low=None, high=None, n=len(x))


@pytest.mark.parametrize(("x", "y"), [([1, 2], [1, 2, 3]), ([1, math.nan], [1, 2])])
def test_a_correlation_refuses_what_has_no_ranks(x, y):
    with pytest.raises(ValueError, match=r"^(`len|all values must be finite).* but got"):
        spearman(x, y)


def test_four_pairs_are_enough_for_an_interval():
    correlation = spearman([1, 2, 3, 4], [2, 1, 4, 3])  # rho = 1 - 6 * 4 / (4 * 15)
    half = 1.959963984540054 * math.sqrt(1 + 0.6**2 / 2)
    assert correlation.rho == pytest.approx(0.6)
    assert (correlation.low, correlation.high) == pytest.approx(
        (math.tanh(math.atanh(0.6) - half), math.tanh(math.atanh(0.6) + half))
    )


def test_a_correlation_is_told_with_its_interval_and_number():
    assert str(spearman([1, 2, 3, 4, 5], [2, 1, 4, 3, 5])) == "rho = 0.80 [-0.46, 0.99], n=5"
    assert str(spearman([1, 2, 3], [3, 2, 1])) == "rho = -1.00, n=3"
    assert str(spearman([1, 2], [1, 1])) == "no rho, n=2"
    assert str(Correlation(rho=-0.004, low=None, high=None, n=9)) == "rho = 0.00, n=9"


def test_unequal_lengths_are_told():
    with pytest.raises(ValueError, match=r"^`len\(x_N\) == len\(y_N\)` .* but got \(2, 3\)\.$"):
        spearman([1, 2], [1, 2, 3])
