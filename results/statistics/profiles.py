"""Which schedule is close to the best one on how many workloads? Performance profiles.

A problem is a workload with one seed; an arm's gap is the best arm's score on that problem minus
its own. The profile of an arm is the share of problems on which its gap is at most tau, every
workload counting the same: at tau = 0 the share it wins, for large tau 1 for all arms.

Source: Dolan & More 2002 (Mathematical Programming 91), here with differences for ratios; the
interval as in Agarwal et al. 2021 (arXiv 2108.13264): seeds are resampled within each workload.
Legend: W workloads, A arms, R seeds of a workload, T values of tau, B resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from results.statistics.intervals import CONFIDENCE
from results.statistics.paired import Scores
from results.statistics.resampling import SAME
from search_spaces.metric import VAL_ACCURACY, Metric

MIN_WORKLOADS = 2
NUM_RESAMPLES = 2_000
NUM_TAUS = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """One arm. share_T: of problems with a gap of at most tau; low_T, high_T: 95%, by tau."""

    name: str
    share_T: NDArray[np.float64]
    low_T: NDArray[np.float64]
    high_T: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Profiles:
    """All arms that every workload has.

    Attributes:
        metric: what was measured.
        tau_T: in its unit (accuracy), from 0 to where all shares are 1.
        num_seeds: by workload, seeds that all these arms have.
        left_out: arms that some workload lacks.
    """

    tau_T: NDArray[np.float64]
    arms: tuple[Profile, ...]
    num_seeds: Mapping[str, int]
    left_out: tuple[str, ...] = ()
    metric: Metric = VAL_ACCURACY


def performance_profiles(
    scores: Mapping[str, Mapping[str, Scores]], metric: Metric = VAL_ACCURACY
) -> Profiles:
    """Profiles of scores (workload -> arm -> replicate -> value of the metric).

    Raises:
        ValueError: fewer than two workloads have two arms with a common seed, or no two arms are
            common to all of them.
    """
    finished = {
        workload: scored
        for workload, arms in scores.items()
        if (scored := {arm: values for arm, values in arms.items() if values})
    }
    if len(finished) < MIN_WORKLOADS:
        names_text = ", ".join(finished) or "none"
        raise ValueError(
            f"a profile needs {MIN_WORKLOADS} or more workloads with confirm trials, but got "
            f"{len(finished)} ({names_text}). Name runs of different workloads."
        )
    everywhere = set.intersection(*(set(arms) for arms in finished.values()))
    names = [name for name in next(iter(finished.values())) if name in everywhere]
    if len(names) < 2:
        raise ValueError(
            f"a profile needs two arms that all workloads have, but got {', '.join(names) or 0}."
        )
    by_workload = {
        w: _gaps([arms[name] for name in names], metric) for w, arms in finished.items()
    }
    gaps = {workload: gap_AR for workload, gap_AR in by_workload.items() if gap_AR.size}
    if len(gaps) < MIN_WORKLOADS:
        raise ValueError("a profile needs a seed that all arms of a workload have.")
    tau_T = np.linspace(0.0, max(float(gap_AR.max()) for gap_AR in gaps.values()), NUM_TAUS)
    share_AT = _shares(list(gaps.values()), tau_T)
    low_AT, high_AT = _band(list(gaps.values()), tau_T)
    all_arms = dict.fromkeys(arm for arms in finished.values() for arm in arms)
    return Profiles(
        tau_T=tau_T,
        arms=tuple(
            Profile(name=name, share_T=share_AT[a], low_T=low_AT[a], high_T=high_AT[a])
            for a, name in enumerate(names)
        ),
        num_seeds=MappingProxyType({w: gap_AR.shape[1] for w, gap_AR in gaps.items()}),
        left_out=tuple(arm for arm in all_arms if arm not in names),
        metric=metric,
    )


def _gaps(arms: Sequence[Scores], metric: Metric) -> NDArray[np.float64]:
    """Best score of each common seed minus each arm's: gap_AR."""
    common = sorted(set.intersection(*(set(values) for values in arms)))
    score_AR = metric.sign * np.array([[values[r] for r in common] for values in arms])
    return np.asarray(score_AR.max(axis=0) - score_AR)


def _shares(
    gaps: Sequence[NDArray[np.float64]], tau_T: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean over the workloads of the share of seeds within tau: share_AT."""
    within = [(gap_AR[:, :, None] <= tau_T + SAME).mean(axis=1) for gap_AR in gaps]
    return np.asarray(np.mean(within, axis=0))


def _band(
    gaps: Sequence[NDArray[np.float64]], tau_T: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile interval at each tau; all arms share the resampled seeds."""
    rng = np.random.default_rng(0)
    share_BAT = [
        _shares([g[:, rng.integers(0, g.shape[1], g.shape[1])] for g in gaps], tau_T)
        for _ in range(NUM_RESAMPLES)
    ]
    tails = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
    low_AT, high_AT = np.quantile(share_BAT, tails, axis=0)
    return low_AT, high_AT
