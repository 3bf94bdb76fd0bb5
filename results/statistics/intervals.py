"""What do a few seeds say about a quantity? Their mean and its t-interval.

Every t-interval is made here. Legend: R seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit  # Student's quantile, without scipy.stats' slow import

from results.statistics.wording import interval_text, short_number

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class Mean:
    """A mean over seeds.

    Attributes:
        n: values averaged; those that are not finite are left out.
        mean: nan for n=0.
        low, high: 95% t-interval; None for n<2 and where all values are equal.
    """

    n: int
    mean: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        """ "0.12 [0.10, 0.14], n=3"."""
        return f"{short_number(self.mean)}{interval_text(self.low, self.high)}, n={self.n}"


def mean_of(values: Iterable[float]) -> Mean:
    """Mean and 95% t-interval of these values, one a seed.

    Example:
        >>> print(mean_of([1.0, 2.0, 3.0]))
        2 [-0.484, 4.48], n=3
    """
    value_R = np.array([value for value in values if math.isfinite(value)])
    n, (mean, sd) = len(value_R), mean_sd(value_R)
    if n < 2 or np.ptp(value_R) == 0:
        return Mean(n=n, mean=mean)
    half = float(t_half_width(n, sd))
    return Mean(n=n, mean=mean, low=mean - half, high=mean + half)


def mean_sd(value_R: NDArray[np.float64]) -> tuple[float, float]:
    """Mean (nan for n=0) and sample standard deviation (nan for n<2)."""
    mean = float(value_R.mean()) if value_R.size else math.nan
    return mean, float(value_R.std(ddof=1)) if value_R.size > 1 else math.nan


def t_half_width(
    n: ArrayLike, sd: ArrayLike, confidence: float = CONFIDENCE
) -> NDArray[np.float64]:
    """Half the length of the t-interval of a mean of n values with this sd; n at least 2.

    Source: Student 1908.

    Example:
        >>> round(float(t_half_width(4, 1.0)), 4)  # 3.1824 / 2
        1.5912
    """
    n = np.asarray(n)
    half: NDArray[np.float64] = stdtrit(n - 1, (1 + confidence) / 2) * sd / np.sqrt(n)
    return half
