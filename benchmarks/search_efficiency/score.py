"""How good are the recommendations of many replays, and how sure is that? Pure statistics.

Arrays: R replays, T times, B bootstrap resamples, S seeds, C configs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.search_efficiency.methods import Method, Step
from benchmarks.search_efficiency.pool import Array, Pool

NUM_RESAMPLES = 1000
TOLERANCE = 0.2  # points of accuracy


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A number with its bootstrap 95% interval; inf = never."""

    value: float
    low: float
    high: float

    def text(self, digits: int, suffix: str = "") -> str:
        """`1.2 [1.0, 1.4]`; inf is told as never."""
        texts = [_number_text(x, digits, suffix) for x in (self.value, self.low, self.high)]
        return f"{texts[0]} [{texts[1]}, {texts[2]}]"


@dataclass(frozen=True, kw_only=True)
class Replays:
    """What the recommendations of one method were worth.

    Attributes:
        seed_R: the seed that each replay saw. end_R: samples of the whole search.
        regret_RT: points lost at each time; before the first training those of a config
            drawn by lot.
        near_R: time from which the recommendation stays within TOLERANCE of the best, inf =
            never; likely_R: within one standard error of the best's accuracy.
    """

    seed_R: NDArray[np.int64]
    end_R: Array
    regret_RT: Array
    near_R: Array
    likely_R: Array


def make_times(pool: Pool) -> Array:
    """Tenths of full trainings, up to all configs trained in full and a bit, (T,)."""
    return np.round(np.arange(0, 10 * pool.num_configs + 21) / 10, 1)


def replay(pool: Pool, method: Method, num_replays: int) -> Replays:
    """Replay the method, seeds taking turns."""
    times_T = make_times(pool)
    seed_R = np.arange(num_replays) % pool.num_seeds
    searches = [method(pool, int(seed), number) for number, seed in enumerate(seed_R)]
    regrets = [pool.regrets(int(seed)) for seed in seed_R]
    errors = [pool.standard_error(int(seed)) for seed in seed_R]
    pairs = list(zip(searches, regrets, strict=True))
    return Replays(
        seed_R=seed_R,
        end_R=np.asarray([steps[-1].spent for steps in searches]),
        regret_RT=np.stack([regret_over_time(*pair, times_T) for pair in pairs]),
        near_R=np.asarray([stays_from(*pair, TOLERANCE) for pair in pairs]),
        likely_R=np.asarray([stays_from(*p, e) for p, e in zip(pairs, errors, strict=True)]),
    )


def regret_over_time(steps: Sequence[Step], regret_C: Array, times_T: Array) -> Array:
    """Regret of what is recommended at each time, (T,)."""
    spent = np.asarray([step.spent for step in steps])
    held = np.asarray([regret_C.mean(), *(regret_C[step.config] for step in steps)])
    return held[np.searchsorted(spent, times_T + 1e-9, side="right")]


def stays_from(steps: Sequence[Step], regret_C: Array, tolerance: float) -> float:
    """Samples from which on every recommendation is within tolerance (points); inf = never."""
    start = math.inf
    for step in reversed(steps):
        if regret_C[step.config] > tolerance:
            break
        start = step.spent
    return start


def resample(seed_R: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Replays drawn with replacement, (B, R): first seeds, then replays of these seeds."""
    seeds = np.unique(seed_R)
    members = [np.flatnonzero(seed_R == seed) for seed in seeds]
    each = math.ceil(len(seed_R) / len(seeds))
    rows = []
    for _ in range(NUM_RESAMPLES):
        drawn = rng.integers(len(seeds), size=len(seeds))
        rows.append(np.concatenate([rng.choice(members[s], size=each) for s in drawn]))
    return np.stack(rows)


def mean_curves(regret_RT: Array, draws_BR: NDArray[np.int64]) -> Array:
    """Mean regret over time of every resample, (B, T)."""
    counts_BR = np.stack([np.bincount(row, minlength=len(regret_RT)) for row in draws_BR])
    return np.asarray(counts_BR @ regret_RT / draws_BR.shape[1])


def first_lasting(curve_T: Array, level: float, times_T: Array) -> float:
    """The time from which on the curve is never above the level; inf = it ends above."""
    above = np.flatnonzero(curve_T > level + 1e-9)
    if len(above) == 0:
        return float(times_T[0])
    return math.inf if above[-1] + 1 == len(curve_T) else float(times_T[above[-1] + 1])


def first_reached(curve_T: Array, level: float, times_T: Array) -> float:
    """The first time at which the curve is not above the level; inf = never."""
    reached = np.flatnonzero(curve_T <= level + 1e-9)
    return float(times_T[reached[0]]) if len(reached) else math.inf


def samples_to_match(
    regret_RT: Array, random_RT: Array, at: int, times_T: Array, draws_BR: NDArray[np.int64]
) -> tuple[Interval, Interval]:
    """Samples until the mean regret stays at or below what random's is at times_T[at].

    Returns:
        the samples (inf = never), and those after which random's own mean regret reaches this
        level for the first time divided by them (0 = never): the comparison favours random.
    """

    def both(curve_T: Array, random_T: Array) -> tuple[float, float]:
        level = float(random_T[at])
        needed = first_lasting(curve_T, level, times_T)
        return needed, first_reached(random_T, level, times_T) / needed

    curves = zip(mean_curves(regret_RT, draws_BR), mean_curves(random_RT, draws_BR), strict=True)
    drawn = np.asarray([both(*pair) for pair in curves])
    needed, ratio = both(regret_RT.mean(axis=0), random_RT.mean(axis=0))
    return interval(needed, drawn[:, 0]), interval(ratio, drawn[:, 1])


def interval(value: float, drawn_B: Array) -> Interval:
    """The value with the middle 95% of its resamples."""
    low, high = np.percentile(drawn_B, [2.5, 97.5], method="nearest")
    return Interval(value=float(value), low=float(low), high=float(high))


def rank_correlations(
    looks_SC: Array, truth_SC: Array, rng: np.random.Generator
) -> Interval | None:
    """Spearman's rho between a look and the truth of the same seed's row, mean over seeds.

    The interval resamples seeds and configs together. None with fewer than three configs.

    Args:
        looks_SC: NaN where a config has no such training.
        truth_SC: what the look should order, on each seed.
    """
    known = ~np.isnan(looks_SC).any(axis=0)
    looks_SC, truth_SC = looks_SC[:, known], truth_SC[:, known]
    num_seeds, num_configs = looks_SC.shape
    if num_configs < 3:
        return None
    drawn = []
    for _ in range(NUM_RESAMPLES):
        seeds = rng.integers(num_seeds, size=num_seeds)
        configs = rng.integers(num_configs, size=num_configs)
        index = np.ix_(seeds, configs)
        drawn.append(_spearman(looks_SC[index], truth_SC[index]))
    return interval(_spearman(looks_SC, truth_SC), np.asarray(drawn))


def _spearman(a_SC: Array, b_SC: Array) -> float:
    from scipy.stats import rankdata

    a, b = rankdata(a_SC, axis=1), rankdata(b_SC, axis=1)
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    norm = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return float(((a * b).sum(axis=1) / np.maximum(norm, 1e-12)).mean())


def _number_text(x: float, digits: int, suffix: str) -> str:
    return "never" if math.isinf(x) else f"{x:.{digits}f}{suffix}"
