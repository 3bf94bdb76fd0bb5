"""What do a few seeds say about a quantity? Their mean and its t-interval."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

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
    n = len(value_R)
    mean = float(value_R.mean()) if n else math.nan
    if n < 2 or np.ptp(value_R) == 0:
        return Mean(n=n, mean=mean)
    from scipy.special import stdtrit  # Student's quantile, without scipy.stats' slow import

    quantile = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2))
    half = quantile * float(value_R.std(ddof=1)) / math.sqrt(n)
    return Mean(n=n, mean=mean, low=mean - half, high=mean + half)


def interval_text(low: float | None, high: float | None) -> str:
    """ " [0.10, 0.14]", or nothing where there is no interval."""
    if low is None or high is None:
        return ""
    return f" [{short_number(low)}, {short_number(high)}]"


def short_number(value: float) -> str:
    """Three digits, without an exponent where the number is large: 0.0123, 1,450."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
