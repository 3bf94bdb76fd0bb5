"""How do two arms differ, seed by seed? The paired t-interval, and what stands beside it.

Scores are values of one metric, accuracies in [0, 1] unless it says otherwise; replicate i of
every arm shares its seed. Legend: R paired seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from results.statistics.intervals import CONFIDENCE, mean_sd, t_half_width
from results.statistics.resampling import (
    MIN_BOOTSTRAP,
    MIN_SIGN_FLIPS,
    SAME,
    bca_interval,
    share_better,
    sign_flip_p,
)
from results.statistics.wording import amount, amount_interval
from results.tables import UNKNOWN
from search_spaces.metric import VAL_ACCURACY, Metric

BY_PAIR, OF_MEANS = "by paired seed", "of the means"
IN_TURN = "of seeds taken one by one"
T_INTERVAL = "95% t-interval"
CONFIDENCE_SEQUENCE = "95% confidence sequence"

Scores = Mapping[int, float]  # replicate -> score


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Scores of one arm minus those of another, seed by seed.

    Attributes:
        metric: what was measured; differences are in its unit, and its goal says who is better.
        n: seeds that both arms have; values: their differences, in the order of the replicates.
        num_unpaired: scores that only one of them has.
        mean: nan for n=0. sd: sample standard deviation; nan for n<2, 0 for equal differences.
        low, high: interval of the mean; None for n<2 and when all differences are equal.
        p_value: two-sided, of mean zero; None as the interval. Of the paired t-test; under
            repeated looks one over the e-value.
        interval_kind: "95% t-interval", or "95% confidence sequence" under repeated looks (it
            holds for all pairs of arms at once and may be unbounded, then None, for few seeds).
        permutation_p: sign-flip test, from 6 seeds on.
        bootstrap_low, bootstrap_high: 95% BCa interval, from 20 seeds on.
        prob_better: share of seeds on which the first arm is better, ties half;
            prob_low, prob_high: its 95% Wilson interval.
        examples_low, examples_high: 95% interval for fresh seeds and fresh test images.
        counts, degrees: seeds of each arm and degrees of freedom where the seeds are not paired
            (see unpaired.py); None: n paired seeds, n - 1 degrees.
        in_turn: True where they are not paired and nevertheless taken one by one, in their order,
            so that the result holds at any number of them; replicates are turns.

    What holds for a fixed number of seeds only is None under repeated looks; what is beside the
    t-interval is None where `compare` did not compute it.
    """

    n: int
    mean: float
    sd: float
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    values: tuple[float, ...] = ()
    metric: Metric = VAL_ACCURACY
    num_unpaired: int = 0
    interval_kind: str = T_INTERVAL
    permutation_p: float | None = None
    bootstrap_low: float | None = None
    bootstrap_high: float | None = None
    prob_better: float | None = None
    prob_low: float | None = None
    prob_high: float | None = None
    examples_low: float | None = None
    examples_high: float | None = None
    counts: tuple[int, int] | None = None
    degrees: float | None = None
    in_turn: bool = False

    @property
    def taken(self) -> str:
        """How the seeds are used, in words."""
        return OF_MEANS if self.counts is not None else IN_TURN if self.in_turn else BY_PAIR

    @property
    def separated(self) -> bool:
        """True when the interval excludes zero."""
        return self.low is not None and self.high is not None and self.low * self.high > 0

    @property
    def texts(self) -> tuple[str, str]:
        """In the metric's unit, ("0.7", "[-3.1, 4.5]"), or why there is no interval."""
        if self.low is not None and self.high is not None:
            return amount_interval(self.mean, self.low, self.high, self.metric)
        if self.n == 0:
            return UNKNOWN, "(no seed in common)"
        equal = "equal differences" if self.counts is None else "equal scores"
        why = "one seed" if self.n < 2 else equal if self.sd == 0 else "few seeds"
        return amount(self.mean, self.metric), f"(no interval from {why})"

    def __str__(self) -> str:
        """ "0.7 [-3.1, 4.5]" in the metric's unit; "-" without a seed in common."""
        return " ".join(self.texts) if self.n else UNKNOWN

    @property
    def reverse(self) -> Difference:
        """The second arm minus the first."""
        return replace(
            self,
            mean=-self.mean,
            values=tuple(-value for value in self.values),
            low=_minus(self.high),
            high=_minus(self.low),
            bootstrap_low=_minus(self.bootstrap_high),
            bootstrap_high=_minus(self.bootstrap_low),
            prob_better=_rest(self.prob_better),
            prob_low=_rest(self.prob_high),
            prob_high=_rest(self.prob_low),
            examples_low=_minus(self.examples_high),
            examples_high=_minus(self.examples_low),
            counts=None if self.counts is None else self.counts[::-1],
        )


