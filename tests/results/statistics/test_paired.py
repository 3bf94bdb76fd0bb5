"""What stands beside the t-interval: sign flips, bootstrap, the share of seeds, all by scipy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from results.statistics.compare import compare
from results.statistics.paired import paired_difference, paired_scores, with_resampling
from results.statistics.resampling import bca_interval, share_better, sign_flip_p


def draw(n: int, seed: int = 0, mean: float = 0.5, decimals: int = 12) -> np.ndarray:
    return np.round(np.random.default_rng(seed).normal(mean, 1.0, n), decimals)


def test_sign_flips_of_three_by_hand():
    # |+-1 +-2 +-3| reaches 6 in 2 of 8 patterns; |+-1 +-2 -+3| = 4, 2 or 0 in the others
    assert sign_flip_p(np.array([1.0, 2.0, 3.0])) == 2 / 8
    assert sign_flip_p(np.array([1.0, 2.0, -3.0])) == 1.0


@pytest.mark.parametrize("n", [2, 3, 6, 7, 13])
@pytest.mark.parametrize("decimals", [12, 1, 0])  # 0 and 1: many ties
def test_sign_flips_agree_with_scipys_exact_test(n, decimals):
    difference_R = draw(n, seed=n, decimals=decimals)
    expected = stats.permutation_test(
        (difference_R,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    signs = np.array(list(itertools.product([1, -1], repeat=n)))
    reached = np.abs(signs @ difference_R) >= abs(difference_R.sum()) - 1e-9
    assert sign_flip_p(difference_R) == pytest.approx(reached.mean(), abs=1e-15)
    assert sign_flip_p(difference_R) == pytest.approx(expected.pvalue, abs=1e-12)


def test_ties_of_rounded_accuracies_count_as_reaching():
    # 0.1 + 0.2 and 0.3 differ by rounding: all of +-(0.1 + 0.2 + 0.3), +-(0.1 + 0.2 - 0.3) = 0
    difference_R = np.array([0.1, 0.2, -0.3])
    assert sign_flip_p(difference_R) == 1.0


def test_many_seeds_draw_patterns_at_random_and_count_the_observed_one():
    # For n=40 normal differences sign flips and t test agree to 1 in 100,000's error.
    difference_R = draw(40, mean=0.3)
    p_value = stats.ttest_1samp(difference_R, 0.0).pvalue
    assert sign_flip_p(difference_R) == pytest.approx(p_value, abs=0.006)
    assert sign_flip_p(difference_R) == sign_flip_p(difference_R)
    assert sign_flip_p(np.ones(100)) == 1 / 100_001


def test_patterns_are_those_of_a_generator_whatever_fits_into_memory():
    """Written out for 60 seeds, which are drawn in two parts: the same numbers in every report."""
    difference_R = draw(60, mean=0.2)
    signs = np.random.default_rng(0).integers(0, 2, (100_000, 60), dtype=np.int8) * 2.0 - 1
    reaching = np.abs(signs @ difference_R) >= abs(difference_R.sum())
    assert sign_flip_p(difference_R) == (np.count_nonzero(reaching) + 1) / 100_001


def test_no_differences_have_no_p_and_small_ones_no_ties():
    assert math.isnan(sign_flip_p(np.array([])))
    assert sign_flip_p(np.array([0.5])) == 1.0
    # +-(1e-3 + 1e-10) reach, +-(1e-3 - 1e-10) do not
    assert sign_flip_p(np.array([1e-3, 1e-10])) == 0.5


def test_thirty_seeds_are_counted_exactly():
    # of equal sizes only the number of signs counts: the binomial sign test
    difference_R = np.array([1.0] * 20 + [-1.0] * 10)
    assert sign_flip_p(difference_R) == pytest.approx(stats.binomtest(20, 30).pvalue, abs=1e-12)


@pytest.mark.parametrize("n", [20, 60])
def test_bca_is_scipys(n):
    difference_R = np.random.default_rng(n).exponential(1.0, n) - 0.8
    expected = stats.bootstrap(
        (difference_R,), np.mean, n_resamples=50_000, rng=np.random.default_rng(9)
    ).confidence_interval
    assert bca_interval(difference_R, 0.95) == pytest.approx(tuple(expected), abs=0.02)
    assert bca_interval(difference_R, 0.95) == bca_interval(difference_R, 0.95)


def test_bca_is_scipys_to_the_last_digit_for_the_same_draws():
    """9,999 resamples of generator 0: a report that is made again shows the same numbers."""
    difference_R = np.random.default_rng(1).exponential(1.0, 25)
    expected = stats.bootstrap(
        (difference_R,), np.mean, n_resamples=9_999, confidence_level=0.8, method="BCa",
        rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    assert bca_interval(difference_R, 0.8) == tuple(expected)


def test_bca_of_two_ends_at_both():
    # means of resamples: 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4
    assert bca_interval(np.array([0.0, 1.0]), 0.95) == (0.0, 1.0)


@pytest.mark.parametrize("values", [[], [1.0], [0.5] * 25])
def test_bca_needs_a_spread(values):
    assert bca_interval(np.array(values), 0.95) is None


def test_the_share_of_better_seeds_counts_ties_half():
    # 2 wins, 1 tie, 1 loss: 2.5 of 4. Wilson: z = 1.959964, z^2 = 3.841459
    share, low, high = share_better(np.array([0.2, 0.1, 0.0, -0.4]), 0.95)
    assert share == 0.625
    center = (0.625 + 3.841459 / 8) / (1 + 3.841459 / 4)
    half = 1.959964 / (1 + 3.841459 / 4) * np.sqrt(0.625 * 0.375 / 4 + 3.841459 / 64)
    assert (low, high) == pytest.approx((center - half, center + half), abs=1e-6)


@pytest.mark.parametrize(("wins", "n"), [(0, 5), (3, 10), (20, 20)])
def test_without_ties_the_share_has_scipys_wilson_interval(wins, n):
    difference_R = np.array([0.1] * wins + [-0.1] * (n - wins))
    expected = stats.binomtest(wins, n).proportion_ci(0.95, method="wilson")
    _, low, high = share_better(difference_R, 0.95)
    assert (low, high) == pytest.approx((expected.low, expected.high))


def test_no_seeds_have_no_share():
    with pytest.raises(ValueError, match=r"^no seeds to take a share of\.$"):
        share_better(np.array([]), 0.95)


@pytest.mark.parametrize("n", [16, 27, 40])
def test_the_share_of_all_or_no_seeds_has_an_end_within_0_and_1(n):
    """Wilson's ends are 1 and 0 there; rounding puts them beyond for these n."""
    assert share_better(np.ones(n), 0.95)[2] == pytest.approx(1.0)
    assert share_better(np.ones(n), 0.95)[2] <= 1.0
    assert share_better(-np.ones(n), 0.95)[1] == pytest.approx(0.0, abs=1e-15)
    assert share_better(-np.ones(n), 0.95)[1] >= 0.0


