"""e-values and confidence sequences: by hand, by their definitions, and what the pairs decide."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from results.statistics.claims import BETTER
from results.statistics.compare import compare
from results.statistics.sequential import (
    confidence_sequence,
    e_value,
    half_width,
    undecided_pairs,
)


def draw(n: int, mean: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1.0, n)


def test_e_value_of_three_by_hand():
    # mean 2, sd 1: t^2 = 12, nu = 2: sqrt(1/4) * ((1 + 6) / (1 + 12 / (4 * 2)))^(3/2)
    assert e_value([1.0, 2.0, 3.0]) == pytest.approx(0.5 * (7 / 2.5) ** 1.5)
    # c = 2: sqrt(2/5) * (7 / (1 + 12 * 2 / (5 * 2)))^(3/2)
    assert e_value([1.0, 2.0, 3.0], c=2.0) == pytest.approx(math.sqrt(0.4) * (7 / 3.4) ** 1.5)


@pytest.mark.parametrize("c", [0.5, 1.0, 4.0])
def test_e_value_is_the_likelihood_ratio_of_t_under_its_normal_mixture(c):
    """Density of t with mean/sd ~ N(0, 1/c), over its density at 0, by quadrature."""
    difference_R = draw(6, 0.4)
    n, nu = 6, 5
    t = difference_R.mean() / (difference_R.std(ddof=1) / math.sqrt(n))

    def mixed(effect: float) -> float:
        prior = stats.norm.pdf(effect, scale=math.sqrt(1 / c))
        return float(stats.nct.pdf(t, nu, effect * math.sqrt(n)) * prior)

    mixture, _ = integrate.quad(mixed, -12, 12, limit=200)
    assert e_value(difference_R, c) == pytest.approx(mixture / stats.t.pdf(t, nu), rel=1e-6)


def test_e_value_has_mean_one_when_nothing_differs():
    """Its definition, at n=4: the integral of e(t) over Student's density is 1."""

    def weighted(t: float) -> float:
        unit = np.array([1.0, -1.0, 1.0, -1.0]) * math.sqrt(3 / 4)  # sd 1, mean 0
        return e_value(unit + t / 2) * float(stats.t.pdf(t, 3))

    total, _ = integrate.quad(weighted, -np.inf, np.inf, limit=200)
    assert total == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("values", [[], [0.3], [0.2, 0.2, 0.2], [0.0] * 5])
def test_no_evidence_without_a_spread(values):
    assert e_value(values) == 1.0
    assert confidence_sequence(values, alpha=0.05) is None


def test_overwhelming_evidence_does_not_overflow():
    assert 1e300 < e_value(1e6 + draw(2000, 0.0)) < math.inf


@settings(deadline=None)
@given(
    n=st.integers(5, 60),
    seed=st.integers(0, 1000),
    alpha=st.sampled_from([0.05, 0.01]),
    c=st.sampled_from([1.0, 0.5, 4.0]),
)
def test_the_confidence_sequence_ends_where_the_e_value_reaches_one_over_alpha(n, seed, alpha, c):
    difference_R = draw(n, 0.3, seed)
    bounds = confidence_sequence(difference_R, alpha=alpha, c=c)
    # it is bounded where (c / (n + c))^(n-1) < alpha^2
    expected = (c / (n + c)) ** (n - 1) < alpha**2
    assert (bounds is not None) == expected
    for bound in bounds or ():
        assert e_value(difference_R - bound, c) == pytest.approx(1 / alpha)


def test_half_widths_are_those_of_the_confidence_sequence():
    difference_R = draw(8, 0.3)
    low, high = confidence_sequence(difference_R, alpha=0.05)
    half_N = half_width(np.array([4, 8]), difference_R.std(ddof=1), alpha=0.05)
    assert half_N == pytest.approx([math.inf, (high - low) / 2])


def test_four_seeds_are_too_few_for_a_bounded_confidence_sequence():
    # (1/5)^3 = 0.008 > 0.0025 > (1/6)^4 = 0.00077
    assert confidence_sequence(draw(4, 0.0), alpha=0.05) is None
    assert confidence_sequence(draw(5, 0.0), alpha=0.05) is not None


def test_the_confidence_sequence_is_wider_than_the_t_interval_and_shrinks():
    difference_R = draw(200, 0.0)
    widths = []
    for n in (10, 50, 200):
        low, high = confidence_sequence(difference_R[:n], alpha=0.05)
        fixed = stats.ttest_1samp(difference_R[:n], 0.0).confidence_interval(0.95)
        assert low < fixed.low < fixed.high < high
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)


def arms(**values: np.ndarray) -> dict[str, dict[int, float]]:
    return {name: dict(enumerate(v.tolist())) for name, v in values.items()}


