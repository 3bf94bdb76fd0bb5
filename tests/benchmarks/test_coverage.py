"""Do the intervals hold the truth as often as they say? Simulated truth, 2,000 times each."""

from __future__ import annotations

import pytest
from scipy import stats

from benchmarks.coverage import (
    SEEDS,
    family_rate,
    images_coverage,
    new_winners_rate,
    sequential_family_rate,
    sequential_rate,
    sign_flip_rate,
    t_coverage,
)

pytestmark = pytest.mark.slow  # two minutes


def at_most(rate: float, simulations: int) -> float:
    """What a binomial share of this rate stays below in 99.9% of all tests."""
    return float(stats.binom.ppf(0.999, simulations, rate)) / simulations


@pytest.mark.parametrize("n", SEEDS)
@pytest.mark.parametrize("name", ["normal", "t5"])
def test_t_intervals_hold_zero_in_93_to_97_percent(name, n):
    # the standard error of 2,000 simulations is 0.5 points
    assert 0.93 <= t_coverage(name, n) <= 0.97


@pytest.mark.parametrize("name", ["normal", "t5"])
def test_sign_flips_are_wrong_in_at_most_5_percent(name):
    assert sign_flip_rate(name, 10) <= at_most(0.05, 2_000)


def test_looking_after_every_seed_is_wrong_in_at_most_5_percent():
    assert sequential_rate("normal", simulations=1_000) <= at_most(0.05, 1_000)


@pytest.mark.full
def test_looking_at_all_pairs_of_four_arms_is_wrong_in_at_most_5_percent():
    assert sequential_family_rate(4, simulations=300) <= at_most(0.05, 300)


@pytest.mark.parametrize("num_arms", [2, pytest.param(4, marks=pytest.mark.full)])
def test_several_equal_arms_are_told_apart_in_at_most_5_percent(num_arms):
    assert family_rate(num_arms, 5) <= at_most(0.05, 2_000)


@pytest.mark.full
def test_winners_judged_one_after_the_other_are_wrong_in_at_most_5_percent():
    # Each look claims in 2.5% on this side; the later ones together as often as the first.
    assert new_winners_rate(11, 1_000) <= at_most(0.05, 1_000)
    assert new_winners_rate(11, 300, counted=False) > 0.10


@pytest.mark.full
@pytest.mark.parametrize(("seeds", "images"), [(3, 300), (5, 300), (10, 300), (5, 2000)])
def test_intervals_over_seeds_and_images_hold_the_truth_of_fresh_images(seeds, images):
    both, seeds_only = images_coverage(seeds, images)
    assert 0.935 <= both <= 0.98
    assert both > seeds_only
