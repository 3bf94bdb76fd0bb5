"""How do two arms differ whose seeds have nothing in common? Welch's interval of their means.

For scores from elsewhere: GradTune's own arms share their seeds and are compared seed by seed.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from results.statistics.intervals import mean_sd, t_half_width
from results.statistics.paired import Difference, Scores, two_sided_p
from results.statistics.resampling import SAME
from search_spaces.metric import VAL_ACCURACY, Metric

WELCH_INTERVAL = "95% Welch interval"
MIN_REDRAWN = 5  # seeds an arm; of fewer too many redraws have no spread


def welch_difference(a: Scores, b: Scores, metric: Metric = VAL_ACCURACY) -> Difference:
    """Mean of a minus mean of b, with Welch's t-interval and t-test; spreads may differ.

    With v = variance / seeds of each arm, the error of the difference is sqrt(v_a + v_b), on
    (v_a + v_b)^2 / (v_a^2 / (n_a - 1) + v_b^2 / (n_b - 1)) degrees of freedom. Replicate numbers
    mean nothing here. `n` is the smaller number of seeds and `sd` the error times sqrt(n);
    without an interval where an arm has fewer than two seeds, or neither any spread.

    Source: Welch 1947.

    Example:
        >>> d = welch_difference({0: 1.0, 1: 2.0, 2: 3.0}, {0: 0.0, 1: 1.0})
        >>> d.mean, d.counts, round(d.low, 3), round(d.high, 3)
        (1.5, (3, 2), -0.988, 3.988)
    """
    a_R, b_R = (np.array(list(scores.values()), dtype=np.float64) for scores in (a, b))
    (mean_a, sd_a), (mean_b, sd_b) = mean_sd(a_R), mean_sd(b_R)
    counts = len(a_R), len(b_R)
    n, mean = min(counts), mean_a - mean_b
    difference = Difference(
        n=n,
        mean=mean,
        sd=math.nan,
        metric=metric,
        interval_kind=WELCH_INTERVAL,
        counts=counts,
    )
    if n < 2:
        return difference
    v_a, v_b = sd_a**2 / len(a_R), sd_b**2 / len(b_R)
    error = math.sqrt(v_a + v_b)
    if error <= SAME:
        return replace(difference, sd=0.0)
    # As shares of their sum: the squares of very small variances would vanish.
    share_a, share_b = v_a / (v_a + v_b), v_b / (v_a + v_b)
    degrees = 1 / (share_a**2 / (len(a_R) - 1) + share_b**2 / (len(b_R) - 1))
    sd = error * math.sqrt(n)
    half = float(t_half_width(n, sd, degrees=degrees))
    return replace(
        difference,
        sd=sd,
        low=mean - half,
        high=mean + half,
        p_value=two_sided_p(n, sd, mean, degrees),
        degrees=degrees,
    )


def welch_coverage(
    a_R: NDArray[np.float64], b_R: NDArray[np.float64], draws: int = 2000
) -> float | None:
    """How often Welch's interval holds on these very seeds: near 0.95 where it can be trusted.

    As many seeds of each arm are drawn anew from its own, with replacement, and the share of
    intervals that hold the difference of the real means is counted; a draw without any spread
    holds nothing. None below MIN_REDRAWN seeds. Fixed seed.
    """
    if min(len(a_R), len(b_R)) < MIN_REDRAWN:
        return None
    rng = np.random.default_rng(0)
    drawn = [rng.choice(own_R, (draws, len(own_R))) for own_R in (a_R, b_R)]
    mean_a_D, mean_b_D = (own_DR.mean(axis=1) for own_DR in drawn)
    v_a_D, v_b_D = (own_DR.var(axis=1, ddof=1) / own_DR.shape[1] for own_DR in drawn)
    v_D = v_a_D + v_b_D
    spread_D = v_D > SAME**2
    share_a_D = np.divide(v_a_D, v_D, out=np.zeros(draws), where=spread_D)
    rest_D = share_a_D**2 / (len(a_R) - 1) + (1 - share_a_D) ** 2 / (len(b_R) - 1)
    half_D = t_half_width(1, np.sqrt(v_D), degrees=1 / rest_D)
    error_D = np.abs(mean_a_D - mean_b_D - (a_R.mean() - b_R.mean()))
    return float((spread_D & (error_D <= half_D)).mean())