def test_the_leader_is_compared_with_every_other_arm():
    n = 30
    base = draw(n, 0.0) / 100
    scores = arms(
        slow=base + 0.80 + draw(n, 0, 1) / 1000,
        best=base + 0.90 + draw(n, 0, 2) / 1000,
        near=base + 0.8998 + draw(n, 0, 3) / 1000,
    )
    assert undecided_pairs(scores, min_effect=0.0001) == [("best", "near")]
    # within 0.01 of each other: decided to be equal
    assert undecided_pairs(scores, min_effect=0.01) == []


@pytest.mark.parametrize("n", [0, 1, 2])
def test_fewer_than_three_seeds_decide_nothing(n):
    scores = arms(a=np.array([0.9, 0.8])[:n], b=np.array([0.5, 0.41])[:n])
    assert undecided_pairs(scores, min_effect=0.002) == [("a", "b")]


def test_arms_without_scores_are_undecided_and_lead_nothing():
    scores = {"a": {}, **arms(b=0.9 + draw(5, 0) / 100)}
    assert undecided_pairs(scores, min_effect=0.002) == [("b", "a")]


@pytest.mark.parametrize("scores", [{}, {"a": {0: 0.9}}])
def test_nothing_to_compare_is_nothing_undecided(scores):
    assert undecided_pairs(scores, min_effect=0.002) == []


def test_equal_differences_stay_undecided():
    scores = arms(a=np.linspace(0.8, 0.9, 10), b=np.linspace(0.7, 0.8, 10))
    assert undecided_pairs(scores, min_effect=0.002) == [("a", "b")]


def test_more_arms_ask_for_more_evidence():
    a, b = 0.9 + draw(6, 0.9, 4) / 100, np.full(6, 0.9)
    e = e_value(a - b)
    alpha = 1.5 / e  # decides one pair, not one of three
    assert undecided_pairs(arms(a=a, b=b), min_effect=1e-6, alpha=alpha) == []
    three = arms(a=a, b=b, c=b - 0.5 + draw(6, 0, 5) / 1000)
    assert ("a", "b") in undecided_pairs(three, min_effect=1e-6, alpha=alpha)


@pytest.mark.slow
@settings(deadline=None)
@given(st.integers(3, 40), st.integers(0, 200))
def test_the_comparison_agrees_with_what_was_decided(n, seed):
    rng = np.random.default_rng(seed)
    scores = arms(**{name: rng.normal(0.9 + shift, 0.01, n)
                     for name, shift in (("a", 0.0), ("b", 0.005), ("c", 0.02))})  # fmt: skip
    comparison = compare(scores, min_effect=0.004, repeated_looks=True)
    open_pairs = {frozenset(pair) for pair in undecided_pairs(scores, min_effect=0.004)}
    outcome = {frozenset((c.a, c.b)): c.outcome for c in comparison.claims}
    leader = max(scores, key=lambda name: np.mean(list(scores[name].values())))
    for other in scores.keys() - {leader}:
        pair = frozenset((leader, other))
        assert (outcome[pair] == "undecided") == (pair in open_pairs)
        assert outcome[pair] in (*BETTER, "equivalent", "undecided")


def test_two_seeds_by_hand():
    # mean 1.5, sd sqrt(1/2): t = 3, nu = 1: sqrt(1/3) * (10 / 4)
    assert e_value([1.0, 2.0]) == pytest.approx(2.5 / math.sqrt(3))
    assert e_value([1.0]) == e_value([2.0, 2.0]) == 1.0
    # alpha = 0.6: r = 1/3, k = sqrt(3) / 0.6, t^2 = (k - 1) / (1 - k / 3)
    k = math.sqrt(3) / 0.6
    half = math.sqrt(0.5) * math.sqrt((k - 1) / (1 - k / 3) / 2)
    interval = confidence_sequence([1.0, 2.0], alpha=0.6)
    assert interval == pytest.approx((1.5 - half, 1.5 + half))


def test_three_seeds_are_enough_for_a_decision_and_two_are_not():
    """At alpha = 1/2 one pair is decided from e = 2 on; e_3 is 4 at most, e_2 sqrt(3)."""
    a, b = np.array([0.9, 0.91, 0.92]), np.array([0.5, 0.511, 0.519])
    assert undecided_pairs(arms(a=a, b=b), min_effect=0.002, alpha=0.5) == []
    assert undecided_pairs(arms(a=a[:2], b=b[:2]), min_effect=0.002, alpha=0.9) == [("a", "b")]


def test_a_leader_that_may_be_behind_by_the_minimum_effect_is_undecided():
    """The third arm has one seed so far, on which a leads; on all seeds b may well."""
    a, b = 0.9 + draw(40, 0.0) / 1000, 0.9003 + draw(40, 0.0, 1) / 1000
    a[0] = b[0] + 0.0001
    scores = arms(a=a, b=b) | {"c": {0: 0.5}}
    low, high = confidence_sequence(a - b, alpha=0.05 / 3)
    assert e_value(a - b) < 60
    between = (-low + high) / 2
    assert 0 < max(0.0, high) < between < -low
    assert ("a", "b") in undecided_pairs(scores, min_effect=between)
    assert ("a", "b") not in undecided_pairs(scores, min_effect=-1.01 * low)
