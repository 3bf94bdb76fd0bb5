"""May we look after every seed and stop when it is clear? e-values and confidence sequences.

For paired differences that are normal with unknown variance the chance that e_n ever, at any
number of seeds n, reaches 1/alpha is at most alpha when their mean is zero: stop whenever you
like. Legend: R paired seeds, t = mean / (sd / sqrt(n)), nu = n - 1, c: how small an effect is
expected (the mixing distribution of mean/sd is normal with variance 1/c).

    e_n = sqrt(c / (n + c)) * ((1 + t^2 / nu) / (1 + t^2 * c / ((n + c) * nu)))^(n / 2)

Source: Lai 1976 (Annals of Statistics 4); Wang & Ramdas 2024 (arXiv 2310.03722).
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from results.statistics.intervals import mean_sd
from results.statistics.paired import Scores, paired_scores
from results.statistics.resampling import SAME
from search_spaces.metric import VAL_ACCURACY, Metric

ALPHA = 0.05
MIN_SEEDS = 3  # no pair is decided on fewer
LARGEST = 700.0  # of log e: what exp can hold


def e_value(difference_R: ArrayLike, c: float = 1.0) -> float:
    """Evidence against mean zero: 1 = none; reaches 1/alpha with probability at most alpha.

    1.0 for n<2 and for equal differences, whose spread is unknown.

    Example:
        >>> round(e_value([1.0, 2.0, 3.0]), 6)  # sqrt(1/4) * (7 / 2.5)^1.5: t^2 = 12, nu = 2
        2.342648
    """
    difference_R = np.asarray(difference_R)
    n, (mean, sd) = len(difference_R), mean_sd(difference_R)
    if n < 2 or sd <= SAME:
        return 1.0
    return math.exp(min(LARGEST, log_e(n, mean / (sd / math.sqrt(n)), c)))


def log_e(n: int, t: float, c: float = 1.0) -> float:
    """Logarithm of the e-value of this paired t statistic; n at least 2."""
    x, share = t * t / (n - 1), c / (n + c)
    return 0.5 * math.log(share) + n / 2 * (math.log1p(x) - math.log1p(share * x))


def confidence_sequence(
    difference_R: ArrayLike, *, alpha: float, c: float = 1.0
) -> tuple[float, float] | None:
    """All means mu that `e_value(difference_R - mu)` leaves below 1/alpha.

    Covers the mean at all n at once with probability 1 - alpha. None where it is unbounded (for
    alpha=0.05 below 5 seeds) and for equal differences.
    """
    difference_R = np.asarray(difference_R)
    n, (mean, sd) = len(difference_R), mean_sd(difference_R)
    if n < 2 or sd <= SAME:
        return None
    half = float(half_width(np.array([n]), sd, alpha=alpha, c=c)[0])
    return (mean - half, mean + half) if math.isfinite(half) else None


def half_width(
    n_N: NDArray[np.int64], sd: float, *, alpha: float, c: float = 1.0
) -> NDArray[np.float64]:
    """Half the length of the confidence sequence at each n of 2 or more; inf = unbounded.

    From e_n(t) = 1/alpha: t^2 = nu (k - 1) / (1 - k r), r = c/(n+c), k = (1/(alpha^2 r))^(1/n).
    """
    r_N = c / (n_N + c)
    k_N = np.exp((-2 * math.log(alpha) - np.log(r_N)) / n_N)
    bounded_N = k_N * r_N < 1
    t2_N = (n_N - 1) * (k_N - 1) / np.where(bounded_N, 1 - k_N * r_N, 1.0)
    return np.where(bounded_N, sd * np.sqrt(t2_N / n_N), np.inf)


def undecided_pairs(
    scores: Mapping[str, Scores],
    *,
    min_effect: float | None,
    alpha: float = ALPHA,
    metric: Metric = VAL_ACCURACY,
) -> list[tuple[str, str]]:
    """The leader and every other arm whose comparison needs more seeds.

    A pair is decided when its e-value reaches m/alpha (m: number of all pairs of these arms), or
    when its confidence sequence at alpha/m lies within +-min_effect, if there is one. With
    probability 1 - alpha no decision is wrong, whenever and however often this is asked.

    Args:
        scores: arm -> replicate -> value of the metric. An arm without any is undecided.

    Returns:
        (leader, other) in the order of `scores`; the leader has the best mean over the
        replicates that all arms have.
    """
    level = alpha / max(1, math.comb(len(scores), 2))
    return [
        (leader, other)
        for leader in rank(scores, metric)[:1]
        for other in scores
        if other != leader
        and not _is_decided(paired_scores(scores[leader], scores[other]), min_effect, level)
    ]


def decided_at(difference_R: ArrayLike, *, min_effect: float | None, level: float) -> int | None:
    """After how many of these seeds, in their order, a pair was first decided; None = not yet.

    level: what the pair may err (see `undecided_pairs`).

    Example:
        >>> decided_at([1.0, 1.1, 0.9, 1.0, 1.1], min_effect=None, level=0.05)
        5
    """
    difference_R = np.asarray(difference_R)
    seeds = range(MIN_SEEDS, len(difference_R) + 1)
    return next((n for n in seeds if _is_decided(difference_R[:n], min_effect, level)), None)


def rank(
    scores: Mapping[str, Scores],
    metric: Metric = VAL_ACCURACY,
    last: Container[str] = (),
    *,
    paired: bool = True,
) -> list[str]:
    """Arms, best mean first, over the replicates that all have (all of each arm's if none).

    Args:
        last: arms that stand behind all others.
        paired: False where equal replicates share nothing: the mean of all of each arm's.
    """
    shared = [set(values) for values in scores.values()] if paired else []
    common = set.intersection(*shared) if shared else set()

    def mean(name: str) -> float:
        values = scores[name]
        if not values:
            return -math.inf
        return metric.score(float(np.mean([values[i] for i in common or values])))

    return sorted(scores, key=lambda name: (name not in last, mean(name)), reverse=True)


def _is_decided(difference_R: NDArray[np.float64], min_effect: float | None, level: float) -> bool:
    if len(difference_R) < MIN_SEEDS:
        return False
    if e_value(difference_R) >= 1 / level:
        return True
    if min_effect is None:
        return False
    bounds = confidence_sequence(difference_R, alpha=level)
    return bounds is not None and max(abs(bounds[0]), abs(bounds[1])) < min_effect
