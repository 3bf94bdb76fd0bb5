"""Would the difference hold on other test images too? An interval over seeds x images.

The seeds and the test images are both samples: a score's difference d[s, i] of seed s on image i
is modelled as mean + seed + image + rest, all independent and random (the two-way layout of
multi-reader studies: readers are seeds, cases are images). With mean squares MS of the layout,

    variance of the mean = MS_seed / (S I)  +  max(0, MS_image - MS_rest) / (S I)

The first term is sd^2 / n, that of the paired t-interval; the second is what the images add.
Degrees of freedom: (S - 1) (variance / first term)^2.

Source: Obuchowski & Rockette 1995; the degrees of freedom: Hillis 2007 (Statist. Med. 26).
Legend: S seeds, I images.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit


def examples_interval(
    difference_SI: NDArray[np.float64], confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of the mean difference for fresh seeds and fresh images; at least 2 of each.

    It is centred at the mean and never shorter in error than the t-interval over seeds.

    Raises:
        ValueError: fewer than 2 seeds or images, or all seeds have the same mean.
    """
    num_seeds, num_images = difference_SI.shape
    if num_seeds < 2 or num_images < 2:
        raise ValueError(f"seeds and images must be 2 or more, but got {difference_SI.shape}.")
    mean = float(difference_SI.mean())
    seed_S, image_I = difference_SI.mean(axis=1) - mean, difference_SI.mean(axis=0) - mean
    squares_seed = num_images * float(seed_S @ seed_S)
    squares_image = num_seeds * float(image_I @ image_I)
    squares_rest = float(((difference_SI - mean) ** 2).sum()) - squares_seed - squares_image
    if squares_seed <= 0:
        raise ValueError("the seeds' means must differ, but they are all equal.")
    ms_seed, ms_image = squares_seed / (num_seeds - 1), squares_image / (num_images - 1)
    ms_rest = squares_rest / ((num_seeds - 1) * (num_images - 1))
    total = ms_seed + max(0.0, ms_image - ms_rest)
    freedom = (num_seeds - 1) * (total / ms_seed) ** 2
    error = math.sqrt(total / difference_SI.size)
    half = float(stdtrit(freedom, (1 + confidence) / 2)) * error
    return mean - half, mean + half
