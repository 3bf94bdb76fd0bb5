"""The statistics: by hand, against scipy, and what the verdict dares to say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from results.statistics.compare import compare, default_min_effect, pair_level
from results.statistics.paired import paired_difference

T_2 = 4.3026527  # 97.5% quantile of t with 2 degrees of freedom


def scores(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


def test_differences_1_2_3_by_hand():
    d = paired_difference(scores(2, 4, 6), scores(1, 2, 3))
    half = T_2 / math.sqrt(3)
    assert (d.n, d.mean, d.sd) == (3, 2.0, 1.0)
    assert d.low == pytest.approx(2 - half)
    assert d.high == pytest.approx(2 + half)
    # t = 2 / (1/sqrt(3)) = 3.4641; for 2 degrees of freedom p = 1 - t / sqrt(t^2 + 2)
    assert d.p_value == pytest.approx(1 - math.sqrt(12) / math.sqrt(14))


def test_one_seed_gives_no_interval():
    d = paired_difference(scores(0.9), scores(0.8))
    assert (d.n, d.low, d.high, d.p_value) == (1, None, None, None)
    assert d.mean == pytest.approx(0.1)
    assert math.isnan(d.sd)
    assert not d.separated


def test_no_common_seed_gives_no_mean():
    d = paired_difference({0: 0.9}, {1: 0.8})
    assert (d.n, d.num_unpaired) == (0, 2)
    assert math.isnan(d.mean)


def test_identical_differences_give_no_interval_and_no_claim():
    a, b = scores(0.93, 0.94, 0.95), scores(0.92, 0.93, 0.94)
    d = paired_difference(a, b)
    assert d.mean == pytest.approx(0.01)
    assert (d.sd, d.low, d.high, d.p_value) == (0.0, None, None, None)
    verdict = compare({"poly": a, "baseline": b}).verdict
    assert verdict.startswith("undecided: ")
    assert "(no interval from equal differences)" in verdict


def test_only_replicates_of_both_arms_are_paired():
    d = paired_difference({0: 1.0, 1: 2.0, 7: 9.0}, {0: 0.0, 1: 1.0, 3: 5.0})
    assert (d.n, d.mean, d.num_unpaired) == (2, 1.0, 2)


@settings(deadline=None)
@given(st.integers(2, 30), st.integers(0, 2**32 - 1))
def test_agrees_with_scipys_paired_t_test(n, seed):
    a, b = np.random.default_rng(seed).normal(0.9, 0.02, (2, n))
    d = paired_difference(scores(*a), scores(*b))
    expected = stats.ttest_rel(a, b)
    interval = expected.confidence_interval(0.95)
    assert d.p_value == pytest.approx(expected.pvalue)
    assert (d.low, d.high) == pytest.approx((interval.low, interval.high))


def test_a_clear_winner_beats_the_default():
    c = compare({"poly": scores(0.92, 0.93, 0.91), "baseline": scores(0.90, 0.912, 0.886)})
    # differences 2.0, 1.8, 2.4 points: mean 2.0667, sd 0.3055, half width 0.7589
    assert c.verdict == (
        "poly beats your default (not tuned) by 2.1 points at equal samples, "
        "95% t-interval [1.3, 2.8], n=3 paired seeds (preliminary)."
    )
    assert c.preliminary


def test_a_better_default_is_said_to_win():
    c = compare({"poly": scores(0.80, 0.81, 0.79), "baseline": scores(0.90, 0.912, 0.886)})
    assert c.verdict.startswith("your default (not tuned) beats poly by 9.9 points")


def test_an_interval_across_zero_is_undecided():
    c = compare({"poly": scores(0.91, 0.90, 0.92), "baseline": scores(0.90, 0.91, 0.90)})
    # differences 1, -1, 2 points: mean 0.667, sd 1.5275, half width 3.795
    assert c.verdict == (
        "undecided: poly minus your default (not tuned) = 0.7 points [-3.1, 4.5], "
        "n=3 paired seeds (preliminary), about 20 more seeds needed."
    )


def test_a_separated_but_tiny_difference_is_no_win():
    c = compare(
        {"poly": scores(0.9010, 0.9111, 0.9209), "baseline": scores(0.90, 0.91, 0.92)},
        min_effect=0.002,
    )
    assert c.verdict.startswith("no difference that matters: poly minus your default")


def test_a_sure_difference_that_may_be_too_small_says_so():
    c = compare(
        {"poly": scores(0.9010, 0.9111, 0.9209), "baseline": scores(0.90, 0.91, 0.92)},
        min_effect=0.0011,
    )
    # differences 0.10, 0.11, 0.09 points: mean 0.1, half width 0.0248
    assert c.verdict == (
        "poly beats your default (not tuned) by 0.10 points at equal samples, "
        "95% t-interval [0.08, 0.12], n=3 paired seeds (preliminary), "
        "perhaps by less than the 0.1 points that matter."
    )
    assert c.claims[0].outcome == "better"


def test_five_seeds_are_not_preliminary():
    five = scores(0.92, 0.93, 0.91, 0.925, 0.922)
    c = compare({"poly": five, "baseline": scores(0.9, 0.912, 0.886, 0.9, 0.903)})
    assert not c.preliminary
    assert c.verdict.endswith("], n=5 paired seeds.")


def test_one_seed_is_undecided_and_says_why():
    c = compare({"poly": scores(0.92), "baseline": scores(0.90)})
    assert c.claims[0].outcome == "undecided"
    assert c.verdict == (
        "undecided: poly minus your default (not tuned) = 2.0 points (no interval from one seed), "
        "n=1 paired seed (preliminary)."
    )


def test_unpaired_seeds_are_counted():
    c = compare({"poly": scores(0.92, 0.93, 0.91), "baseline": scores(0.90, 0.912)})
    assert "n=2 paired seeds, 1 unpaired left out" in c.verdict


def test_the_top_of_several_arms_is_compared_with_the_next():
    c = compare(
        {
            "cosine": scores(0.92, 0.93, 0.91),
            "poly": scores(0.93, 0.94, 0.921),
            "baseline": scores(0.90, 0.91, 0.89),
        }
    )
    assert "poly beats your default (not tuned) by 3.0 points" in c.verdict
    assert "; poly is separated from the next arm, cosine: poly minus cosine = 1.0" in c.verdict
    assert c.verdict.endswith(" (claims corrected for all 3 comparisons).")
    assert set(c.pairs) == {("cosine", "poly"), ("cosine", "baseline"), ("poly", "baseline")}
    assert [(claim.a, claim.b) for claim in c.claims] == list(c.pairs)
    assert c.pairs["cosine", "poly"].mean == pytest.approx(-0.031 / 3)


def test_an_arm_has_the_mean_and_spread_of_all_its_scores():
    poly, none = compare({"poly": scores(0.92, 0.93, 0.91), "none": {}}).arms
    assert (poly.name, poly.n, poly.mean, poly.sd) == (
        "poly", 3, pytest.approx(0.92), pytest.approx(0.01)
    )  # fmt: skip
    assert none.n == 0
    assert math.isnan(none.mean)
    assert math.isnan(none.sd)


def test_the_reference_stands_second_in_every_pair():
    c = compare({"baseline": scores(0.9, 0.8), "b": scores(0.9, 0.7), "a": scores(0.9, 0.6)})
    assert list(c.pairs) == [("b", "a"), ("b", "baseline"), ("a", "baseline")]
    assert [arm.name for arm in c.arms] == ["baseline", "b", "a"]
    assert c.arms[2].difference == c.pairs["a", "baseline"]


def test_a_tie_with_the_next_arm_within_the_minimum_effect_is_said():
    base = [0.90, 0.91, 0.89, 0.9]
    c = compare(
        {
            "cosine": scores(*[b + 0.03 for b in base[:-1]], 0.9301),
            "poly": scores(*[b + 0.0302 for b in base[:-1]], 0.9302),
            "baseline": scores(0.9, 0.912, 0.886, 0.9),
        },
        min_effect=0.005,
    )
    assert "poly is within 0.5 points of the next arm, cosine: poly minus cosine" in c.verdict


def test_without_a_baseline_the_two_best_arms_are_compared():
    c = compare({"cosine": scores(0.92, 0.93, 0.91), "poly": scores(0.95, 0.962, 0.94)})
    assert c.verdict.startswith("poly beats cosine by 3.1 points")
    assert [arm.difference for arm in c.arms] == [None, None]


@pytest.mark.parametrize(
    ("given", "finished"),
    [
        ({}, "no arm"),
        ({"poly": {}}, "no arm"),
        ({"baseline": {0: 0.9}}, "your default (not tuned)"),
        ({"poly": {0: 0.9}, "cosine": {}}, "poly"),
    ],
)
def test_nothing_to_compare_is_said(given, finished):
    expected = f"nothing to compare yet: {finished} has finished confirm trials."
    assert compare(given).verdict == expected


def test_small_numbers_do_not_show_as_zero():
    c = compare({"poly": scores(0.90010, 0.9103), "baseline": scores(0.90, 0.91)}, min_effect=1e-5)
    assert "0.02 points [-0.11, 0.15]" in c.verdict


@pytest.mark.parametrize(
    ("num_test", "effect"), [(0, 0.002), (100, 0.02), (1000, 0.002), (10_000, 0.002)]
)
def test_the_least_that_matters_is_two_images_or_a_fifth_of_a_point(num_test, effect):
    assert default_min_effect(num_test) == pytest.approx(effect)


def test_pairs_share_their_errors_where_they_have_a_seed_in_common():
    arms = {"a": {0: 0.9, 1: 0.8}, "b": {0: 0.9}, "c": {1: 0.9}}
    assert pair_level(arms) == pytest.approx(0.05 / 2)
    assert pair_level({"a": {0: 0.9}}) == 0.05


def test_an_arms_own_loss_is_told_where_another_seed_has_none():
    scores = {"a": {0: 0.9, 1: 0.8}, "b": {0: 0.9, 1: 0.7}}
    a, b = compare(scores, reference="b", losses={"a": {0: 1.0, 1: 4.0}, "b": {0: 1.0}}).arms
    assert a.loss == pytest.approx(2.0)  # sqrt(1 * 4)
    assert math.isnan(b.loss)
    assert math.isnan(a.loss_ratio)


CELLS = [[4.0, 0.0], [2.0, 0.0]]  # a minus b of two seeds, test image by test image


def test_test_images_of_both_arms_give_the_second_interval():
    """Paired by replicate; a seed that only one arm has, and its images, are left out."""
    a, b = {0: 2.0, 1: 1.0, 7: 0.0}, {1: 0.0, 0: 0.0, 9: 1.0}
    ones = np.ones(2)
    correct = {
        "a": {r: np.array(cells) + 1 for r, cells in enumerate(CELLS)},
        "b": {1: ones, 0: ones, 9: ones},
    }
    d = compare({"a": a, "b": b}, correct=correct).pairs["a", "b"]
    # by the mean squares 1 (seeds), 9 (images) and 1 (rest): tests/results/statistics/
    # test_intervals.py; t = 12.7062 of 1 degree of freedom
    half = math.sqrt(12.706204736 / 4 * 12.706204736 + 1.959963985**2 * 8 / 4)
    assert (d.n, d.num_unpaired) == (2, 2)
    assert (d.examples_low, d.examples_high) == pytest.approx((1.5 - half, 1.5 + half))


@pytest.mark.parametrize("lacking", ["a", "b"])
def test_without_the_images_of_a_seed_there_is_no_second_interval(lacking):
    both = {"a": scores(0.9, 0.7), "b": scores(0.5, 0.6)}
    correct = {name: {0: np.ones(2), 1: np.zeros(2)} for name in both}
    del correct[lacking][1]
    others = {name: bitmaps for name, bitmaps in correct.items() if name != lacking}
    for known in (correct, others):
        d = compare(both, correct=known).pairs["a", "b"]
        assert (d.examples_low, d.examples_high) == (None, None)
        assert d.low is not None


def test_one_test_image_gives_no_second_interval():
    both = {"a": scores(1.0, 0.0), "b": scores(0.0, 0.0)}
    correct = {
        name: {r: np.array([s]) for r, s in values.items()} for name, values in both.items()
    }
    assert compare(both, correct=correct).pairs["a", "b"].examples_low is None


def sequential(*values: float):
    both = {"a": scores(*values), "b": dict.fromkeys(range(len(values)), 0.0)}
    return compare(both, repeated_looks=True).pairs["a", "b"]


def test_under_repeated_looks_p_is_one_over_the_e_value():
    # e of 1, 2, 3 (tests/results/statistics/test_sequential.py): sqrt(1/4) * (7 / 2.5)^1.5
    assert sequential(1.0, 2.0, 3.0).p_value == pytest.approx(2 / (7 / 2.5) ** 1.5)
    assert sequential(-1.0, 0.0, 1.0).p_value == 1.0  # e = 1/2
    assert sequential(1.0, 1.0, 1.0).p_value is None
    assert sequential(1.0).p_value is None
