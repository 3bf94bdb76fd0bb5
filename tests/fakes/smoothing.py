"""Oracles of explicit smoothing: the papers' levels, and niceness.

Legend: f_hat_delta(x) = E_u[f(x - delta u)], delta smoothing level, D dimension, kappa = E u_1^2,
c = E cos(k u_1) attenuation of a wave of frequency k; kinds of u as in
trainables/functions/smoothing.py.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trainables.functions.benchmark import TWO_PI, Array
from trainables.functions.closed_forms import attenuation

CODED_LAST_LEVEL = 0.01


def coded_levels(num_levels: int = 50) -> Array:
    """The authors' levels: (M + 1 - i) / (M + 1) for i = 0 ... M - 1, then 0.01; M + 1 values.

    Source: ego.py of arXiv 2412.11501 ("nice", p = 1), whose m starts at 0 instead of 1.
    """
    i = np.arange(num_levels)
    return np.append((num_levels + 1.0 - i) / (num_levels + 1.0), CODED_LAST_LEVEL)


def theory_levels(num_levels: int = 50, p: float = 1.0) -> Array:
    """The paper's levels: delta_m = ((M - m + 1) / M)^p, m = 1 ... M + 1; the last is 0.

    Source: arXiv 2311.08745 Algorithm 1.
    """
    return np.asarray(((num_levels - np.arange(num_levels + 1.0)) / num_levels) ** p)


def geometric_levels(num_levels: int = 50, last: float = CODED_LAST_LEVEL) -> Array:
    """From 1 to `last` by one ratio, M + 1 values. Source: ego.py ("geo")."""
    return np.asarray(last ** (np.arange(num_levels + 1.0) / num_levels))


# (delta, center (D,), radius) -> smallest eigenvalue of the Hessian of f_hat_delta in that ball
Curvature = Callable[[float, Array, float], float]


def is_new_nice(
    min_curvature: Curvature,
    *,
    centers_MD: Array,
    delta_M: Array,
    sigma: float,
    radius_factor: float = 1.0,
) -> bool:
    """Is a function new sigma-nice along these levels?

    (i) |x*_m - x*_(m+1)| <= |delta_m| - |delta_(m+1)|: the minimizer moves less than the level;
    (ii) f_hat_delta_m is sigma-strongly convex on the ball of radius d |delta_m| around x*_m.

    Args:
        min_curvature: see Curvature.
        centers_MD: a minimizer x*_m of each smoothed function; delta_M: its levels, falling.
        sigma: > 0.
        radius_factor: d, from 1 to a / (sqrt(a^2 - 1) - 1), that is 1 over
            `search_spaces.theory.smallest_admissible_rate(a)`. No source gives its value.

    Source: arXiv 2311.08745 Definition 3.1.
    """
    level_M = np.abs(delta_M)
    rounding = 1e-12 * level_M.max()
    moved = np.linalg.norm(np.diff(centers_MD, axis=0), axis=1)
    follows = bool(np.all(moved <= -np.diff(level_M) + rounding))
    return follows and all(
        min_curvature(float(delta), center, float(radius_factor * delta)) >= sigma
        for center, delta in zip(centers_MD, level_M, strict=True)
    )


def rastrigin_min_curvature(kind: str) -> Curvature:
    """Curvature of smoothed Rastrigin: the smallest 2 + 40 pi^2 c cos(2 pi t) in the ball.

    Its Hessian is diagonal and coordinate i reaches every t in [center_i - r, center_i + r].
    """

    def min_curvature(delta: float, center: Array, radius: float) -> float:
        c = float(attenuation(kind, TWO_PI * delta, center.shape[-1]))
        turn = 0.5 if c > 0 else 0.0  # cos(2 pi t) is least (greatest for c < 0) at turn + integer
        nearest = center - turn - np.rint(center - turn)
        worst_t = turn + np.maximum(np.abs(nearest) - radius, 0.0)
        return float((2.0 + 10.0 * TWO_PI**2 * c * np.cos(TWO_PI * worst_t)).min())

    return min_curvature
