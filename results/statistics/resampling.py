"""What do the paired differences say without assuming a normal distribution?

Legend: R paired seeds. Arrays are float64; everything random has a fixed seed.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

MIN_SIGN_FLIPS = 6  # seeds; with fewer no p value can fall below 0.05
MAX_EXACT = 30  # seeds up to which all 2^n sign patterns are counted
NUM_FLIPS = 100_000  # random sign patterns beyond
MIN_BOOTSTRAP = 20  # seeds; BCa intervals of fewer are too short
NUM_RESAMPLES = 9_999
SAME = 1e-12  # accuracies closer than this differ by rounding only
CHUNK = 1 << 22  # numbers held at once


def sign_flip_p(difference_R: NDArray[np.float64]) -> float:
    """Two-sided sign-flip permutation test of mean zero; nan for n=0.

    The p value is the share of all 2^n sign patterns whose |mean| reaches the observed one (up
    to rounding): exact up to 30 seeds; beyond, of 100,000 random patterns, the observed one
    counted among them. Valid for any distribution that is symmetric about its mean.

    Source: Fisher 1935; Phipson & Smyth 2010 for the one that is added.

    Example:
        >>> sign_flip_p(np.array([1.0, 2.0, 3.0]))  # only +++ and --- reach 6
        0.25
    """
    n = len(difference_R)
    if n == 0:
        return math.nan
    reach = float(abs(difference_R.sum()) - SAME * np.abs(difference_R).sum())
    if n <= MAX_EXACT:
        return float(_num_reaching(difference_R, reach) / 2**n)
    rng = np.random.default_rng(0)
    num_reaching, chunk = 0, CHUNK // n
    for done in range(0, NUM_FLIPS, chunk):
        flips = rng.integers(0, 2, (min(chunk, NUM_FLIPS - done), n), dtype=np.int8) * 2 - 1
        num_reaching += int(np.count_nonzero(np.abs(flips @ difference_R) >= reach))
    return (num_reaching + 1) / (NUM_FLIPS + 1)


def bca_interval(
    difference_R: NDArray[np.float64], confidence: float
) -> tuple[float, float] | None:
    """BCa bootstrap interval of the mean (9,999 resamples); None without a spread.

    Source: Efron 1987, as in scipy.stats.bootstrap.
    """
    from scipy import stats  # 0.7 s

    if len(difference_R) < 2 or np.ptp(difference_R) <= SAME:
        return None
    interval = stats.bootstrap(
        (difference_R,),
        np.mean,
        method="BCa",
        confidence_level=confidence,
        n_resamples=NUM_RESAMPLES,
        batch=CHUNK // len(difference_R),
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def share_better(
    difference_R: NDArray[np.float64], confidence: float
) -> tuple[float, float, float]:
    """Share of seeds with a positive difference, ties half, and its Wilson interval.

    Estimates the probability that a fresh seed prefers the first arm. Ties only make the
    interval too wide.

    Raises:
        ValueError: no seeds.

    Source: Bouthillier et al. 2021 (arXiv 2103.03098) for P(A>B); Wilson 1927.

    Example:
        >>> [round(x, 3) for x in share_better(np.array([1.0, 1.0, 0.0, -1.0]), 0.95)]
        [0.625, 0.219, 0.908]
    """
    n = len(difference_R)
    if n == 0:
        raise ValueError("no seeds to take a share of.")
    share = float((difference_R > SAME).mean() + (np.abs(difference_R) <= SAME).mean() / 2)
    z = float(ndtri((1 + confidence) / 2))
    scale = 1 + z**2 / n
    center = (share + z**2 / (2 * n)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return share, max(0.0, center - half), min(1.0, center + half)


def _num_reaching(difference_R: NDArray[np.float64], reach: float) -> int:
    """Sign patterns with |sum| >= reach: sums of one half against the sorted other half."""
    middle = len(difference_R) // 2
    first = _all_sums(difference_R[:middle])
    second = np.sort(_all_sums(difference_R[middle:]))
    above = len(second) - np.searchsorted(second, reach - first, side="left")
    below = np.searchsorted(second, -reach - first, side="right")
    # where reach <= 0 both count everything
    return int(np.minimum(above + below, len(second)).sum())


def _all_sums(difference_R: NDArray[np.float64]) -> NDArray[np.float64]:
    sums = np.zeros(1)
    for value in difference_R:
        sums = np.concatenate([sums + value, sums - value])
    return sums
