"""What do a few seeds say about a quantity? Their mean and its t-interval.

Every t-interval is made here. Legend: R seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit  # quantiles, without scipy.stats' slow import

from results.statistics.resampling import SAME
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
    with np.errstate(over="ignore"):  # of losses near the largest number: inf
        return mean, float(value_R.std(ddof=1)) if value_R.size > 1 else math.nan


def t_half_width(
    n: ArrayLike,
    sd: ArrayLike,
    confidence: float = CONFIDENCE,
    degrees: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Half the length of the t-interval of a mean of n values with this sd; n at least 2.

    Args:
        degrees: of freedom; None = n - 1.

    Source: Student 1908.

    Example:
        >>> round(float(t_half_width(4, 1.0)), 4)  # 3.1824 / 2
        1.5912
    """
    n = np.asarray(n)
    nu = n - 1 if degrees is None else degrees
    half: NDArray[np.float64] = stdtrit(nu, (1 + confidence) / 2) * sd / np.sqrt(n)
    return half


def examples_interval(
    difference_SI: NDArray[np.float64], confidence: float = CONFIDENCE
) -> tuple[float, float] | None:
    """Interval of the mean difference for fresh seeds and fresh test images; S seeds, I images.

    The difference d[s, i] of seed s on image i is modelled as mean + seed + image + rest,
    independent and random (the two-way layout of multi-reader studies: readers are seeds, cases
    are images). With the mean squares MS of that layout

        variance of the mean = MS_seed / (S I)  +  max(0, MS_image - MS_rest) / (S I)

    where the first term is sd^2 / S, that of the paired t-interval. Each term has an interval of
    its own, and their half widths add in squares (so it holds the t-interval over seeds):

        half width^2 = (half width of the t-interval)^2 + 1.96^2 * (the second term)

    None with fewer than 2 seeds or images, and where all seeds have the same mean.

    Source: Obuchowski & Rockette 1995 for the layout, Zou & Donner 2008 (Statist. Med. 27) for
    adding limits. Satterthwaite's degrees of freedom (Hillis 2007) cover 92% at 3 seeds, this 95%
    to 97%.
    """
    num_seeds, num_images = difference_SI.shape
    if num_seeds < 2 or num_images < 2 or np.ptp(difference_SI.mean(axis=1)) <= SAME:
        return None
    mean = float(difference_SI.mean())
    seed_S, image_I = difference_SI.mean(axis=1) - mean, difference_SI.mean(axis=0) - mean
    squares_seed = num_images * float(seed_S @ seed_S)
    squares_image = num_seeds * float(image_I @ image_I)
    squares_rest = float(((difference_SI - mean) ** 2).sum()) - squares_seed - squares_image
    ms_image = squares_image / (num_images - 1)
    ms_rest = squares_rest / ((num_seeds - 1) * (num_images - 1))
    seeds = float(t_half_width(num_seeds, seed_S.std(ddof=1), confidence))
    variance = max(0.0, ms_image - ms_rest) / difference_SI.size
    half = math.hypot(seeds, float(ndtri((1 + confidence) / 2)) * math.sqrt(variance))
    return mean - half, mean + half
