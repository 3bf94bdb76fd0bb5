"""Steps to a target: by hand where curves are straight, and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from results.statistics.targets import arrival, crossing, steps_between
from search_spaces.metric import make_metric

LOSS = make_metric("val_loss")
STEPS = np.array([0.0, 100.0, 200.0])


def straight(ends: list[float]) -> np.ndarray:
    """Losses that fall from 4 to these at step 200."""
    return np.array([[4.0, (4.0 + end) / 2, end] for end in ends])


def test_the_mean_of_straight_curves_arrives_where_a_line_says() -> None:
    found = arrival(STEPS, straight([2.0, 3.0]), 3.0, LOSS)
    # From 4 to 2.5 in 200 steps: 3 after two thirds of them.
    assert found.step == pytest.approx(200 * 2 / 3)
    assert (found.num_reached, found.n, found.mean, found.last) == (2, 2, 2.5, 200)


def test_the_interval_is_where_the_ends_of_the_t_interval_arrive() -> None:
    ends = [2.0, 2.2, 1.8, 2.1]
    found = arrival(STEPS, straight(ends), 2.5, LOSS)
    # Seeds differ in slope alone: the t-interval grows in proportion to the step.
    half = stats.t.ppf(0.975, 3) * np.std(ends, ddof=1) / 2
    lower, upper = (200 * 1.5 / (4 - (np.mean(ends) - sign * half)) for sign in (1, -1))
    assert (found.low, found.high) == pytest.approx((lower, upper))


def test_p_is_the_one_sided_t_test_against_the_target() -> None:
    ends = [2.0, 2.2, 1.8, 2.1]
    for target, alternative in ((2.3, "less"), (2.0, "less")):
        found = arrival(STEPS, straight(ends), target, LOSS)
        expected = stats.ttest_1samp(ends, target, alternative=alternative).pvalue
        assert found.p_value == pytest.approx(expected, rel=1e-9)


def test_a_target_is_sure_from_where_the_interval_stays_beyond_it() -> None:
    rng = np.random.default_rng(0)
    value_RS = np.array([4.0, 2.0, 2.9, 2.0]) + rng.normal(0, 0.05, (5, 4))
    found = arrival(np.arange(4.0), value_RS, 3.0, LOSS)
    assert found.step is not None
    assert found.step < 1
    assert found.first_sure == 1  # 2.9 +- 0.06 still lies below 3
    noisy = arrival(np.arange(4.0), value_RS + np.array([0, 0, 0.3, 0]), 3.0, LOSS)
    assert noisy.first_sure == 3


def test_what_is_never_reached_is_told_so() -> None:
    found = arrival(STEPS, straight([2.0, 2.1, 2.2]), 1.0, LOSS)
    assert (found.step, found.low, found.high, found.first_sure) == (None, None, None, None)
    assert found.p_value is not None
    assert found.p_value > 0.5
    barely = arrival(STEPS, straight([2.0, 2.4, 2.8]), 2.39, LOSS)
    assert (barely.step, barely.high) == (None, None)
    assert barely.low is not None


def test_a_curve_that_comes_back_over_the_target_is_marked() -> None:
    up = np.array([[4.0, 2.0, 3.5, 2.0], [4.0, 2.1, 3.4, 2.0]])
    assert arrival(np.arange(4.0), up, 3.0, LOSS).returns
    assert not arrival(np.arange(4.0), np.sort(up)[:, ::-1], 3.0, LOSS).returns


def test_higher_may_be_better() -> None:
    rising = make_metric("val_accuracy")
    value_RS = np.array([[0.0, 0.5, 1.0], [0.0, 0.4, 0.8]])
    assert arrival(STEPS, value_RS, 0.45, rising).step == pytest.approx(100.0)


def test_seeds_without_spread_have_no_p() -> None:
    assert arrival(STEPS, straight([2.0, 2.0]), 3.0, LOSS).p_value is None


def test_a_curve_that_begins_beyond_the_target_is_there_at_once() -> None:
    assert crossing(STEPS, np.array([5.0, 1.0, 1.0]), 2.0) == 0.0
    assert crossing(STEPS, np.array([0.0, 1.0, 1.0]), 2.0) is None


def test_differences_of_steps_add_their_halves_in_squares() -> None:
    a = arrival(STEPS, straight([2.0, 2.2, 1.8]), 3.0, LOSS)
    b = arrival(STEPS, straight([1.0, 1.2, 0.8]), 3.0, LOSS)
    found = steps_between(a, b)
    assert found is not None
    assert None not in (a.step, a.low, a.high, b.step, b.low, b.high)
    assert found[0] == pytest.approx(a.step - b.step)
    assert found[1] == pytest.approx(found[0] - math.hypot(a.step - a.low, b.high - b.step))
    assert found[2] == pytest.approx(found[0] + math.hypot(a.high - a.step, b.step - b.low))
    never = arrival(STEPS, straight([3.5, 3.6]), 3.0, LOSS)
    assert steps_between(never, b) is None


def test_the_interval_holds_the_true_step_as_often_as_it_says() -> None:
    """Steps of 10, noise of a whole curve: the truth is where 4 - s/100 is 2.55."""
    rng, steps, hits, draws = np.random.default_rng(1), np.arange(0.0, 210.0, 10.0), 0, 1000
    both = 0
    for _ in range(draws):
        a, b = (
            arrival(steps, 4 - steps / 100 + rng.normal(0, 0.05, (6, 1)) * (steps > 0), 2.55, LOSS)
            for _ in range(2)
        )
        hits += a.low is not None and a.high is not None and a.low <= 145 <= a.high
        found = steps_between(a, b)
        assert found is not None
        both += found[1] is not None and found[2] is not None and found[1] <= 0 <= found[2]
    # Binomial standard error 0.7 points.
    assert hits / draws == pytest.approx(0.95, abs=0.021)
    assert both / draws > 0.93
