"""Means over seeds and their t-intervals: by formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from results.statistics.intervals import examples_interval, mean_of, mean_sd, t_half_width
from results.statistics.paired import paired_difference

T_1, T_2 = 12.706204736174698, 4.302652729911275  # 0.975 quantiles of 1 and 2 degrees of freedom


def test_a_mean_has_a_t_interval_from_two_values_on():
    mean = mean_of([1.0, 2.0, 3.0, math.nan])
    assert (mean.n, mean.mean) == (3, 2.0)
    assert mean.low == pytest.approx(2 - T_2 / math.sqrt(3))
    assert mean.high == pytest.approx(2 + T_2 / math.sqrt(3))
    # 1 and 3: sd = sqrt(2), half width t * sqrt(2) / sqrt(2)
    pair = mean_of([1.0, 3.0, math.inf])
    assert (pair.n, pair.low, pair.high) == (2, pytest.approx(2 - T_1), pytest.approx(2 + T_1))


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 1.0], [0.5] * 7])
def test_without_a_spread_there_is_no_interval(values):
    mean = mean_of(values)
    assert (mean.n, mean.low, mean.high) == (len(values), None, None)
    assert mean.mean == (values[0] if values else pytest.approx(math.nan, nan_ok=True))


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


def test_two_seeds_and_two_images_by_hand():
    # cells 3 1 / 0 0: mean 1; seeds 2, 0: SS = 2 * (1 + 1) = 4; images 1.5, 0.5: SS = 2 * 0.5 = 1;
    # all: 4 + 0 + 1 + 1 = 6, rest 1. MS 4, 1, 1: the images add nothing.
    low, high = examples_interval(np.array([[3.0, 1.0], [0.0, 0.0]]))
    half = stats.t.ppf(0.975, 1) * math.sqrt(4 / 4)
    assert (low, high) == pytest.approx((1 - half, 1 + half))


def test_images_that_differ_widen_the_interval_by_hand():
    # cells 4 0 / 2 0: mean 1.5; seeds 2, 1: SS = 2 * 0.5 = 1; images 3, 0: SS = 2 * 4.5 = 9;
    # all: 6.25 + 2.25 + 0.25 + 2.25 = 11, rest 1. MS 1, 9, 1: t^2 * 1 / 4 + 1.96^2 * (9 - 1) / 4
    low, high = examples_interval(np.array([[4.0, 0.0], [2.0, 0.0]]))
    half = math.sqrt(stats.t.ppf(0.975, 1) ** 2 / 4 + stats.norm.ppf(0.975) ** 2 * 8 / 4)
    assert (low, high) == pytest.approx((1.5 - half, 1.5 + half))


def test_images_without_a_say_leave_the_t_interval():
    """Every image follows its seed: exactly the paired t-interval."""
    seed_S = np.array([0.02, 0.05, -0.01, 0.03])
    low, high = examples_interval(np.repeat(seed_S[:, None], 50, axis=1))
    expected = paired_difference(dict(enumerate(seed_S)), dict.fromkeys(range(4), 0.0))
    assert (low, high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(
    "cells", [[[0.0, 1.0, 0.0]], [[0.0], [1.0]], [[1.0, 0.0], [0.0, 1.0]], [[0.1], [0.1]]]
)
def test_one_seed_one_image_or_equal_seeds_have_no_interval(cells):
    assert examples_interval(np.array(cells)) is None


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_more_seeds_and_images_by_the_sums_of_squares(confidence):
    cells = [[2.0, 1.0, 0.0, 4.0], [1.0, 2.0, 0.0, 7.0], [0.0, 3.0, 1.0, 9.0]]
    seeds, images = [np.mean(row) for row in cells], [np.mean(c) for c in zip(*cells, strict=True)]
    mean = np.mean(seeds)
    ms_image = 3 * sum((image - mean) ** 2 for image in images) / 3
    ms_rest = sum(
        (cells[s][i] - seeds[s] - images[i] + mean) ** 2 for s in range(3) for i in range(4)
    ) / (2 * 3)
    of_seeds = stats.t.ppf((1 + confidence) / 2, 2) * np.std(seeds, ddof=1) / math.sqrt(3)
    of_images = stats.norm.ppf((1 + confidence) / 2) ** 2 * (ms_image - ms_rest) / 12
    half = math.sqrt(of_seeds**2 + of_images)
    assert ms_image > ms_rest
    interval = examples_interval(np.array(cells), confidence)
    assert interval == pytest.approx((mean - half, mean + half))
