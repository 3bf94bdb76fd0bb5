"""Do two quantities rise together? Spearman's rank correlation and its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from results.statistics.intervals import CONFIDENCE

MIN_FOR_INTERVAL = 4  # the standard error divides by n - 3
PERFECT = 1e-12  # distance of |rho| from 1 that is rounding


@dataclass(frozen=True, kw_only=True, slots=True)
class Correlation:
    """A rank correlation.

    Attributes:
        rho: in [-1, 1]; nan for n<2 and where one side does not vary.
        low, high: 95% interval in [-1, 1]; None for n<4, |rho|=1 and rho=nan.
    """

    rho: float
    low: float | None
    high: float | None
    n: int

    def __str__(self) -> str:
        """ "rho = -0.50 [-0.95, 0.68], n=5"."""
        if math.isnan(self.rho):
            return f"no rho, n={self.n}"
        interval = "" if self.low is None else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"rho = {round(self.rho, 2) + 0.0:.2f}{interval}, n={self.n}"


def spearman(
    x_N: Sequence[float] | NDArray[np.float64], y_N: Sequence[float] | NDArray[np.float64]
) -> Correlation:
    """Spearman's rho of N independent pairs; ties (to 12 digits) share their mean rank.

    The interval is tanh(artanh(rho) -+ z sqrt((1 + rho^2/2)/(N - 3))), z = 1.96: Fisher's
    transformation with the standard error of Bonett & Wright. It is a large-sample one and takes
    the pairs as drawn independently; monotone relations only are seen, no humps.

    Raises:
        ValueError: unequal lengths, or a value that is not finite.

    Source: Bonett & Wright 2000, Psychometrika 65, 23-28.

    Example:
        >>> print(spearman([1, 2, 3, 4, 5], [2, 1, 4, 3, 5]))
        rho = 0.80 [-0.46, 0.99], n=5
    """
    x, y = _rounded(x_N), _rounded(y_N)
    if x.shape != y.shape:
        raise ValueError(f"`len(x_N) == len(y_N)` must hold, but got ({len(x)}, {len(y)}).")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("all values must be finite, but got nan or infinity.")
    rho, n = _rho(x, y), len(x)
    if n < MIN_FOR_INTERVAL or math.isnan(rho) or abs(rho) == 1:
        return Correlation(rho=rho, low=None, high=None, n=n)
    half = float(ndtri((1 + CONFIDENCE) / 2)) * math.sqrt((1 + rho * rho / 2) / (n - 3))
    low, high = math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half)
    return Correlation(rho=rho, low=low, high=high, n=n)


def _rounded(value_N: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """To 12 significant digits: 0.1 + 0.2 ties with 0.3."""
    return np.array([float(f"{value:.12g}") for value in value_N])


def _rho(x_N: NDArray[np.float64], y_N: NDArray[np.float64]) -> float:
    """nan where it is not defined, and without the dust that rounding leaves at +-1."""
    if len(x_N) < 2 or np.ptp(x_N) == 0 or np.ptp(y_N) == 0:
        return math.nan
    from scipy.stats import spearmanr  # 0.7 s

    rho = float(spearmanr(x_N, y_N).statistic)
    return math.copysign(1.0, rho) if abs(rho) > 1 - PERFECT else rho