@pytest.mark.parametrize(
    ("n", "has_flips", "has_bca"),
    [(5, False, False), (6, True, False), (19, True, False), (20, True, True)],
)
def test_what_stands_beside_needs_seeds_enough(n, has_flips, has_bca):
    a = dict(enumerate(0.9 + draw(n) / 100))
    d = compare({"poly": a, "cosine": dict.fromkeys(a, 0.9)}).pairs["poly", "cosine"]
    assert (d.permutation_p is not None) == has_flips
    assert (d.bootstrap_low is not None) == has_bca
    assert d.prob_better is not None
    assert d.interval_kind == "95% t-interval"


def test_equal_differences_have_sign_flips_but_no_interval():
    a = {r: 0.9 + r / 100 for r in range(20)}
    b = {r: score - 0.01 for r, score in a.items()}
    d = with_resampling(paired_difference(a, b), paired_scores(a, b))
    assert d.permutation_p == 2 / 2**20
    assert (d.bootstrap_low, d.bootstrap_high, d.low) == (None, None, None)
    assert d.prob_better == 1.0


def test_the_reverse_is_the_difference_of_swapped_arms():
    a, b = dict(enumerate(draw(25))), dict(enumerate(draw(25, seed=1)))
    forward = with_resampling(paired_difference(a, b), paired_scores(a, b))
    backward = with_resampling(paired_difference(b, a), paired_scores(b, a))
    mirrored = forward.reverse
    assert (mirrored.low, mirrored.high) == pytest.approx((backward.low, backward.high))
    assert mirrored.prob_better == pytest.approx(backward.prob_better)
    assert mirrored.prob_low == pytest.approx(backward.prob_low)
    assert mirrored.permutation_p == backward.permutation_p
    assert mirrored.bootstrap_low == pytest.approx(backward.bootstrap_low, abs=0.05)
    assert mirrored.reverse.low == forward.low
