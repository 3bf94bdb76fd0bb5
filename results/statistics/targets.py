"""After how many steps does an arm reach a target? Of its mean curve, with an interval.

Legend: R seeds, S steps at which every seed of an arm was evaluated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from results.statistics.intervals import t_half_width
from results.statistics.paired import two_sided_p
from results.statistics.resampling import SAME
from search_spaces.metric import Metric


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """When an arm's mean reaches the target.

    Attributes:
        step: where the mean curve first crosses it, linear between evaluations; None = never.
        low, high: 95% interval: where the better and the worse end of the t-interval of the mean
            cross it; None = not within the log, or no interval.
        last: its last step. num_reached: of the n seeds, those that reached the target there.
        mean: value at the last step. p_value: one-sided, of a true mean there that is not better
            than the target; None without any spread.
        first_sure: first evaluation from which on the interval stays better than the target;
            None = never.
        returns: the mean is worse than the target again later: a curve that scatters from step to
            step crosses it too early, and its interval promises too much.
    """

    step: float | None
    low: float | None
    high: float | None
    last: float
    n: int
    num_reached: int
    mean: float
    p_value: float | None
    first_sure: float | None
    returns: bool = False


def arrival(
    step_S: NDArray[np.float64], value_RS: NDArray[np.float64], target: float, metric: Metric
) -> Arrival:
    """When the mean of these seeds reaches `target`; two seeds or more.

    The interval inverts the t-interval of the mean: it holds the crossing of the true mean curve
    with 95% where that is monotone and straight between evaluations. p is that of Student's
    one-sample test, with the arm's own spread.

    Example:
        >>> loss = make_metric("val_loss")
        >>> a = arrival(np.array([0.0, 10.0]), np.array([[4.0, 2.0], [4.0, 2.0]]), 3.0, loss)
        >>> a.step, a.num_reached, a.p_value
        (5.0, 2, None)
    """
    better_RS, wanted = metric.sign * value_RS, metric.score(target)
    n = len(better_RS)
    mean_S, sd_S = better_RS.mean(axis=0), better_RS.std(axis=0, ddof=1)
    half_S = t_half_width(n, sd_S)
    sure_S = mean_S - half_S > wanted
    unsure_S = np.flatnonzero(~sure_S)
    first_sure = int(unsure_S[-1]) + 1 if len(unsure_S) else 0
    ahead = float(mean_S[-1] - wanted)
    p_value = None
    if sd_S[-1] > SAME:
        half_p = two_sided_p(n, float(sd_S[-1]), ahead) / 2
        p_value = half_p if ahead > 0 else 1 - half_p
    return Arrival(
        step=crossing(step_S, mean_S, wanted),
        low=crossing(step_S, mean_S + half_S, wanted),
        high=crossing(step_S, mean_S - half_S, wanted),
        last=float(step_S[-1]),
        n=n,
        num_reached=int((better_RS[:, -1] >= wanted).sum()),
        mean=metric.score(float(mean_S[-1])),
        p_value=p_value,
        first_sure=float(step_S[first_sure]) if first_sure < len(step_S) else None,
        returns=bool((np.diff((mean_S >= wanted).astype(np.int8)) < 0).any()),
    )


def crossing(
    step_S: NDArray[np.float64], rising_S: NDArray[np.float64], wanted: float
) -> float | None:
    """The first step at which a curve is at `wanted` or above, linear between its points.

    Example:
        >>> crossing(np.array([0.0, 4.0, 8.0]), np.array([0.0, 1.0, 3.0]), 2.0)
        6.0
    """
    reached_S = np.flatnonzero(rising_S >= wanted)
    if not len(reached_S):
        return None
    after = int(reached_S[0])
    if after == 0:
        return float(step_S[0])
    below, above = float(rising_S[after - 1]), float(rising_S[after])
    share = (wanted - below) / (above - below)
    return float(step_S[after - 1] + share * (step_S[after] - step_S[after - 1]))


def steps_between(a: Arrival, b: Arrival) -> tuple[float, float | None, float | None] | None:
    """Steps of a minus steps of b with a 95% interval; None where one never arrives.

    The halves of both intervals add in squares, each on its side; an open end stays open. For
    seeds in common that go up and down together it is wider than needed.

    Source: Zou & Donner 2008 (Statist. Med. 27), for independent estimates.
    """
    if a.step is None or b.step is None:
        return None
    difference = a.step - b.step
    low = high = None
    if a.low is not None and b.high is not None:
        low = difference - math.hypot(a.step - a.low, b.high - b.step)
    if a.high is not None and b.low is not None:
        high = difference + math.hypot(a.high - a.step, b.step - b.low)
    return difference, low, high
