"""Arms whose seeds have nothing in common: Welch's test, by scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from results.statistics.claims import seeds_needed
from results.statistics.compare import compare
from results.statistics.paired import paired_difference
from results.statistics.unpaired import WELCH_INTERVAL, welch_difference


def draw(n: int, *, mean: float, sd: float, seed: int) -> dict[int, float]:
    return dict(enumerate(np.random.default_rng(seed).normal(mean, sd, n).tolist()))


@pytest.mark.parametrize(("n_a", "n_b"), [(2, 2), (3, 7), (10, 10), (25, 4)])
@pytest.mark.parametrize("spread", [1.0, 10.0, 1e-3])
def test_interval_and_p_value_are_scipys(n_a: int, n_b: int, spread: float) -> None:
    a, b = draw(n_a, mean=1.0, sd=1.0, seed=n_a), draw(n_b, mean=0.5, sd=spread, seed=n_b + 1)
    expected = stats.ttest_ind(list(a.values()), list(b.values()), equal_var=False)
    interval = expected.confidence_interval(0.95)
    d = welch_difference(a, b)
    assert (d.p_value, d.low, d.high) == pytest.approx(
        (expected.pvalue, interval.low, interval.high), rel=1e-12
    )
    assert d.degrees == pytest.approx(expected.df, rel=1e-12)
    assert (d.n, d.counts, d.interval_kind) == (min(n_a, n_b), (n_a, n_b), WELCH_INTERVAL)
    back = welch_difference(b, a)
    assert (back.low, back.counts) == (pytest.approx(-d.high), d.reverse.counts)


def test_replicate_numbers_mean_nothing() -> None:
    a, b = draw(5, mean=0.0, sd=1.0, seed=0), draw(5, mean=1.0, sd=1.0, seed=1)
    elsewhere = {100 + replicate: b[4 - replicate] for replicate in b}
    # to rounding: the sums are taken in another order
    moved, d = welch_difference(a, elsewhere), welch_difference(a, b)
    assert (moved.low, moved.high) == pytest.approx((d.low, d.high), rel=1e-12)
    assert paired_difference(a, elsewhere).n == 0


def test_without_spread_or_with_one_seed_there_is_no_interval() -> None:
    several, one = {0: 1.0, 1: 1.0}, {0: 0.5}
    assert welch_difference(several, one).texts == ("50.0", "(no interval from one seed)")
    equal = welch_difference(several, {0: 0.5, 1: 0.5})
    assert equal.texts == ("50.0", "(no interval from equal scores)")
    assert math.isnan(welch_difference(several, {}).mean)


def test_one_arm_without_spread_leaves_the_t_interval_of_the_other() -> None:
    a = draw(6, mean=0.0, sd=1.0, seed=3)
    d = welch_difference(a, {0: 0.0, 1: 0.0})
    expected = stats.ttest_1samp(list(a.values()), 0.0)
    assert (d.p_value, d.degrees) == (pytest.approx(expected.pvalue), pytest.approx(5))


def test_claims_of_unpaired_arms_are_holms_over_scipys_p_values() -> None:
    means = {"a": 0.0, "b": 0.05, "c": 1.0}
    arms = {
        name: draw(8, mean=mean, sd=0.1, seed=number)
        for number, (name, mean) in enumerate(means.items())
    }
    comparison = compare(arms, min_effect=0.3, paired=False)
    p_values = {
        pair: stats.ttest_ind(
            list(arms[pair[0]].values()), list(arms[pair[1]].values()), equal_var=False
        ).pvalue
        for pair in comparison.pairs
    }
    order = sorted(p_values, key=lambda pair: p_values[pair])
    steps = [p_values[pair] * (3 - number) for number, pair in enumerate(order)]
    expected = dict(zip(order, np.minimum(1, np.maximum.accumulate(steps)), strict=True))
    assert {(c.a, c.b): c.p_holm for c in comparison.claims} == pytest.approx(expected)
    outcomes = {(c.a, c.b): (c.outcome, c.winner) for c in comparison.claims}
    assert outcomes["a", "b"] == ("equivalent", None)
    assert outcomes["a", "c"] == ("better by min_effect", "c")
    assert "n=8 and 8 seeds, not paired" in comparison.verdict
    # nothing that needs pairs stands beside
    assert comparison.pairs["a", "b"].prob_better is None
    captions = [table.caption for table in comparison.tables().values()]
    assert not [caption for caption in captions if "paired seed" in caption], captions


def test_as_many_more_seeds_as_needed_decide_it_at_the_same_spread() -> None:
    n, mean, sd = 4, 0.5, 1.0
    values = np.asarray([-1.0, -1.0, 1.0, 1.0]) * sd / math.sqrt(4 / 3)  # sample sd = sd
    a, b = dict(enumerate((values + mean).tolist())), dict(enumerate(values.tolist()))
    needed = seeds_needed(welch_difference(a, b), min_effect=1e-9)

    def separated(count: int) -> bool:
        test = stats.ttest_ind_from_stats(mean, sd, count, 0.0, sd, count, equal_var=False)
        return bool(test.pvalue < 0.05)

    assert needed is not None
    assert separated(n + needed)
    assert not separated(n + needed - 1)


def test_looking_repeatedly_takes_unpaired_seeds_one_by_one() -> None:
    arms = {"a": {0: 1.0, 1: 2.0}, "b": {0: 0.5, 1: 1.0, 2: 3.0}}
    looked = compare(arms, repeated_looks=True, paired=False)
    difference = looked.pairs["a", "b"]
    assert (difference.n, difference.mean, difference.num_unpaired) == (2, 0.75, 1)
    assert "n=2 seeds of each, taken one by one, 1 left out" in looked.verdict
    assert looked.tables()["arms"].caption.count("of seeds taken one by one") == 1
    assert looked.tables()["pairs"].caption.count("of seeds taken one by one") == 1
