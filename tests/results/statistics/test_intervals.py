"""Means over seeds and their t-intervals: by formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from results.statistics.intervals import mean_of, mean_sd, t_half_width

T_1, T_2 = 12.706204736174698, 4.302652729911275  # 0.975 quantiles of 1 and 2 degrees of freedom


def test_a_mean_has_a_t_interval_from_two_values_on():
    found = mean_of([1.0, 2.0, 3.0, math.nan])
    assert (found.n, found.mean) == (3, 2.0)
    assert found.low == pytest.approx(2 - T_2 / math.sqrt(3))
    assert found.high == pytest.approx(2 + T_2 / math.sqrt(3))
    # 1 and 3: sd = sqrt(2), half width t * sqrt(2) / sqrt(2)
    pair = mean_of([1.0, 3.0, math.inf])
    assert (pair.n, pair.low, pair.high) == (2, pytest.approx(2 - T_1), pytest.approx(2 + T_1))


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 1.0], [0.5] * 7])
def test_without_a_spread_there_is_no_interval(values):
    found = mean_of(values)
    assert (found.n, found.low, found.high) == (len(values), None, None)
    assert found.mean == (values[0] if values else pytest.approx(math.nan, nan_ok=True))


def test_a_mean_is_told_with_its_interval_and_number():
    assert str(mean_of([1.0, 2.0, 3.0])) == "2 [-0.484, 4.48], n=3"
    assert str(mean_of([0.25])) == "0.25, n=1"


def test_mean_and_sd_of_few_values():
    assert mean_sd(np.array([1.0, 3.0])) == (2.0, pytest.approx(math.sqrt(2)))
    assert mean_sd(np.array([4.0])) == (4.0, pytest.approx(math.nan, nan_ok=True))
    assert np.isnan(mean_sd(np.array([]))).all()


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_half_widths_are_scipys_intervals(confidence):
    n_N = np.array([2, 3, 20, 1000])
    expected = [stats.t.ppf((1 + confidence) / 2, n - 1) * 3.0 / math.sqrt(n) for n in n_N]
    assert t_half_width(n_N, 3.0, confidence) == pytest.approx(expected)
    assert t_half_width(3, 0.5) == pytest.approx(T_2 * 0.5 / math.sqrt(3))