def how_taken(differences: Iterable[Difference]) -> str:
    """How the seeds of these are used, in words: that of all, which a comparison has one of."""
    return next((difference.taken for difference in differences), BY_PAIR)


def paired_scores(a: Scores, b: Scores) -> NDArray[np.float64]:
    """a minus b over the replicates that both have, in their order: difference_R."""
    common = sorted(a.keys() & b.keys())
    return np.array([a[replicate] - b[replicate] for replicate in common])


def paired_difference(a: Scores, b: Scores, metric: Metric = VAL_ACCURACY) -> Difference:
    """a minus b over the replicates that both have, with its t-interval and t-test.

    Source: Student 1908.

    Example:
        >>> d = paired_difference({0: 1.0, 1: 2.0, 2: 3.0}, {0: 0.0, 1: 0.0, 2: 0.0, 3: 9.0})
        >>> d.n, d.mean, d.sd, round(d.low, 3), round(d.high, 3), d.num_unpaired
        (3, 2.0, 1.0, -0.484, 4.484, 1)
    """
    difference_R = paired_scores(a, b)
    n, (mean, sd) = len(difference_R), mean_sd(difference_R)
    difference = Difference(
        n=n,
        mean=mean,
        sd=0.0 if sd <= SAME else sd,  # ties of a coarse score: no spread
        values=tuple(difference_R.tolist()),
        metric=metric,
        num_unpaired=len(a.keys() ^ b.keys()),
    )
    if n < 2 or difference.sd == 0:
        return difference
    half = float(t_half_width(n, sd))
    p_value = two_sided_p(n, sd, mean)
    return replace(difference, low=mean - half, high=mean + half, p_value=p_value)


def with_resampling(difference: Difference, difference_R: NDArray[np.float64]) -> Difference:
    """The same, with what stands beside the t-interval where there are seeds enough."""
    n = len(difference_R)
    if n == 0:
        return difference
    share, prob_low, prob_high = share_better(difference.metric.sign * difference_R, CONFIDENCE)
    bootstrap = bca_interval(difference_R, CONFIDENCE) if n >= MIN_BOOTSTRAP else None
    low, high = bootstrap or (None, None)
    return replace(
        difference,
        permutation_p=sign_flip_p(difference_R) if n >= MIN_SIGN_FLIPS else None,
        bootstrap_low=low,
        bootstrap_high=high,
        prob_better=share,
        prob_low=prob_low,
        prob_high=prob_high,
    )


def two_sided_p(n: int, sd: float, distance: float, degrees: float | None = None) -> float:
    """P value of the t-test for a mean of n values this far from the one assumed.

    Args:
        degrees: of freedom; None = n - 1.
    """
    nu = n - 1 if degrees is None else degrees
    return 2 * float(stdtr(nu, -abs(distance) / (sd / math.sqrt(n))))


def _minus(value: float | None) -> float | None:
    return None if value is None else -value


def _rest(share: float | None) -> float | None:
    return None if share is None else 1.0 - share
